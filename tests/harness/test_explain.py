"""What a failing test says to somebody who did not write it."""

from loomgit.domain.samples import CheckResult, Judgement, TestResult
from loomgit.harness import unit
from loomgit.harness.distributional import judge
from loomgit.harness.explain import explain
from tests.harness.replies import case, cases, reply, statistical, unit_test, unusable

PROMPT = "prompts/classify.txt v2.3.0"


def test_a_failed_unit_test_shows_all_that_it_takes_to_see_why():
    test = unit_test(
        "expected: {sentiment: negative, min_confidence: 0.9}, assertions: [evaluation_score > 0.9]"
    )
    judged = {
        "quality": Judgement(0.72, "tone is off", "gpt-4o", threshold=0.75),
        "label": Judgement(None, "no reference"),
    }
    sample = reply(0, 0.72, judgements=judged, failure="quality 0.72 < 0.75")
    assert explain(unit.judge(test, case("unit::t", sample)), PROMPT) == [
        "t: fail",
        "prompt: prompts/classify.txt v2.3.0",
        "  [FAIL] sentiment == 'negative' (actual: 'positive')",
        "  [FAIL] confidence >= 0.9 (actual: 0.80)",
        "  [FAIL] evaluation_score > 0.9 (actual: 0.72)",
        "",
        "case unit::t, sample 1, model m",
        "  input:",
        "    review: I love it",
        "  output:",
        "    sentiment: positive",
        "    confidence: 0.8",
        "    reasoning: they love it",
        "  scores: (evaluation_score 0.72)",
        "    quality: 0.72 < threshold 0.75 [gpt-4o]: tone is off",
        "    label: no score: no reference",
        "  failed: quality 0.72 < 0.75",
        "  took: 1 s, $0.001",
    ]


def test_an_assertion_over_many_replies_has_its_interval_and_its_doubts():
    lines = explain(judge(statistical("mean(evaluation_scores) > 0.8"), cases([0.9, 0.5] * 20)))
    assert lines[:4] == [
        "t: fail",
        "  [FAIL] mean_score > 0.8 (actual: 0.70, 90% interval 0.624 to 0.76, n = 40)",
        "      as written: mean(evaluation_scores) > 0.8",
        "",
    ]
    weak = explain(judge(statistical("p95(latency) < 5"), cases([0.9] * 10)))
    assert (
        weak[1] == "  [weak pass] p95(latency) < 5 (actual: 1, 90% interval 1 to unbounded, n = 10)"
    )


def test_replies_that_are_the_same_are_shown_once():
    test = unit_test("samples: 3, expected: {sentiment: negative}")
    other = reply(2, output={"sentiment": "neutral"})
    lines = explain(unit.judge(test, case("a", reply(0), reply(1), other)))
    shown = [line for line in lines if line.startswith("case")]
    assert shown == ["case a, samples 1, 2, model m", "case a, sample 3, model m"]


def test_a_reply_that_cannot_be_used_is_shown_as_it_came():
    lines = explain(unit.judge(unit_test(), case("a", unusable())))
    assert "    sorry" in lines
    assert "  failed: the reply is not JSON" in lines


def test_long_texts_are_cut_and_say_so():
    output = {"essay": "word " * 1000, "list": "\n".join(str(i) for i in range(100))}
    result = TestResult("t", "fail", (), ((case("a"), reply(output=output)),))
    lines = explain(result)
    assert max(len(line) for line in lines) < 450
    assert len(lines) < 40
    assert "      ... 4,600 characters more" in lines
    assert any(line.strip().startswith("...") and "characters more" in line for line in lines[-4:])


def test_a_result_without_replies_still_says_what_happened():
    check = CheckResult("mean_score > 0.75", "unverified", "unknown")
    result = TestResult("t", "unverified", (check,), message="3 of 3 replies are not recorded")
    assert explain(result) == [
        "t: unverified - 3 of 3 replies are not recorded",
        "  [unverified] mean_score > 0.75 (actual: unknown)",
    ]
