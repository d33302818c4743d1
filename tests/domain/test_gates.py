import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.definitions import Gate
from loomgit.domain.gates import decide
from loomgit.domain.records import Assessment, Score


def judged(name: str, value: float | None, threshold: float = 0.7, weight: float = 1.0):
    if value is None:
        return Assessment(name, threshold, weight, error="no key 'x'")
    return Assessment(name, threshold, weight, Score(value, "because"))


@pytest.mark.parametrize(
    ("gate", "values", "passed"),
    [
        ("all_pass", [0.7, 0.9], True),
        ("all_pass", [0.7, 0.69], False),
        ("majority_pass", [1.0], True),
        ("majority_pass", [1.0, 0.0], False),  # half is no majority
        ("majority_pass", [1.0, 1.0, 0.0], True),
        ("any_pass", [0.0, 0.7], True),
        ("any_pass", [0.0, 0.1], False),
        ("all_pass", [0.9, None], False),
        ("majority_pass", [0.9, 0.9, None], True),
        ("any_pass", [None, 0.9], True),
    ],
)
def test_gates_decide_by_thresholds(gate, values, passed):
    assessments = [judged(f"e{i}", value) for i, value in enumerate(values)]
    assert decide(Gate(gate), assessments).passed is passed


def test_reasons_name_the_evaluator_with_both_numbers():
    decision = decide(Gate("all_pass"), [judged("quality_criteria", 0.7, 0.75), judged("ok", 1.0)])
    assert decision.reason == "quality_criteria 0.70 < 0.75"


def test_a_reason_shows_as_many_digits_as_tell_the_numbers_apart():
    decision = decide(Gate("all_pass"), [judged("close", 0.7999, 0.8)])
    assert decision.reason == "close 0.7999 < 0.80"


def test_majority_says_how_many_passed():
    decision = decide(Gate("majority_pass"), [judged("a", 1.0), judged("b", 0.0)])
    assert decision.reason.startswith("majority not reached: 1/2 (50%)")


def test_any_pass_says_that_none_passed():
    assert decide(Gate("any_pass"), [judged("a", 0.0)]).reason.startswith("no evaluator passed")


def test_weighted_ignores_single_thresholds_and_uses_weights():
    high, low = judged("high", 1.0, 1.0, weight=3.0), judged("low", 0.0, 0.9, weight=1.0)
    assert decide(Gate("weighted", 0.75), [high, low]).passed
    decision = decide(Gate("weighted", 0.76), [high, low])
    assert decision.reason == "weighted average 0.750 < 0.76"


def test_weighted_mean_that_equals_the_threshold_passes_despite_binary_fractions():
    assessments = [judged(f"e{i}", 0.1, weight=0.1) for i in range(3)]
    assert decide(Gate("weighted", 0.1), assessments).passed


def test_weighted_fails_when_an_evaluator_erred():
    decision = decide(Gate("weighted", 0.0), [judged("a", 1.0), judged("b", None)])
    assert not decision.passed
    assert decision.reason == "b failed: no key 'x'"


def test_nothing_to_judge_passes():
    assert decide(Gate("all_pass"), []).passed


scores = st.lists(st.floats(0, 1), min_size=1, max_size=9)


@given(scores, st.floats(0, 1))
def test_all_implies_majority_implies_any(values, threshold):
    assessments = [judged(f"e{i}", value, threshold) for i, value in enumerate(values)]
    every = decide(Gate("all_pass"), assessments).passed
    most = decide(Gate("majority_pass"), assessments).passed
    some = decide(Gate("any_pass"), assessments).passed
    assert not every or most
    assert not most or some


@given(scores, st.floats(0, 1))
def test_equal_weights_are_the_mean(values, threshold):
    assessments = [judged(f"e{i}", value) for i, value in enumerate(values)]
    mean = sum(values) / len(values)
    if abs(mean - threshold) > 1e-9:
        assert decide(Gate("weighted", threshold), assessments).passed is (mean > threshold)
