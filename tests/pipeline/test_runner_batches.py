"""Runs that transform their records in batches."""

from loomgit.domain.definitions import Transform
from loomgit.domain.records import Output, RecordFailure, RecordOutcome, RefusedRow, make_record
from loomgit.errors import WorldError
from loomgit.pipeline.stages import FailurePolicy
from tests.fakes import FakeJournal
from tests.pipeline.test_runner import ROWS, Bench


class Upper:
    """Writes the text in upper case. A text that contains `broken` fails."""

    def __init__(self, error_at=None):
        self.batches = []
        self._error_at = error_at

    async def apply(self, record, *, sample=0):
        if "broken" in record.input["text"]:
            return None, RecordFailure("transform", "broken")
        return Output({"text": record.input["text"].upper()}, "", "m", cost=0.0, calls=0), None

    async def apply_all(self, records):
        self.batches.append([record.index for record in records])
        if self._error_at == len(self.batches):
            raise WorldError("no worker")
        return [await self.apply(record) for record in records]


def run(transformer, **options):
    bench = Bench(transformer=transformer, transform=Transform(batch_size=4), **options)
    bench.run()
    return bench


def test_records_are_transformed_evaluated_and_loaded_in_batches():
    upper = Upper()
    bench = run(upper, judge=lambda subject: 0.0 if subject.input["id"] == "r-2" else 1.0)
    assert upper.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    loaded = [row["id"] for row in bench.sink.rows]
    assert loaded == [row["id"] for row in ROWS if row["id"] != "r-2"]
    results = bench.tally
    assert (results.processed, results.validated, results.evaluated) == (10, 9, 10)
    assert bench.tally.progress.processed == 10
    assert [line["status"] for line in bench.log.lines].count("quarantined") == 1


def test_a_failed_record_gets_its_fallback():
    rows = [*ROWS[:3], {"id": "x", "text": "broken"}, RefusedRow("a.csv:5", "too long")]
    bench = run(Upper(), rows=rows, policy=lambda _: FailurePolicy(value={"text": "-"}))
    assert [row["text"] for row in bench.sink.rows] == ["TEXT 0", "TEXT 1", "TEXT 2", "-"]
    assert (bench.tally.fallback, bench.tally.failed) == (1, 2)


def test_a_resumed_run_transforms_only_records_without_an_outcome():
    rows = [make_record(i, row, ("id",)) for i, row in enumerate(ROWS)]
    earlier = {
        i: RecordOutcome(rows[i], Output({"text": f"earlier {i}"}, "", "m", calls=0), resumed=True)
        for i in (0, 1, 2, 5)
    }
    upper, journal = Upper(), FakeJournal(earlier, parts={0: [0, 1, 2]})
    bench = run(upper, journal=journal)
    assert upper.batches == [[3, 4, 6], [7, 8, 9]]
    assert [row["text"] for row in bench.sink.rows] == [
        *("earlier 0", "earlier 1", "earlier 2", "TEXT 3", "TEXT 4", "earlier 5"),
        *("TEXT 6", "TEXT 7", "TEXT 8", "TEXT 9"),
    ]
    assert [event[1] for event in journal.events if event[0] == "outcome"] == [3, 4, 6, 7, 8, 9]


def test_an_outage_keeps_the_records_of_other_batches():
    bench = run(Upper(error_at=2))
    assert [row["id"] for row in bench.sink.rows] == ["r-0", "r-1", "r-2", "r-3", "r-8", "r-9"]
    (end,) = bench.ends
    assert (end.cause, end.message, end.can_resume) == ("world", "no worker", True)


def test_a_fallback_that_calls_a_model_does_not_wait_for_a_batch():
    class Model:
        async def apply(self, record, *, sample=0):
            return Output({"text": "model"}, "", "m", cost=0.0, calls=1), None

    rows = [*ROWS[:3], {"id": "x", "text": "broken"}]
    upper = Upper()
    bench = run(upper, rows=rows, policy=lambda _: FailurePolicy(transformer=Model()))
    assert [row["text"] for row in bench.sink.rows] == ["TEXT 0", "TEXT 1", "TEXT 2", "model"]
    assert upper.batches == []
    program = Upper()
    run(program, rows=rows, policy=lambda _: FailurePolicy(transformer=Upper()))
    assert program.batches == [[0, 1, 2, 3]]
