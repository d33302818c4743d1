"""The stricter of two versions of a policy, and what a version has deleted."""

import pytest
from msgspec.structs import replace

from loomgit.config.suites import parse_suite
from loomgit.domain.comparison import Limits
from loomgit.domain.definitions import Evaluate, EvaluatorSpec, Gate
from loomgit.harness.policies import (
    deleted_expectations,
    stricter_evaluate,
    stricter_limits,
    stricter_suite,
)

SUITE = """\
pipeline: demo
unit_tests:
  - name: plain
    input: {{review: good}}
    {unit}
distributional_tests:
  - {{name: quality, type: statistical, {quality}}}
  - {{name: as_before, type: regression{regression}}}
"""


def suite(
    unit="expected: {sentiment: positive}",
    quality='assertions: ["mean(evaluation_scores) > 0.8"]',
    regression="",
):
    text = SUITE.format(unit=unit, quality=quality, regression=regression)
    return parse_suite(text, "tests/demo_test.yaml")


@pytest.mark.parametrize(
    ("base", "head", "used", "line"),
    [
        (
            "max_drop: 0.05",
            "max_drop: 0.9",
            0.05,
            "max_drop: 0.05 -> 0.9 (0.05 applies until the merge)",
        ),
        ("max_drop: 0.9", "max_drop: 0.05", 0.05, ""),
        ("max_rise: 10%", "max_drop: 0.02", 0.1, "max_rise: 0.1 -> none (0.1 applies"),
        ("max_error_rate: 0.1", "max_error_rate: 0.5", 0.1, "max_error_rate: 0.1 -> 0.5"),
        ("allow_removed: false", "allow_removed: true", False, "allow_removed: False -> True"),
        ("confirm: false", "confirm: true", False, "confirm: False -> True"),
        ("scope: suite", "scope: population", "suite", "scope: suite -> population"),
        ("samples: 3", "samples: 1", 3, "samples: 3 -> 1 (3 applies"),
        ("samples: 1", "samples: 3", 3, ""),
        ("strict: true", "strict: false", True, "strict: True -> False"),
    ],
)
def test_of_each_setting_the_stricter_value_counts(base, head, used, line):
    setting = base.partition(":")[0]
    found, looser = stricter_suite([suite(regression=f", {base}")], suite(regression=f", {head}"))
    policy = found.distributional_tests[1].policy
    assert getattr(policy, setting) == used
    said = [str(each) for each in looser]
    assert [text.startswith(f"demo: as_before: {line}") for text in said] == (
        [True] if line else []
    )


@pytest.mark.parametrize(
    ("base", "head", "used"),
    [("", ", sample_size: 3", None), (", sample_size: 30", ", sample_size: 3", 30),
     (", sample_size: 3", "", None)],
)  # fmt: skip
def test_of_sample_sizes_the_larger_one_counts(base, head, used):
    found, _ = stricter_suite([suite(regression=base)], suite(regression=head))
    assert found.distributional_tests[1].sample_size == used


@pytest.mark.parametrize(
    ("base", "head", "used", "line"),
    [
        ((3, None), (10, 8), None, "min_pass: 3 of 3 -> 8 of 10 (10 of 10 applies"),
        ((3, 2), (30, 2), 20, "min_pass: 2 of 3 -> 2 of 30 (20 of 30 applies"),
        ((10, 8), (10, 9), 9, ""),
        ((10, 5), (4, 2), 5, ""),  # of 10 samples, which count
    ],
)
def test_the_larger_share_of_samples_must_pass(base, head, used, line):
    def passing(samples, least):
        more = "" if least is None else f"\n    min_pass: {least}"
        return suite(unit=f"samples: {samples}{more}\n    expected: {{sentiment: positive}}")

    found, looser = stricter_suite([passing(*base)], passing(*head))
    assert found.unit_tests[0].min_pass == used
    assert line in "".join(str(each) for each in looser if each.setting == "min_pass")


def test_another_evaluator_of_a_hallucination_test_does_not_count():
    text = (
        "pipeline: demo\ndistributional_tests:\n  - name: grounded\n    type: hallucination_rate\n"
        "    threshold: 0.1\n    evaluator: {}\n"
    )
    base, head = (
        parse_suite(text.format(of), "tests/demo_test.yaml")
        for of in ("{type: groundedness}", "{type: length, config: {max: 9999}}")
    )
    found, (looser,) = stricter_suite([base], head)
    assert found.distributional_tests == base.distributional_tests
    assert "grounded: evaluator: groundedness -> length" in str(looser)


def test_what_an_undecided_assertion_does_has_an_order():
    for base, head, used in (("fail", "warn", "fail"), ("warn", "fail", "fail")):
        found, looser = stricter_suite(
            [suite(regression=f", on_inconclusive: {base}")],
            suite(regression=f", on_inconclusive: {head}"),
        )
        assert found.distributional_tests[1].policy.on_inconclusive == used
        assert len(looser) == (base == "fail")


def test_tests_of_one_name_in_two_files_are_not_mixed_up():
    one, two = suite(unit="expected: {sentiment: a}"), suite(unit="expected: {sentiment: b}")
    files = [one, replace(two, path="tests/other_test.yaml")]
    assert deleted_expectations(files, files) == ()
    moved = [one, replace(two, path="tests/moved_test.yaml")]
    assert deleted_expectations(files, moved) == ()
    found, _ = stricter_suite([suite(regression=", max_drop: 0.1"), files[1]], one)
    assert found.distributional_tests[1].policy.max_drop == 0.02


def test_a_test_that_the_base_lacks_stays_as_it_is():
    head = suite(regression=", max_drop: 0.9")
    assert stricter_suite([], head) == (head, ())


def test_limits_of_a_comparison():
    base, head = Limits(max_drop=0.02, strict=True), Limits(max_drop=0.9, unpaired=True)
    found, looser = stricter_limits("demo", base, head)
    assert (found.max_drop, found.strict, found.unpaired) == (0.02, True, True)
    assert [each.setting for each in looser] == ["max_drop", "strict"]


def evaluate(gate="all_pass", threshold=0.7, weight=1.0, **more):
    spec = EvaluatorSpec("label", "exact_match", threshold=threshold, weight=weight)
    return Evaluate((spec,), Gate(gate), **more)


@pytest.mark.parametrize(
    ("base", "head", "used"),
    [
        (evaluate(threshold=0.7), evaluate(threshold=0.2), evaluate(threshold=0.7)),
        (evaluate(threshold=0.2), evaluate(threshold=0.7), evaluate(threshold=0.7)),
        (evaluate(weight=1.0), evaluate(weight=9.0), evaluate(weight=1.0)),
        (evaluate("all_pass"), evaluate("majority_pass"), evaluate("all_pass")),
        (evaluate("any_pass"), evaluate("majority_pass"), evaluate("majority_pass")),
        (evaluate("weighted"), evaluate("any_pass"), evaluate("weighted")),
        (evaluate(batch_threshold=0.9), evaluate(), evaluate(batch_threshold=0.9)),
        (evaluate(sample=1.0), evaluate(sample=0.1), evaluate(sample=1.0)),
    ],
)
def test_of_thresholds_weights_and_gates_the_stricter_ones_count(base, head, used):
    found, looser = stricter_evaluate("demo", base, head)
    assert found == used
    assert len(looser) == (used != head)


def test_an_evaluator_that_the_head_adds_stays_as_it_is():
    new = EvaluatorSpec("tone", "length", threshold=0.0)
    head = replace(evaluate(), evaluators=(*evaluate().evaluators, new))
    assert stricter_evaluate("demo", evaluate(), head) == (head, ())


ASSERTION = 'assertions: ["{}"]'


@pytest.mark.parametrize(
    ("base", "head"),
    [
        ("mean(evaluation_scores) > 0.8", "mean(evaluation_scores) > 0.9"),
        ("mean(evaluation_scores) >= 0.8", "mean(evaluation_scores) > 0.8"),
        ("mean(evaluation_scores) > 0.8", "0.85 < mean(evaluation_scores)"),
        ("mean(evaluation_scores) > 0.8", "0.9 < mean(evaluation_scores) < 1"),
        ("mean(evaluation_scores) > 0.8",
         "rate(passed) > 0.5 and mean(evaluation_scores) > 0.8"),
        ("std(evaluation_scores) < 0.2", "std(evaluation_scores) < 0.1"),
    ],
)  # fmt: skip
def test_what_is_stricter_implies_the_assertion(base, head):
    before = [suite(quality=ASSERTION.format(base))]
    assert deleted_expectations(before, [suite(quality=ASSERTION.format(head))]) == ()


@pytest.mark.parametrize(
    ("base", "head"),
    [
        ("mean(evaluation_scores) > 0.8", "mean(evaluation_scores) > 0.7"),
        ("mean(evaluation_scores) > 0.8", "mean(evaluation_scores) >= 0.8"),
        ("mean(evaluation_scores) > 0.8", "median(evaluation_scores) > 0.9"),
        ("mean(evaluation_scores) > 0.8", "mean(evaluation_scores) < 0.9"),
        ("mean(evaluation_scores) > 0.8",
         "mean(evaluation_scores) > 0.9 or rate(passed) > 0.1"),
        ("0.5 < mean(evaluation_scores) < 0.9", "mean(evaluation_scores) > 0.5"),
        ("std(evaluation_scores) < 0.2", "std(evaluation_scores) < 0.3"),
    ],
)  # fmt: skip
def test_what_is_looser_does_not(base, head):
    before = [suite(quality=ASSERTION.format(base))]
    (found,) = deleted_expectations(before, [suite(quality=ASSERTION.format(head))])
    assert str(found) == f"demo: quality: `{base}` is deleted or looser"


@pytest.mark.parametrize(
    ("base", "head", "lines"),
    [
        ("{sentiment: positive, min_confidence: 0.8}", "{sentiment: positive}",
         ["`confidence >= 0.8`"]),
        ("{min_confidence: 0.8}", "{min_confidence: 0.9}", []),
        ("{min_confidence: 0.8}", "{confidence: 0.9}", []),
        ("{min_confidence: 0.8}", "{confidence: 0.7}", ["`confidence >= 0.8`"]),
        ("{max_words: 5}", "{max_words: 9}", ["`words <= 5`"]),
        ("{sentiment: positive}", "{sentiment: neutral}", ["`sentiment == 'positive'`"]),
    ],
)  # fmt: skip
def test_expected_values_that_are_deleted_or_looser(base, head, lines):
    before, now = (suite(unit=f"expected: {text}") for text in (base, head))
    found = [each.text for each in deleted_expectations([before], [now])]
    assert found == [f"{line} is deleted or looser" for line in lines]


def test_tests_that_are_gone_or_of_another_type():
    before = suite()
    now = replace(before, path="tests/moved_test.yaml", unit_tests=())
    assert [each.test for each in deleted_expectations([before], [now])] == ["plain"]
    drift = suite().distributional_tests[1]
    other = replace(suite(), distributional_tests=(replace(drift, name="quality"),))
    gone = [each.test for each in deleted_expectations([before], [other])]
    assert gone == ["quality", "as_before"]
