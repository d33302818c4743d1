"""Loading batches: rejected keys, and rows that only the destination itself refuses."""

import json

import pytest

from loomgit.domain.definitions import Fallback, Load, Transform
from loomgit.domain.models import Completion
from loomgit.domain.records import (
    Assessment,
    EvaluatorFailure,
    Output,
    RecordFailure,
    RecordOutcome,
    Score,
    make_record,
)
from loomgit.errors import Denied, Unavailable, WorldError
from loomgit.pipeline.part_order import adjacent_parts
from loomgit.pipeline.repeated_keys import last_positions
from loomgit.pipeline.stages import FailurePolicy
from tests.fakes import FakeIncrement, FakeJournal, FakeSink
from tests.pipeline.test_runner import ROWS, SPEC, Bench, failing

RETRY = Load("out.db", on_failure="retry")
CONSTANT = Load("out.db", on_failure="fallback", fallback=Fallback(value={"label": "none"}))


def low(*ids):
    return lambda subject: 0.0 if subject.input["id"] in ids else 1.0


def refusing(label="bad"):
    return FakeSink(refuse_at_load=lambda row: "CHECK failed" if row["label"] == label else "")


# -- rejected keys


def test_the_sink_gets_the_keys_of_records_that_the_gate_rejects():
    bench = Bench(judge=low("r-1", "r-9"))
    bench.run()
    assert bench.sink.rejected == [{"id": "r-1"}, {"id": "r-9"}]


def test_a_batch_that_is_wholly_rejected_reaches_the_sink():
    bench = Bench(judge=lambda _: 0.0)
    assert bench.run().status == "failed"
    assert bench.sink.rejected == [{"id": row["id"]} for row in ROWS]


@pytest.mark.parametrize(
    "fault",
    [Unavailable("down"), EvaluatorFailure("no field"), EvaluatorFailure("no", product=True)],
)
def test_a_record_without_a_score_is_not_rejected(fault):
    bench = Bench(judge=lambda s: fault if s.input["id"] == "r-1" else 1.0)
    assert bench.run().records_failed == 1
    assert bench.sink.rejected == []


def test_a_failed_transform_and_a_refused_row_are_no_rejections():
    bench = Bench(
        failing(2, Unavailable("down")),
        sink=FakeSink(refuse=lambda row: "no" if row["id"] == "r-3" else ""),
    )
    assert bench.run().records_rejected == 2
    assert bench.sink.rejected == []


@pytest.mark.parametrize("mode", ["append", "replace"])
def test_other_modes_have_no_earlier_rows(mode):
    bench = Bench(judge=low("r-1"), load=Load("out.jsonl", mode=mode))
    bench.run()
    assert bench.sink.rejected == []


def test_a_record_with_a_fallback_is_not_rejected():
    bench = Bench(judge=low("r-1"), load=CONSTANT, policy=lambda _: FailurePolicy(value={"x": 1}))
    bench.run()
    assert bench.sink.rejected == []


@pytest.mark.parametrize("position", [1, 6])
def test_the_last_record_with_a_key_decides(position):
    rows = [*ROWS]
    rows[position] = {"id": "r-0", "text": "again"}
    bench = Bench(judge=lambda s: float(s.input["text"] == "again"), rows=rows)
    bench.run()
    assert {"id": "r-0"} not in bench.sink.rejected
    assert len(bench.sink.rejected) == 8
    bench = Bench(judge=lambda s: float(s.input["text"] == "text 0"), rows=rows)
    bench.run()  # the sink knows that the run has loaded the row
    assert bench.sink.rejected.count({"id": "r-0"}) == 1


def test_records_without_key_fields_are_found_by_their_hash():
    bench = Bench(judge=lambda _: 0.0, rows=[{"text": "x"}])
    bench.run()
    (key,) = bench.sink.rejected
    assert key == {"_loom_record_key": make_record(0, {"text": "x"}, ()).key}


def test_the_positions_of_repeated_keys():
    assert last_positions([]) == last_positions("abc") == {}
    assert last_positions("abcab") == {hash("a"): 3, hash("b"): 4}


# -- rows that the destination refuses


def test_a_refused_row_is_retried_with_another_seed_and_paid():
    samples = []

    def answer(request):
        if request.messages[0].content != "text 2":
            return '{"label": "a"}'
        samples.append(request.sample)
        return '{"label": "bad"}' if len(samples) < 3 else '{"label": "good"}'

    bench = Bench(
        answer,
        lambda _: Score(1.0, "fine", cost=0.25, calls=1),
        sink=refusing(),
        load=RETRY,
        policy=lambda _: FailurePolicy(retries=2),
    )
    results = bench.run()
    assert samples == [0, 1, 2]
    assert (results.records_validated, results.records_loaded) == (10, 10)
    assert {"id": "r-2", "label": "good"} in bench.sink.rows
    assert bench.quarantine.outcomes == []
    cost = bench.tally.cost()
    assert (cost.calls, cost.breakdown) == (24, {"transform": 6.0, "evaluate": 3.0})
    (line,) = [line for line in bench.log.lines if line["key"] == "r-2"]
    assert (line["status"], line["output"], line["cost"]) == ("loaded", {"label": "good"}, 1.5)


def test_a_row_that_is_refused_after_every_retry_is_quarantined():
    bench = Bench(
        failing(2, '{"label": "bad"}'),
        sink=refusing(),
        load=RETRY,
        policy=lambda _: FailurePolicy(retries=2),
    )
    results = bench.run()
    assert (results.records_loaded, results.records_failed) == (9, 1)
    assert len(bench.gateway.requests) == 12
    (outcome,) = bench.quarantine.outcomes
    assert (outcome.failure.stage, outcome.failure.reason) == ("load", "CHECK failed")


def test_the_attempts_before_the_refusal_count():
    replies = iter(["no object [", "still none ["] + ['{"label": "bad"}'] * 9)
    bench = Bench(
        lambda _: next(replies),
        rows=ROWS[:1],
        sink=refusing(),
        load=RETRY,
        policy=lambda _: FailurePolicy(retries=1),
        judge=lambda s: float("label" in s.output),
    )
    bench.run()
    assert [request.sample for request in bench.gateway.requests] == [0, 1]


def test_a_retry_that_the_gate_rejects_is_a_rejection():
    replies = iter(['{"label": "bad"}', '{"label": "low"}'])
    bench = Bench(
        lambda _: next(replies),
        rows=ROWS[:1],
        sink=refusing(),
        load=RETRY,
        policy=lambda _: FailurePolicy(retries=1),
        judge=lambda s: float(s.output["label"] != "low"),
    )
    bench.run()
    assert bench.sink.rejected == [{"id": "r-0"}]
    (outcome,) = bench.quarantine.outcomes
    assert outcome.failure.stage == "gate"
    assert len(outcome.discarded) == 1


def test_a_refused_row_is_replaced_by_the_fallback():
    bench = Bench(
        failing(2, '{"label": "bad"}'),
        sink=refusing(),
        load=CONSTANT,
        policy=lambda _: FailurePolicy(value={"label": "none"}),
    )
    results = bench.run()
    assert (results.records_loaded, results.records_fallback, results.records_failed) == (10, 1, 1)
    assert {"id": "r-2", "label": "none"} in bench.sink.rows
    (line,) = [line for line in bench.log.lines if line.get("fallback")]
    assert (line["key"], line["status"]) == ("r-2", "loaded")
    assert bench.tally.cost().calls == 10


def test_a_refused_fallback_is_quarantined():
    bench = Bench(
        lambda _: '{"label": "bad"}',
        sink=refusing(),
        load=CONSTANT,
        policy=lambda _: FailurePolicy(value={"label": "bad"}),
    )
    results = bench.run()
    assert (results.status, results.records_loaded, results.records_fallback) == ("failed", 0, 0)
    assert len(bench.quarantine.outcomes) == 10


def test_a_refused_fallback_of_a_rejected_record_is_quarantined():
    bench = Bench(
        judge=low("r-2"),
        sink=refusing(),
        load=CONSTANT,
        policy=lambda _: FailurePolicy(value={"label": "bad"}),
    )
    results = bench.run()
    assert (results.records_loaded, results.records_fallback) == (9, 0)
    assert bench.sink.rejected == []


def test_without_a_policy_a_refused_row_is_quarantined_without_a_call():
    bench = Bench(failing(2, '{"label": "bad"}'), sink=refusing())
    assert bench.run().records_loaded == 9
    assert len(bench.gateway.requests) == 10
    assert [part for part in bench.sink.parts if part < 0] == []


def test_each_new_row_is_a_part_of_its_own_with_the_same_number_in_each_attempt():
    def parts(journal=None):
        bench = Bench(
            failing(2, '{"label": "bad"}'),
            sink=refusing(),
            load=CONSTANT,
            policy=lambda _: FailurePolicy(value={"label": "none"}),
            journal=journal,
        )
        bench.run()
        return bench, sorted(part for part in bench.sink.parts if part < 0)

    first, numbers = parts()
    assert numbers == [-7]  # index 2, 3 refusals at most
    assert first.journal.events.count(("outcome", 2)) == 2
    processed = RecordOutcome(
        make_record(2, ROWS[2], ("id",)),
        Output({"label": "none"}, "", "fake"),
        fallback=True,
        replaced=RecordFailure("load", "CHECK failed"),
        resumed=True,
        refusals=1,
    )
    resumed, numbers = parts(FakeJournal({2: processed}))
    assert len(resumed.gateway.requests) == 9
    assert numbers == []  # this sink has no ledger, and accepts the row with its batch


def test_a_resumed_run_loads_the_new_row_of_an_earlier_attempt_and_asks_nothing():
    spent = Assessment(SPEC.name, SPEC.threshold, score=Score(1.0, "", cost=0.25, calls=1))
    processed = RecordOutcome(
        make_record(2, ROWS[2], ("id",)),
        Output({"label": "good"}, "", "fake"),
        (spent,),
        resumed=True,
        attempts=2,
        refusals=1,
    )
    sink = FakeSink()
    first = iter(["recorded refusal"])
    sink.refuse_at_load = lambda row: next(first, "") if row["id"] == "r-2" else ""
    bench = Bench(
        sink=sink,
        load=RETRY,
        policy=lambda _: FailurePolicy(retries=2),
        journal=FakeJournal({2: processed}),
    )
    results = bench.run()
    assert results.records_loaded == 10
    assert len(bench.gateway.requests) == 9
    assert sink.parts[-7] == [{"id": "r-2", "label": "good"}]


@pytest.mark.parametrize("fault", [Denied("no credit"), WorldError("the disk is full")])
def test_an_error_while_refused_rows_are_processed_again_ends_the_run(fault):
    asked = []

    def answer(request):
        if request.messages[0].content == "text 2":
            asked.append(request)
            if len(asked) > 1 and isinstance(fault, Denied):
                return fault
            return '{"label": "bad"}' if len(asked) == 1 else '{"label": "good"}'
        return '{"label": "a"}'

    sink = refusing()
    if not isinstance(fault, Denied):
        sink._fail = {-7: fault}
    bench = Bench(answer, sink=sink, load=RETRY, policy=lambda _: FailurePolicy(retries=2))
    results = bench.run()
    assert results.status == "failed"
    assert fault.message in results.message
    assert [line["status"] for line in bench.log.lines[:4]] == [
        "loaded", "loaded", "quarantined", "loaded",
    ]  # fmt: skip


def test_discarded_assessments_of_refused_rows_are_counted_once():
    replies = iter(['{"label": "bad"}', '{"label": "good"}'])
    bench = Bench(
        lambda _: Completion(next(replies), "fake", cost=1.0),
        lambda _: Score(1.0, "", cost=0.5, calls=1),
        rows=ROWS[:1],
        sink=refusing(),
        load=RETRY,
        policy=lambda _: FailurePolicy(retries=2),
        transform=Transform(prompt="prompts/p.txt"),
    )
    bench.run()
    assert bench.tally.cost().total == 3.0
    assert bench.tally.evaluation()["quality"].n == 1


# -- the last record with a key


def test_a_retried_row_does_not_replace_the_row_of_a_later_record():
    rows = [*ROWS]
    rows[3] = {"id": "r-1", "text": "again"}
    bench = Bench(
        failing(1, '{"label": "bad"}'),
        rows=rows,
        sink=refusing(),
        load=CONSTANT,
        policy=lambda _: FailurePolicy(value={"label": "none"}),
    )
    results = bench.run()
    assert [row["label"] for row in bench.sink.rows if row["id"] == "r-1"] == ["a"]
    assert results.duplicates == 1


def test_a_retried_row_is_loaded_if_the_later_record_is_refused_for_good():
    rows = [*ROWS]
    rows[3] = {"id": "r-2", "text": "text 3"}
    labels = {"text 2": ["bad", "early"], "text 3": ["bad", "bad"]}

    def answer(request):
        label = labels.get(request.messages[0].content, ["a"])[request.sample]
        return json.dumps({"label": label})

    options = {"rows": rows, "load": RETRY, "policy": lambda _: FailurePolicy(retries=1)}
    bench = Bench(answer, sink=refusing(), **options)
    assert bench.run().duplicates == 0
    assert [row["label"] for row in bench.sink.rows if row["id"] == "r-2"] == ["early"]
    labels["text 3"] = ["bad", "late"]
    bench = Bench(answer, sink=refusing(), **options)
    assert bench.run().duplicates == 1
    assert [row["label"] for row in bench.sink.rows if row["id"] == "r-2"] == ["late"]
    assert len(bench.gateway.requests) == 11  # the early record is not asked again


def test_no_later_part_is_loaded_before_a_row_that_must_be_retried():
    """A later record with the same key would be in the destination when the row is retried."""
    asked = []

    def answer(request):
        if request.messages[0].content == "text 2":
            asked.append(request)
            return '{"label": "bad"}' if len(asked) == 1 else Denied("no credit")
        return '{"label": "a"}'

    bench = Bench(answer, sink=refusing(), load=RETRY, policy=lambda _: FailurePolicy(retries=2))
    bench.run()
    assert [*bench.sink.parts] == [0]
    assert [event[1] for event in bench.journal.events if event[0] == "begin"] == [0]


def test_an_increment_gets_the_records_of_a_part_in_the_order_of_its_rows():
    """A row that a later record replaces is not loaded. The refusals are numbered by row."""
    rows = [*ROWS[:5]]
    rows[3] = {"id": "r-1", "text": "again"}
    loaded = RecordOutcome(make_record(3, rows[3], ("id",)), Output({"label": "a"}, "", "fake"))
    increment = FakeIncrement()
    bench = Bench(
        failing(2, '{"label": "bad"}'),
        rows=rows,
        sink=refusing(),
        journal=FakeJournal({3: loaded}, {0: [3]}),
        increment=increment,
    )
    assert bench.run().duplicates == 1
    assert [row["id"] for row in bench.sink.parts[1]] == ["r-0", "r-4"]  # the sink refused the 2nd
    assert increment.parts == {0: [3], 1: [0, 2, 4, 1]}


def test_the_order_of_parts():
    assert adjacent_parts({}) == []
    assert adjacent_parts({0: (0, 9), 1: (10, 19), 3: (20, 20)}) == [[0, 1, 3]]
    assert adjacent_parts({0: (0, 9), 1: (12, 19), 2: (3, 3), 4: (10, 30)}) == [[0, 1], [2, 4]]
    assert adjacent_parts({2: (0, 9), 1: (0, 30), 5: (40, 41)}) == [[1], [2, 5]]


def test_a_run_without_its_lock_loads_nothing_more():
    bench = Bench()
    bench.run(lambda event: setattr(bench, "lock_error", WorldError("the lock was lost")))
    assert bench.ends[0].message == "the lock was lost"
    assert bench.sink.parts == {}
    bench = Bench(load=Load("out.db", mode="replace"))
    lost = WorldError("the lock was lost")
    bench.run(lambda e: setattr(bench, "lock_error", lost if len(bench.sink.parts) == 3 else None))
    assert (bench.ends[0].status, bench.sink.ended) == ("failed", "aborted")
