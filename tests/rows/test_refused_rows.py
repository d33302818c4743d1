"""A batch with rows that a database refuses."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.refused_rows import RowRefusedError, RowsRefusedError, load_accepted, load_all


@given(st.lists(st.booleans(), max_size=200))
def test_all_rows_but_the_refused_ones_are_loaded_once_and_in_order(good):
    rows = [{"id": number, "good": accepted} for number, accepted in enumerate(good)]
    loaded = []

    def load(some):
        if refused := next((row for row in some if not row["good"]), None):
            raise RowRefusedError(f"row {refused['id']}")
        loaded.extend(some)
        return LoadReceipt(inserted=len(some))

    receipt, reasons = load_accepted(rows, load)
    assert loaded == [row for row in rows if row["good"]]
    assert receipt == LoadReceipt(inserted=len(loaded))
    assert reasons == {row["id"]: f"row {row['id']}" for row in rows if not row["good"]}


def test_one_refused_row_costs_few_statements():
    calls = []

    def load(some):
        calls.append(len(some))
        if 700 in some:
            raise RowRefusedError("no")
        return LoadReceipt(inserted=len(some))

    assert load_accepted(range(1000), load) == (LoadReceipt(inserted=999), {700: "no"})
    assert len(calls) <= 2 * log2(1024) + 1


@given(st.permutations(range(8)), st.integers(0, 8), st.integers(1, 9))
def test_a_row_that_needs_a_later_row_is_loaded(order, absent, size):
    """Each row needs the row before it. The row `absent` is refused, and so are those after it."""
    rows = [((0, at), {"id": number}) for at, number in enumerate(order)]
    loaded = {-1}

    def load(some):
        written = set(loaded)
        for row in some:
            if row["id"] == absent or row["id"] - 1 not in written:
                raise RowRefusedError(f"no row {row['id'] - 1}")
            written.add(row["id"])
        loaded.update(written)
        return LoadReceipt(inserted=len(some))

    if absent == 8:
        assert load_all(iter(rows), load, batch_size=size) == LoadReceipt(inserted=8)
        return
    with pytest.raises(RowsRefusedError) as caught:
        load_all(iter(rows), load, batch_size=size)
    assert loaded == set(range(-1, absent))
    assert {row["id"] for place, row in rows if place in caught.value.reasons} == {
        *range(absent, 8)
    }
