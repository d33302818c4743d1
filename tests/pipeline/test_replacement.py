"""Publishing the rows of a destination that is replaced at the end of a run."""

from loomgit.domain.definitions import Fallback, Load
from loomgit.domain.ports import LoadReceipt
from loomgit.domain.records import Output, RecordOutcome, make_record
from loomgit.pipeline.stages import FailurePolicy
from tests.fakes import FakeJournal, FakeSink
from tests.pipeline.test_runner import ROWS, Bench

LOAD = Load("sqlite://out.db/scores", mode="replace")
CONSTANT = Load(
    "sqlite://out.db/scores",
    mode="replace",
    on_failure="fallback",
    fallback=Fallback(value={"label": "none"}),
)


class ReplacedTable(FakeSink):
    """A table that refuses the rows for which `refuse_row` returns a reason, in `publish`.

    `refused` are the rows that earlier attempts have found.
    """

    def __init__(self, refuse_row, refused=None):
        super().__init__()
        self._refuse_row = refuse_row
        self._refused = dict(refused or {})
        self.published = 0

    def publish(self):
        found = {}
        for part, rows in self.parts.items():
            for at, row in enumerate(rows):
                if (part, at) not in self._refused and (reason := self._refuse_row(row)):
                    found[part, at] = reason
        self._refused |= found
        self.published += not found
        return not found

    def refused_rows(self):
        return self._refused

    def commit(self):
        self.ended = "committed"
        kept = sum(map(len, self.parts.values())) - len(self._refused)
        return LoadReceipt(inserted=kept)


def ids(*names):
    return lambda row: "CHECK failed" if row["id"] in names else ""


def test_refused_rows_become_failures():
    bench = Bench(sink=ReplacedTable(ids("r-1", "r-6")), load=LOAD)
    results = bench.run()
    assert bench.sink.published == 1
    assert (results.status, results.records_loaded) == ("success", len(ROWS) - 2)
    assert (results.records_validated, results.records_failed) == (len(ROWS) - 2, 2)
    assert results.reasons == {"CHECK failed": 2}
    assert [outcome.record.key for outcome in bench.quarantine.outcomes] == ["r-1", "r-6"]
    failed = [line["key"] for line in bench.log.lines if line["status"] == "quarantined"]
    assert failed == ["r-1", "r-6"]
    assert [case.id for case in bench.tally.cases() if not case.passed] == ["r-1", "r-6"]
    assert len(bench.tally.cases()) == len(bench.log.lines) == len(ROWS)


def test_nothing_is_published_if_all_rows_are_refused():
    bench = Bench(sink=ReplacedTable(lambda row: "CHECK failed"), load=LOAD)
    results = bench.run()
    assert (bench.sink.published, bench.sink.ended) == (0, "aborted")
    assert (results.status, results.records_loaded) == ("failed", 0)
    assert results.message == "no record passed: CHECK failed"


def test_a_refused_fallback_row_fails_its_record():
    def policy(_):
        return FailurePolicy(value={"label": "none"})

    table = ReplacedTable(lambda row: {"r-1": "bad", "r-2": "worse"}.get(row["id"], ""))
    bench = Bench(sink=table, load=CONSTANT, policy=policy)
    results = bench.run()
    assert (results.records_fallback, results.records_failed) == (0, 2)
    assert results.reasons == {"bad": 1, "worse": 1}
    assert len(table.refused_rows()) == 4


def test_a_resumed_run_does_not_report_a_refused_row_again():
    """An earlier attempt has published and reported; an outage has lost its last records."""
    records = [make_record(i, row, ("id",), "rows.csv") for i, row in enumerate(ROWS[:4])]
    output = Output({"label": "a"}, "fake", "")
    earlier = {r.index: RecordOutcome(r, output, resumed=True) for r in records}
    first = Bench(sink=ReplacedTable(ids("r-1")), load=LOAD)
    first.run()
    reported = {event[1] for event in first.journal.events if event[0] == "report"}
    assert min(reported) < 0  # the number of the refused row
    at = next(index for index, row in enumerate(ROWS) if row["id"] == "r-1")
    table = ReplacedTable(ids("r-1"), {(0, at): "CHECK failed"})
    journal = FakeJournal(earlier, parts={0: [0, 1, 2, 3]}, reported=reported)
    resumed = Bench(sink=table, load=LOAD, journal=journal)
    results = resumed.run()
    assert (results.records_loaded, results.records_failed) == (len(ROWS) - 1, 1)
    assert resumed.quarantine.outcomes == []
    statuses = {line["key"]: line["status"] for line in resumed.log.lines}
    assert statuses.pop("r-1") == "quarantined"
    assert set(statuses.values()) == {"loaded"}
