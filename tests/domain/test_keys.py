import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.keys import digest, find_key, record_key

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("fields", "configured", "key"),
    [
        (["name", "id", "user_id"], [], ("id",)),
        (["review_id", "review"], [], ("review_id",)),
        (["review_id", "user_id"], [], ()),
        (["a", "b"], [], ()),
        (["id", "a"], ["a"], ("a",)),
    ],
)
def test_the_key_is_found_by_the_rule(fields, configured, key):
    assert find_key(fields, configured) == key


def test_one_key_field_is_its_own_text():
    assert record_key({"id": "r-1", "x": 1}, ("id",)) == "r-1"
    assert record_key({"id": 7}, ("id",)) == "7"


def test_several_key_fields_cannot_run_into_each_other():
    first = record_key({"a": "x,y", "b": "z"}, ("a", "b"))
    second = record_key({"a": "x", "b": "y,z"}, ("a", "b"))
    assert first != second


@pytest.mark.parametrize("row", [{}, {"id": None}])
def test_a_record_without_its_key_is_an_error(row):
    with pytest.raises(KeyError, match="id"):
        record_key(row, ("id",))


@given(st.dictionaries(st.text(), values))
def test_the_hash_of_a_record_does_not_depend_on_the_order_of_fields(row):
    turned = dict(reversed(row.items()))
    assert record_key(row, ()) == record_key(turned, ())
    assert digest(row) == digest(turned)
