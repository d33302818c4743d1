"""Rows on their way: staged once, in order, the last of each key."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError
from loomgit.rows.stage import Stage, find_key_text, key_text


def staged(folder, *parts):
    stage = Stage(folder, "x")
    for part, rows in parts:
        stage.add(part, rows, [str(row["id"]) for row in rows])
    return stage


def test_order_is_that_of_parts_however_they_come(tmp_path):
    stage = staged(tmp_path, (1, [{"id": 3}]), (0, [{"id": 1}, {"id": 2}]))
    assert [row["id"] for row in stage.rows()] == [1, 2, 3]
    stage.close()


def test_the_last_row_of_a_key_counts_and_the_others_are_duplicates(tmp_path):
    stage = staged(
        tmp_path, (1, [{"id": 1, "v": "c"}]), (0, [{"id": 1, "v": "a"}, {"id": 1, "v": "b"}])
    )
    assert list(stage.rows()) == [{"id": 1, "v": "c"}]
    assert stage.duplicates() == 2
    stage.close()


def test_a_part_is_taken_once_and_survives_the_process(tmp_path):
    staged(tmp_path, (0, [{"id": 1}])).close()
    stage = staged(tmp_path, (0, [{"id": 9}]), (1, [{"id": 2}]))
    assert [row["id"] for row in stage.rows()] == [1, 2]
    stage.close()


def test_what_was_found_is_no_longer_unmatched_until_matching_ends(tmp_path):
    stage = staged(tmp_path, (0, [{"id": 1}, {"id": 2}]))
    for _ in range(2):
        with stage.matching():
            assert stage.find("1") == {"id": 1}
            assert stage.find("7") is None
            assert list(stage.unmatched()) == [{"id": 2}]
    stage.close()


def test_a_publication_replaces_the_rows_by_its_receipt(tmp_path):
    stage = staged(tmp_path, (0, [{"id": 1}]))
    assert stage.receipt() is None
    stage.finish(LoadReceipt(inserted=1))
    stage.add(0, [{"id": 1}], ["1"])  # published before, so it is not staged again
    assert not stage.has_unpublished()
    stage.add(1, [{"id": 2}], ["2"])
    stage.close()
    again = Stage(tmp_path, "x")
    assert again.receipt() == LoadReceipt(inserted=1)
    assert list(again.rows()) == [{"id": 2}]
    again.finish(LoadReceipt(updated=1))
    assert again.receipt() == LoadReceipt(inserted=1, updated=1)
    again.close()


@pytest.mark.parametrize("published", [True, False])
def test_a_crash_during_a_publication_is_settled_later(tmp_path, published):
    stage = staged(tmp_path, (0, [{"id": 1}]))
    stage.intend("abc", LoadReceipt(inserted=1))
    stage.close()
    again = Stage(tmp_path, "x")
    assert (again.intended(), again.receipt()) == ("abc", None)
    again.settle(published=published)
    assert again.intended() is None
    assert again.has_unpublished() is not published
    assert again.receipt() == (LoadReceipt(inserted=1) if published else None)
    again.close()


def test_discarding_leaves_nothing(tmp_path):
    stage = staged(tmp_path, (0, [{"id": 1}]))
    stage.discard()
    assert list(tmp_path.iterdir()) == []


def test_discarding_keeps_the_parts_that_are_published(tmp_path):
    stage = staged(tmp_path, (0, [{"id": 1}]))
    stage.finish(LoadReceipt(inserted=1))
    stage.add(1, [{"id": 2}], ["2"])
    stage.discard()
    stage.add(0, [{"id": 1}], ["1"])
    assert not stage.has_unpublished()
    stage.add(1, [{"id": 2}], ["2"])
    assert stage.has_unpublished()
    stage.close()


def test_a_stage_that_keeps_its_rows_publishes_all_of_them_each_time(tmp_path):
    stage = Stage(tmp_path, "x", keeps_rows=True)
    stage.add(0, [{"id": 1}], ["1"])
    stage.finish(LoadReceipt(inserted=1))
    assert not stage.has_unpublished()
    stage.add(1, [{"id": 2}], ["2"])
    stage.discard()
    assert list(stage.rows()) == [{"id": 1}]
    stage.add(1, [{"id": 2}], ["2"])
    assert stage.has_unpublished()
    assert list(stage.rows()) == [{"id": 1}, {"id": 2}]
    stage.finish(LoadReceipt(inserted=2))
    assert stage.receipt() == LoadReceipt(inserted=2)
    stage.close()


def test_discarding_keeps_a_publication_that_is_not_settled(tmp_path):
    """The destination may contain the rows, for example if the disk was full afterwards."""
    stage = staged(tmp_path, (0, [{"id": 1}]))
    stage.intend("abc", LoadReceipt(inserted=1))
    stage.discard()
    again = Stage(tmp_path, "x")
    assert again.intended() == "abc"
    again.settle(published=True)
    again.add(0, [{"id": 1}], ["1"])
    assert not again.has_unpublished()
    again.close()


scalars = st.integers(-(2**53), 2**53) | st.text(max_size=5) | st.booleans()


@settings(deadline=None, max_examples=50)
@given(st.lists(scalars, min_size=1, max_size=3), st.lists(scalars, min_size=1, max_size=3))
def test_keys_are_the_same_only_where_their_texts_are(one, other):
    names = tuple("abc")
    texts = [
        [value if isinstance(value, str) else str(value).lower() for value in key]
        for key in (one, other)
    ]
    keys = [
        key_text(dict(zip(names, key, strict=False)), names[: len(key)], "x")
        for key in (one, other)
    ]
    assert (keys[0] == keys[1]) == (texts[0] == texts[1])


def test_a_number_is_one_key_however_it_is_written():
    assert len({key_text({"id": value}, ("id",), "x") for value in (7, 7.0, "7")}) == 1


def test_a_row_without_its_key_is_named():
    assert find_key_text({"id": ""}, ("id",)) is None
    with pytest.raises(
        UserError, match=r"a\.csv: a row to load has no value in its key field 'id'"
    ):
        key_text({"text": "x"}, ("id",), "a.csv")
