"""Integration tests: what a run has to show."""

import pytest
from msgspec.structs import replace

from loomgit.domain.runs import ModelCost
from loomgit.harness.integration import judge
from tests.harness.replies import integration_test
from tests.runs import make_run

RUN = make_run()
RESULTS = replace(RUN.results, records_loaded=9, records_evaluated=10, inserted=9)


def run(**results):
    return replace(RUN, results=replace(RESULTS, **results))


@pytest.mark.parametrize(
    ("text", "verdict", "actual"),
    [
        ("records_loaded > 8", "pass", "9"),
        ("records_loaded > 95", "fail", "9"),
        ("records_extracted == 10 and records_processed == 10", "pass",
         "records_extracted 10, records_processed 10"),
        ("records_rejected <= 1", "pass", "1"),
        ("rejection_rate < 0.2", "pass", "0.10"),
        ("total_cost < 0.50", "fail", "0.50"),
        ("total_cost <= 0.5 and duration < 60", "pass", "total_cost 0.50, duration 1.50"),
        ("status == 'success'", "pass", "'success'"),
        ("status in ['success', 'partial'] and inserted == 9", "pass",
         "status 'success', inserted 9"),
        ("score.label >= 0.85", "pass", "0.90"),
        ("score.lable >= 0.85", "fail", "absent"),
    ],
)  # fmt: skip
def test_an_assertion_is_about_the_run(text, verdict, actual):
    (line,) = judge(integration_test(text), run()).checks
    assert (line.verdict, line.actual) == (verdict, actual)


def test_a_test_without_assertions_asks_that_the_run_succeeds():
    assert judge(integration_test(), run()).verdict == "pass"
    found = judge(integration_test(), run(status="partial", message="92.0% < 95.0%"))
    assert (found.verdict, found.message) == ("fail", "92.0% < 95.0%")
    assert found.checks[0].actual == "partial"


def test_a_run_that_the_world_ended_says_nothing_of_the_pipeline():
    test = integration_test("records_loaded > 5", "duration < 60")
    gone = run(status="failed", cause="world", message="no answer", records_evaluated=0)
    found = judge(test, gone)
    assert (found.verdict, found.message) == ("unverified", "no answer")
    assert [c.verdict for c in found.checks] == ["unverified", "unverified"]
    later = run(status="failed", cause="world", message="no answer", records_evaluated=3)
    assert judge(test, later).verdict == "error"
    rejected = run(status="failed", cause="gate", records_loaded=0)
    assert judge(test, rejected).verdict == "fail"


def test_an_unknown_cost_is_unverified():
    unpriced = replace(RUN, cost=replace(RUN.cost, total=None), results=RESULTS)
    found = judge(integration_test("total_cost < 1", "records_loaded > 5"), unpriced)
    assert [c.verdict for c in found.checks] == ["unverified", "pass"]
    assert found.verdict == "unverified"


def test_a_misspelt_evaluator_is_told_from_those_there_are():
    line = judge(integration_test("score.lable >= 0.85"), run()).checks[0]
    assert line.note == "unknown evaluator 'lable'; did you mean 'label'?"


def test_replies_from_the_cache_count_at_what_they_cost_once():
    kept = ModelCost("transform", "m", "m", hits=3, saved=0.25)
    cost = replace(RUN.cost, total=0.0, models=(kept,))
    test = integration_test("total_cost < 0.2")
    (line,) = judge(test, replace(RUN, cost=cost)).checks
    assert (line.verdict, line.actual) == ("fail", "0.25")
    unknown = replace(cost, models=(replace(kept, saved=None),))
    assert judge(test, replace(RUN, cost=unknown)).verdict == "unverified"


def test_a_run_that_fails_says_why_records_were_rejected():
    test = integration_test("records_extracted > 5", "records_loaded > 95", "status == 'failed'")
    lines = judge(test, run(reasons={"label failed: no": 2, "too  long": 7})).checks
    assert [line.note for line in lines] == [
        "", "7 rejected: too long; 2 rejected: label failed: no", "",
    ]  # fmt: skip
