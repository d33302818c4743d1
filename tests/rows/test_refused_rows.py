"""A batch with rows that a database refuses."""

from math import log2

from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.ports import LoadReceipt
from loomgit.rows.refused_rows import RowRefusedError, load_accepted


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
