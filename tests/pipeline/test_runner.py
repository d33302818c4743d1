import asyncio
import json

import pytest
from msgspec.structs import replace

from loomgit.domain.amounts import percent_pair
from loomgit.domain.definitions import (
    Evaluate,
    EvaluatorSpec,
    Extract,
    Fallback,
    Gate,
    Load,
    Pipeline,
    Transform,
)
from loomgit.domain.keys import HASH_KEY
from loomgit.domain.models import CallTotals, Completion, Usage
from loomgit.domain.records import (
    Assessment,
    EvaluatorFailure,
    Output,
    RecordFailure,
    RecordOutcome,
    RefusedRow,
    Score,
    make_record,
)
from loomgit.errors import Denied, ProblemsFound, Unavailable, UserError, WorldError
from loomgit.pipeline.evaluate import Panel
from loomgit.pipeline.events import BatchLoaded, Extracted, RunFinished, Warned
from loomgit.pipeline.extractive import ExtractiveSummarizer
from loomgit.pipeline.output import OutputReader
from loomgit.pipeline.plan import ModelParameters
from loomgit.pipeline.prompt import Prompt
from loomgit.pipeline.run_parts import RunParts
from loomgit.pipeline.run_statistics import RunStatistics
from loomgit.pipeline.runner import Runner
from loomgit.pipeline.stages import FailurePolicy, Stages
from loomgit.pipeline.transform import Transformer
from loomgit.wiring.consistency import missing_key
from tests.fakes import (
    FakeEvaluator,
    FakeGateway,
    FakeJournal,
    FakeLog,
    FakeQuarantine,
    FakeSink,
    FakeSource,
    FakeSpool,
)

ROWS = [{"id": f"r-{i}", "text": f"text {i}"} for i in range(10)]
SPEC = EvaluatorSpec("quality", "exact_match", threshold=0.5)


class Bench:
    """A runner with fakes around it, and what they saw."""

    def __init__(
        self,
        answer=None,
        judge=None,
        rows=ROWS,
        policy=None,
        sink=None,
        journal=None,
        transformer=None,
        increment=None,
        **pipeline,
    ):
        parts = {
            "extract": Extract("rows.csv"),
            "transform": Transform(prompt="prompts/p.txt", batch_size=4),
            "evaluate": Evaluate((SPEC,), Gate("all_pass")),
            "load": Load("out.jsonl"),
        }
        self.pipeline = Pipeline("demo", "pipelines/demo.yaml", **{**parts, **pipeline})
        self.gateway = FakeGateway(answer or (lambda _: '{"label": "a"}'))
        self.sink = sink or FakeSink()
        self.log, self.quarantine = FakeLog(), FakeQuarantine()
        self.journal = journal or FakeJournal()
        evaluate = self.pipeline.evaluate
        self.tally = RunStatistics(evaluate.evaluators, lambda record: (record.key, "q"))
        evaluator = FakeEvaluator(judge or (lambda _: 1.0))
        self.stages = Stages(
            transformer or self.transformer(),
            Panel(
                [(s, evaluator) for s in evaluate.evaluators], evaluate.gate, sample=evaluate.sample
            ),
            self.pipeline.load,
            policy(self) if policy else FailurePolicy(),
            self.tally.watches,
        )
        self.ends = []
        self.lock_error = None
        self.key = None
        self.runner = Runner(
            RunParts(
                pipeline=self.pipeline,
                source=FakeSource(rows),
                open_spool=FakeSpool,
                keep_spool=lambda: None,
                require_lock=self.require_lock,
                open_sink=self._open,
                stages=self.stages,
                tally=self.tally,
                log=self.log,
                journal=self.journal,
                quarantine=None if self.pipeline.load.on_failure == "skip" else self.quarantine,
                check_fields=self._check_fields,
                record=self._record,
                concurrency=3,
                lineage={"_loom_run_id": "2026-11-21-001"},
                resume_hint="resume it",
                in_batches=self.stages.transforms_batches,
                increment=increment,
            )
        )

    def transformer(self, text="{{ input.text }}"):
        return Transformer(
            Prompt("prompts/p.txt", text),
            self.gateway,
            ModelParameters("fake"),
            context={},
            context_field=None,
            variables={},
            reader=OutputReader(None),
        )

    def _check_fields(self, key, fields, filled):
        if problems := list(missing_key(self.pipeline, key, fields)):
            raise ProblemsFound(problems)

    def require_lock(self):
        if self.lock_error is not None:
            raise self.lock_error

    def _open(self, key, first):
        self.key, self.first = key, first
        return self.sink

    def _record(self, tally, spool, receipt, end, duration, records):
        self.ends.append(end)
        return tally.results(end.status, end.cause, end.message, receipt)

    def run(self, on_event=lambda _: None):
        async def main():
            events = []
            async for event in self.runner.run():
                on_event(event)
                events.append(event)
            return events

        self.events = asyncio.run(main())
        assert isinstance(self.events[-1], RunFinished)
        return self.events[-1].run  # here: the results


def failing(number, result):
    """The ordinary answer, but `result` for the record with this number."""
    return lambda request: (
        result if request.messages[0].content == f"text {number}" else '{"label": "a"}'
    )


def test_records_are_loaded_in_order_with_their_key():
    bench = Bench()
    results = bench.run()
    assert bench.sink.rows == [{"id": row["id"], "label": "a"} for row in ROWS]
    assert [len(part) for part in bench.sink.parts.values()] == [4, 4, 2]
    assert bench.sink.ended == "committed"
    assert (results.status, results.records_processed, results.records_validated) == (
        "success",
        10,
        10,
    )
    assert isinstance(bench.events[0], Extracted)
    assert [e.done for e in bench.events if isinstance(e, BatchLoaded)] == [4, 8, 10]


def test_cost_tokens_and_latency_add_up():
    bench = Bench()
    bench.run()
    cost = bench.tally.cost()
    assert cost.total == 5.0
    assert cost.calls == 10
    assert cost.tokens == {"input": 100, "output": 20, "cached": 0}
    assert bench.tally.performance(1.0).latency["p95"] == 0.25


def test_an_unknown_price_makes_the_total_unknown_and_never_zero():
    from loomgit.domain.models import Completion

    bench = Bench(lambda _: Completion('{"label": "a"}', "m", cost=None, latency=0.1))
    bench.run()
    cost = bench.tally.cost()
    assert cost.total is None
    assert cost.breakdown["transform"] is None
    assert cost.unpriced == 10


def test_a_record_below_the_gate_is_quarantined_with_its_reason():
    bench = Bench(judge=lambda s: 0.25 if s.input["id"] == "r-3" else 1.0)
    results = bench.run()
    (rejected,) = bench.quarantine.outcomes
    assert rejected.record.key == "r-3"
    assert rejected.failure.reason == "quality 0.25 < 0.50"
    assert (results.status, results.records_rejected) == ("success", 1)
    assert "r-3" not in [row["id"] for row in bench.sink.rows]
    assert [line["status"] for line in bench.log.lines].count("quarantined") == 1


def test_skipped_records_are_counted_and_go_nowhere():
    bench = Bench(judge=lambda _: 0.0, load=Load("out.jsonl", on_failure="skip"))
    assert bench.run().records_rejected == 10
    assert bench.sink.rows == []
    assert bench.quarantine.outcomes == []


def test_an_evaluator_that_errs_fails_the_record_and_is_counted_apart():
    bench = Bench(judge=lambda s: EvaluatorFailure("no field") if s.input["id"] == "r-1" else 1.0)
    results = bench.run()
    summary = bench.tally.evaluation()["quality"]
    assert (summary.n, summary.errors) == (9, 1)
    assert results.records_failed == 1
    assert bench.quarantine.outcomes[0].failure.reason == "quality failed: no field"


def test_retry_asks_again_with_another_sample_and_bills_both():
    tries = []

    def answer(request):
        if request.messages[0].content == "text 2":
            tries.append(request.sample)
            return '{"label": "bad"}' if len(tries) < 3 else '{"label": "good"}'
        return '{"label": "a"}'

    bench = Bench(
        answer,
        judge=lambda s: 0.0 if s.output["label"] == "bad" else 1.0,
        load=Load("out.jsonl", on_failure="retry"),
        policy=lambda _: FailurePolicy(retries=2),
    )
    assert bench.run().records_validated == 10
    assert tries == [0, 1, 2]
    assert bench.tally.cost().calls == 12


def test_what_fails_every_retry_is_quarantined():
    bench = Bench(judge=lambda _: 0.0, rows=ROWS[:1], policy=lambda _: FailurePolicy(retries=2))
    assert bench.run().records_rejected == 1
    assert len(bench.gateway.requests) == 3
    assert len(bench.quarantine.outcomes) == 1


def test_a_constant_fallback_is_loaded_and_marked():
    bench = Bench(
        judge=lambda s: 0.0 if s.input["id"] == "r-0" else 1.0,
        policy=lambda _: FailurePolicy(value={"label": "unknown"}),
    )
    results = bench.run()
    assert bench.sink.rows[0] == {"id": "r-0", "label": "unknown"}
    assert results.records_fallback == 1
    assert bench.log.lines[0]["fallback"] is True


def test_an_extractive_fallback_is_loaded_and_marked_and_calls_no_model():
    bench = Bench(
        judge=lambda s: 0.0 if s.input["id"] in ("r-0", "r-1") else 1.0,
        rows=[
            {"id": "r-0", "text": "Rain. Oslo. Rain in Oslo."},
            {"id": "r-1", "text": " "},
            *ROWS[2:],
        ],
        policy=lambda _: FailurePolicy(
            summarizer=ExtractiveSummarizer("text", "label", 1, {"n": None})
        ),
    )
    results = bench.run()
    assert bench.sink.rows[0] == {"id": "r-0", "label": "Rain in Oslo.", "n": None}
    assert (results.records_fallback, results.records_rejected) == (1, 2)
    assert bench.log.lines[0]["fallback"] is True
    assert [outcome.record.key for outcome in bench.quarantine.outcomes] == ["r-1"]
    assert bench.tally.cost().calls == len(ROWS)


def test_a_fallback_transform_takes_over():
    bench = Bench(
        lambda r: '{"label": "b"}' if r.messages[0].content == "again" else '{"label": "a"}',
        judge=lambda _: 0.0,
        rows=ROWS[:2],
        policy=lambda b: FailurePolicy(transformer=b.transformer("again")),
    )
    assert bench.run().records_fallback == 2
    assert [row["label"] for row in bench.sink.rows] == ["b", "b"]
    assert bench.tally.cost().calls == 4


def test_a_reply_of_the_wrong_form_is_repaired_once():
    def answer(request):
        return '{"label": "a"}' if len(request.messages) == 3 else "   "

    bench = Bench(answer, rows=ROWS[:1])
    assert bench.run().records_validated == 1
    first, second = bench.gateway.requests
    assert second.messages[0] == first.messages[0]
    assert "the reply is empty" in second.messages[2].content


def test_a_reply_that_stays_wrong_fails_the_record_and_still_costs():
    bench = Bench(failing(2, "  "))
    results = bench.run()
    assert results.records_failed == 1
    assert bench.quarantine.outcomes[0].failure.reason == "the reply is empty"
    assert bench.tally.cost().calls == 11


def test_a_record_that_the_prompt_cannot_render_fails_alone():
    rows = [*ROWS[:3], {"id": "odd"}]
    bench = Bench(rows=rows)
    assert bench.run().records_validated == 3
    assert bench.quarantine.outcomes[0].failure.reason == (
        "prompts/p.txt:1: the record has no field 'text'"
    )


def test_a_provider_that_fails_some_records_does_not_stop_the_run():
    bench = Bench(failing(5, Unavailable("503 from the provider")), rows=rows_of(40))
    results = bench.run()
    assert (results.status, results.records_failed) == ("success", 1)
    assert bench.quarantine.outcomes[0].failure.infrastructure


def test_a_provider_that_answers_nobody_fails_the_run_after_one_batch():
    bench = Bench(
        lambda _: Unavailable("connection refused"),
        rows=ROWS * 10,
        extract=Extract("x", key=("id",)),
    )
    results = bench.run()
    assert (results.status, results.cause) == ("failed", "world")
    assert "connection refused" in results.message
    assert len(bench.gateway.requests) < 40


def test_a_missing_key_stops_at_once_and_says_what_to_change():
    bench = Bench(lambda _: Denied("OPENAI_API_KEY is not set"))
    results = bench.run()
    assert (results.status, results.cause) == ("failed", "user")
    assert results.message == "OPENAI_API_KEY is not set"


def test_a_destination_that_breaks_fails_the_run_and_keeps_what_was_loaded():
    bench = Bench(sink=FakeSink(fail={1: WorldError("disk full")}))
    results = bench.run()
    assert (results.status, results.cause, results.message) == ("failed", "world", "disk full")
    assert len(bench.sink.rows) == 4


def test_a_replaced_table_is_never_published_in_part():
    bench = Bench(
        load=Load("out.jsonl", mode="replace"), sink=FakeSink(fail={1: WorldError("disk full")})
    )
    bench.run()
    assert bench.sink.ended == "aborted"


@pytest.mark.parametrize(("threshold", "status"), [(0.8, "success"), (0.81, "partial")])
def test_the_batch_threshold_makes_a_run_partial_and_loads_what_passed(threshold, status):
    bench = Bench(
        judge=lambda s: 0.0 if s.input["id"] in ("r-0", "r-1") else 1.0,
        evaluate=Evaluate((SPEC,), Gate("all_pass"), batch_threshold=threshold),
    )
    results = bench.run()
    assert results.status == status
    assert len(bench.sink.rows) == 8
    if status == "partial":
        assert results.message == "batch threshold not met: 80.0% < 81.0%"
        assert results.cause == "gate"


def test_too_many_failures_stop_the_run():
    bench = Bench(judge=lambda _: 0.0, rows=ROWS, max_failure_rate=0.5)
    results = bench.run()
    assert (results.status, results.cause) == ("failed", "gate")
    assert results.message == "too many records fail: 100.0% > 50.0% (max_failure_rate)"
    assert results.records_processed >= 4


def test_a_run_stops_as_soon_as_too_many_records_must_fail():
    rows = [{"id": str(i), "text": "x"} for i in range(400)]
    failing = {"2", "5", "30", "31", "32", "33", "34", "35", "36"}
    bench = Bench(
        judge=lambda subject: float(subject.input["id"] not in failing),
        rows=rows,
        max_failure_rate=0.02,
        transform=Transform(prompt="p.txt", batch_size=100),
    )
    results = bench.run()
    # The third of the first 31 records; 2 of 100 are allowed.
    assert results.message == "too many records fail: 9.7% > 2.0% (max_failure_rate)"


def test_a_rate_of_failures_that_can_still_be_met_stops_no_run():
    rows = [{"id": str(i), "text": "x"} for i in range(20)]
    bench = Bench(
        judge=lambda subject: float(subject.input["id"] not in "01"),
        rows=rows,
        max_failure_rate=0.1,
        transform=Transform(prompt="p.txt", batch_size=100),
    )
    assert (bench.run().status, len(bench.sink.rows)) == ("success", 18)


def test_stop_keeps_what_is_done_and_says_so():
    bench = Bench(rows=[{"id": str(i), "text": "x"} for i in range(400)])

    def stop(event):
        if isinstance(event, BatchLoaded):
            bench.runner.stop()

    results = bench.run(stop)
    assert (results.status, results.cause) == ("partial", "stopped")
    assert 4 <= results.records_processed < 60
    assert len(bench.sink.rows) == results.records_processed
    assert bench.sink.ended == "committed"


def test_no_records_are_a_success_with_a_word():
    bench = Bench(rows=[])
    assert bench.run().status == "success"
    assert any(isinstance(event, Warned) for event in bench.events)


def test_records_without_a_key_of_their_own_get_a_hash():
    bench = Bench(rows=[{"text": "a"}, {"text": "b"}])
    bench.run()
    assert bench.key == ()
    assert len({row[HASH_KEY] for row in bench.sink.rows}) == 2


def test_a_key_that_no_record_has_is_said_before_any_call():
    bench = Bench(extract=Extract("rows.csv", key=("review_id",)))
    with pytest.raises(UserError, match="no field 'review_id'"):
        bench.run()
    assert bench.gateway.requests == []


@pytest.mark.parametrize("value", [None, ""])
def test_a_record_without_a_value_in_its_key_fails_alone(value):
    bench = Bench(rows=[{"id": "a", "text": "x"}, {"id": value, "text": "y"}])
    results = bench.run()
    assert (results.records_loaded, results.records_rejected) == (1, 1)
    assert len(bench.gateway.requests) == 1
    failure = bench.log.lines[1]["failure"]
    reason = "record 2 of rows.csv has no value in its key field 'id'"
    assert failure == {"stage": "extract", "reason": reason}


@pytest.mark.parametrize("load", [Load("out.jsonl"), Load("o.jsonl", on_failure="skip")])
def test_a_row_that_cannot_be_kept_fails_at_extract_and_calls_no_model(load):
    refused = RefusedRow("data/x.jsonl:2", "has the key 'text' twice in one object", '{"te')
    bench = Bench(rows=[{"id": "a", "text": "x"}, refused, {"id": "b", "text": "y"}], load=load)
    results = bench.run()
    assert (results.status, results.records_loaded, results.records_failed) == ("success", 2, 1)
    assert len(bench.gateway.requests) == 2
    line = bench.log.lines[1]
    assert line["failure"]["stage"] == "extract"
    assert line["failure"]["reason"] == "data/x.jsonl:2: has the key 'text' twice in one object"
    assert line["status"] == ("skipped" if load.on_failure == "skip" else "quarantined")


def test_a_row_that_the_destination_cannot_hold_fails_alone_at_load():
    sink = FakeSink(refuse=lambda row: "column 'id': no" if row["id"] == "r-3" else "")
    bench = Bench(sink=sink)
    results = bench.run()
    assert (results.records_loaded, results.records_failed) == (9, 1)
    assert bench.log.lines[3]["failure"] == {"stage": "load", "reason": "column 'id': no"}
    assert [outcome.record.key for outcome in bench.quarantine.outcomes] == ["r-3"]


def test_a_row_that_the_destination_cannot_hold_is_replaced_by_the_fallback():
    sink = FakeSink(refuse=lambda row: "column 'label': no" if row["label"] == "a" else "")
    bench = Bench(
        sink=sink,
        load=Load("out.jsonl", on_failure="fallback", fallback=Fallback(value={"label": "b"})),
        policy=lambda _: FailurePolicy(value={"label": "b"}),
    )
    results = bench.run()
    assert (results.records_loaded, results.records_fallback) == (10, 10)
    assert {row["label"] for row in sink.rows} == {"b"}


def test_a_row_that_the_destination_cannot_hold_is_asked_for_again():
    replies = iter(['{"label": "bad"}'] + ['{"label": "a"}'] * 20)
    sink = FakeSink(refuse=lambda row: "column 'label': no" if row["label"] == "bad" else "")
    bench = Bench(lambda _: next(replies), sink=sink, policy=lambda _: FailurePolicy(retries=1))
    assert bench.run().records_loaded == 10
    assert len(bench.gateway.requests) == 11


def test_replaced_characters_are_a_warning_and_stand_in_the_records():
    reply = Completion('{"label": "\ufffd"}', "fake", cost=0.5, replaced=1)
    bench = Bench(failing(3, reply))
    bench.run()
    (warning,) = [event.message for event in bench.events if isinstance(event, Warned)]
    assert warning == "U+FFFD replaced unpaired surrogates in 1 reply"
    assert [line.get("replaced_characters") for line in bench.log.lines].count(1) == 1


def test_a_refused_row_says_nothing_about_the_prompt():
    refused = RefusedRow("data/x.jsonl:2", "nests 300 levels deep, more than 200")
    bench = Bench(rows=[{"id": "a", "text": "x"}, refused])
    bench.run()
    assert [line["case_scores"] for line in bench.log.lines] == [{"quality": 1.0}, {}]


def test_a_source_whose_rows_are_all_refused_says_why():
    refused = RefusedRow("data/x.jsonl:1", "nests 300 levels deep, more than 200")
    results = Bench(rows=[refused, refused]).run()
    assert (results.status, results.cause) == ("failed", "gate")
    assert "no record passed: data/x.jsonl:1: nests 300 levels deep" in results.message


def test_faults_of_the_prompt_are_raised_before_any_call():
    bench = Bench()
    from msgspec.structs import replace

    def refuse(key, fields, filled):
        raise ProblemsFound([])

    bench.runner = Runner(replace(bench.runner._parts, check_fields=refuse))
    with pytest.raises(ProblemsFound):
        bench.run()
    assert bench.gateway.requests == []


def test_the_load_schema_is_not_bent():
    schema = {
        "type": "object",
        "properties": {"label": {"type": "string"}, "n": {"type": "number"}},
        "required": ["label", "n"],
    }
    bench = Bench(
        lambda r: json.dumps(
            {"label": "a", "n": "1" if r.messages[0].content == "text 1" else 1, "x": 2}
        ),
        load=Load("out.jsonl", schema=schema),
    )
    bench.run()
    (rejected,) = bench.quarantine.outcomes
    assert rejected.failure.stage == "load"
    assert rejected.failure.reason == 'load.schema: n: "1" is not of type "number"'
    assert bench.sink.rows[0] == {"id": "r-0", "label": "a", "n": 1}  # only what the schema names


def test_included_fields_and_lineage_are_loaded_and_the_key_is_the_records_own():
    bench = Bench(
        lambda _: '{"label": "a", "id": "forged"}',
        load=Load("out.jsonl", include=("text",), lineage_columns=True),
    )
    bench.run()
    assert bench.sink.rows[0] == {
        "id": "r-0",
        "label": "a",
        "text": "text 0",
        "_loom_run_id": "2026-11-21-001",
        HASH_KEY: "r-0",
    }


def test_a_share_of_the_records_is_evaluated_and_always_the_same():
    def keys():
        seen = []
        bench = Bench(
            judge=lambda s: seen.append(s.input["id"]) or 1.0,
            rows=[{"id": str(i), "text": "x"} for i in range(400)],
            evaluate=Evaluate((SPEC,), Gate("all_pass"), sample=0.25),
        )
        results = bench.run()
        assert results.records_validated == 400
        assert results.records_evaluated == len(seen)
        return seen

    first = keys()
    assert 60 < len(first) < 140
    assert first == keys()


def test_rates_show_as_many_digits_as_tell_them_apart():
    assert percent_pair(0.92, 0.95) == "92.0% < 95.0%"
    assert percent_pair(0.94999, 0.95) == "94.999% < 95.000%"


def rows_of(count):
    return [{"id": f"r-{i}", "text": f"text {i}"} for i in range(count)]


def failing_from(number, error):
    """The ordinary answer up to a record, the error from there on."""

    def answer(request):
        late = int(request.messages[0].content.split()[1]) >= number
        return error if late else '{"label": "a"}'

    return answer


def test_more_than_a_few_outages_make_a_run_partial_by_the_world():
    def answer(request):
        broken = request.messages[0].content in ("text 3", "text 9")
        return Unavailable("503") if broken else '{"label": "a"}'

    bench = Bench(answer, rows=rows_of(20))
    results = bench.run()
    assert (results.status, results.cause) == ("partial", "world")
    assert results.message == "2 of 20 records failed because of outages"
    assert len(bench.sink.rows) == 18


def test_a_provider_that_dies_stops_the_run_soon_and_keeps_what_it_answered():
    bench = Bench(failing_from(20, Unavailable("connection refused")), rows=rows_of(1000))
    results = bench.run()
    assert (results.status, results.cause) == ("failed", "world")
    assert "connection refused" in results.message
    assert len(bench.sink.rows) == 20
    assert results.records_processed < 100


def test_what_was_paid_for_is_loaded_when_a_later_call_is_denied():
    bench = Bench(failing_from(7, Denied("OPENAI_API_KEY is refused")))
    results = bench.run()
    assert results.cause == "user"
    assert results.records_loaded == results.records_validated == len(bench.sink.rows) >= 6
    assert len(bench.log.lines) == results.records_processed


def test_a_run_in_which_nothing_passes_has_failed_and_says_why():
    bench = Bench(judge=lambda _: EvaluatorFailure("the output has no field 'x'"))
    results = bench.run()
    assert (results.status, results.cause) == ("failed", "gate")
    assert results.message == "no record passed: quality failed: the output has no field 'x'"
    assert results.reasons == {"quality failed: the output has no field 'x'": 10}


def test_a_bug_of_ours_still_leaves_a_record_and_then_shows():
    bench = Bench(failing(5, RuntimeError("odd")))
    with pytest.raises(RuntimeError, match="odd"):
        bench.run()
    (end,) = bench.ends
    assert end.status == "failed"
    assert end.message == "a bug in Loom: RuntimeError: odd"
    assert bench.sink.ended == "committed"


def test_stop_during_the_extraction_is_never_a_success():
    bench = Bench(rows=ROWS, load=Load("out.jsonl", mode="replace"))
    bench.runner.stop()
    results = bench.run()
    assert (results.status, results.cause) == ("partial", "stopped")
    assert bench.sink.ended == "aborted"


def test_replacing_with_nothing_leaves_what_is_there():
    bench = Bench(rows=[], load=Load("out.jsonl", mode="replace"))
    assert bench.run().status == "success"
    assert bench.sink.ended == "aborted"


def test_a_fallback_is_loaded_but_did_not_pass():
    bench = Bench(
        judge=lambda s: 0.0 if s.input["id"] < "r-4" else 1.0,
        policy=lambda _: FailurePolicy(value={"label": "unknown"}),
        evaluate=Evaluate((SPEC,), Gate("all_pass"), batch_threshold=0.9),
    )
    results = bench.run()
    assert results.message == "batch threshold not met: 60.0% < 90.0%"
    assert (results.records_validated, results.records_fallback) == (6, 4)
    assert results.records_loaded == 10


def test_every_judgement_is_on_the_bill_those_of_failed_attempts_too():
    paid = Score(0.0, "no", judge="j", usage=Usage(5, 1), cost=1.0, calls=1)
    bench = Bench(judge=lambda _: paid, rows=ROWS[:1], policy=lambda _: FailurePolicy(retries=2))
    bench.run()
    cost = bench.tally.cost()
    assert cost.breakdown == {"transform": 1.5, "evaluate": 3.0}
    assert cost.calls == 6
    assert cost.tokens["input"] == 3 * (10 + 5)


def test_a_judge_that_gave_no_score_is_on_the_bill():
    spent = CallTotals(Usage(5, 1), cost=0.25, calls=2)
    bench = Bench(judge=lambda _: EvaluatorFailure("no usable answer", spent), rows=ROWS[:1])
    bench.run()
    assert bench.tally.cost().breakdown["evaluate"] == 0.25
    assert bench.tally.cost().calls == 3


def test_a_fallback_that_fails_is_on_the_bill():
    bench = Bench(
        lambda r: "  " if r.messages[0].content == "again" else '{"label": "a"}',
        judge=lambda _: 0.0,
        rows=ROWS[:1],
        policy=lambda b: FailurePolicy(transformer=b.transformer("again")),
    )
    bench.run()
    assert bench.tally.cost().calls == 3  # the first, the fallback, the repair of its form


def test_a_retry_has_another_seed():
    bench = Bench(judge=lambda _: 0.0, rows=ROWS[:1], policy=lambda _: FailurePolicy(retries=2))
    bench.run()
    assert [request.seed for request in bench.gateway.requests] == [None, 1, 2]


def earlier_outcome(number):
    record = make_record(number, ROWS[number], ("id",))
    output = Output({"label": "earlier"}, "", "fake", cost=0.5)
    score = Assessment("quality", 0.5, score=Score(1.0, "fine"))
    return RecordOutcome(record, output, (score,), resumed=True)


def test_a_resumed_run_loads_the_parts_that_were_begun_and_calls_only_for_the_rest():
    journal = FakeJournal(
        earlier={number: earlier_outcome(number) for number in (0, 1, 2, 4, 7)},
        parts={0: [0, 1], 1: [2, 4], 2: []},
        reported={0},
    )
    bench = Bench(journal=journal)
    results = bench.run()
    assert len(bench.gateway.requests) == 5
    labels = {part: [row["id"] for row in rows] for part, rows in bench.sink.parts.items()}
    assert labels == {
        0: ["r-0", "r-1"], 1: ["r-2", "r-4"], 3: ["r-3", "r-5", "r-6", "r-7"], 4: ["r-8", "r-9"],
    }  # fmt: skip
    assert (results.records_processed, results.records_loaded) == (10, 10)
    assert bench.tally.spent_earlier == 2.5
    assert bench.tally.cost().calls == 5
    begun = [event for event in journal.events if event[0] == "begin"]
    assert begun == [("begin", 3, [3, 5, 6, 7]), ("begin", 4, [8, 9])]
    reported = [event[1] for event in journal.events if event[0] == "report"]
    assert reported == [0, 1, 3, 4]
    assert [event for event in journal.events if event == ("outcome", 7)] == []


def test_failed_records_of_a_reported_part_are_not_quarantined_again():
    failed = {n: replace(earlier_outcome(n), failure=RecordFailure("gate", "x")) for n in range(4)}
    journal = FakeJournal(earlier=failed, parts={0: [0, 1], 1: [2, 3]}, reported={0})
    bench = Bench(journal=journal)
    bench.run()
    assert [outcome.record.key for outcome in bench.quarantine.outcomes] == ["r-2", "r-3"]
    assert bench.tally.validated == 6


def test_a_record_that_an_outage_lost_is_in_no_part():
    bench = Bench(answer=failing(2, Unavailable("down")))
    bench.run()
    begun = [event[2] for event in bench.journal.events if event[0] == "begin"]
    assert begun == [[0, 1, 3], [4, 5, 6, 7], [8, 9]]
    assert ("outcome", 2) not in bench.journal.events


def test_a_part_is_on_the_disk_before_its_rows_are_loaded():
    journal, on_disk = FakeJournal(), []

    class WatchingSink(FakeSink):
        def load(self, part, rows, rejected=()):
            on_disk.append(("begin", part) in [event[:2] for event in journal.synced])
            return super().load(part, rows, rejected)

    Bench(journal=journal, sink=WatchingSink()).run()
    assert on_disk
    assert all(on_disk)
