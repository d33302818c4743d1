"""The forms that a test file's values may take, and the one value that each becomes."""

import pytest
from msgspec.structs import replace

from loomgit.config.suites import parse_suite
from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.place import Place
from loomgit.domain.suites import HallucinationRate, IntegrationStep, LatencyLimit, Policy, UnitCase
from loomgit.errors import ProblemsFound

ALL_OF_POLICY = (
    "samples: 3, max_samples: 9, model: m, scope: population, on_inconclusive: fail, "
    "max_drop: 0.05, max_rise: 10%, confirm: true, allow_removed: true, max_error_rate: 0.1, "
    "ci: bca, strict: true"
)
POLICY = Policy(
    samples=3,
    max_samples=9,
    model="m",
    scope="population",
    on_inconclusive="fail",
    max_drop=0.05,
    max_rise=0.1,
    confirm=True,
    allow_removed=True,
    max_error_rate=0.1,
    ci="bca",
    strict=True,
)


def suite(*tests, kind="unit_tests", defaults=""):
    lines = "".join(f"  - {{name: t{index}, {test}}}\n" for index, test in enumerate(tests))
    return parse_suite(f"pipeline: faq\ndefaults: {{{defaults}}}\n{kind}:\n{lines}", "t.yaml")


def test_what_is_not_said_is_the_definitions_own_default():
    found = suite("input: {q: x}")
    assert found.unit_tests == (UnitCase("t0", Place("t.yaml", 4, 5), {"q": "x"}),)
    assert (found.dataset, found.defaults) == (None, Policy())
    assert (found.distributional_tests, found.integration_tests) == ((), ())


def test_a_test_has_the_defaults_of_its_file():
    found = suite("input: {}", defaults=ALL_OF_POLICY)
    assert found.defaults == POLICY
    assert found.unit_tests[0].policy == POLICY


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        ("unit_tests", "input: {}"),
        ("distributional_tests", "type: regression"),
        ("integration_tests", "steps: []"),
    ],
)
def test_a_test_of_any_kind_has_its_own_word(kind, needs):
    found = suite(f"{needs}, {ALL_OF_POLICY}", needs, kind=kind, defaults="samples: 2, model: n")
    first, second = getattr(found, kind)
    assert first.policy == POLICY
    assert second.policy == Policy(samples=2, model="n")


def test_false_and_zero_are_words_too():
    found = suite("input: {}, strict: false, max_drop: 0", defaults="strict: true, max_drop: 0.1")
    assert found.unit_tests[0].policy == replace(Policy(), strict=False, max_drop=0.0)


@pytest.mark.parametrize(
    ("written", "share"), [("10%", 0.1), ("0.1", 0.1), ("150%", 1.5), ("1", 1.0), ("2.5%", 0.025)]
)
def test_a_rise_is_a_share_or_a_percentage(written, share):
    rise = suite("input: {}", defaults=f"max_rise: {written}").defaults.max_rise
    assert rise == pytest.approx(share)


def test_inputs_and_expectations_are_typed_late():
    found = suite("input: {day: 2024-07-18, n: 1, on: yes}, expected: {ok: true, min_n: 1e1}")
    assert found.unit_tests[0].input == {"day": "2024-07-18", "n": 1, "on": "yes"}
    assert found.unit_tests[0].expected == {"ok": True, "min_n": 10.0}


def test_assertions_keep_the_place_of_their_first_character():
    text = (
        "pipeline: faq\nunit_tests:\n  - name: a\n    input: {}\n    assertions:\n"
        "      - cost < 1\n      - 'latency < 2'\n      - \"'a' in output.text\"\n      - |\n"
        "        score.tone > 0.5\n"
    )
    lines = text.splitlines()
    for assertion in parse_suite(text, "t.yaml").unit_tests[0].assertions:
        place = assertion.place
        assert lines[place.line - 1][place.column - 1 :].startswith(assertion.text.strip())


def test_hallucination_rate_may_bring_its_evaluator():
    found = suite(
        "type: hallucination_rate, threshold: 0.05, "
        "evaluator: {type: groundedness, threshold: 0.8, config: {query_field: q}}",
        "type: hallucination_rate, threshold: 0, evaluator: factuality",
        kind="distributional_tests",
    )
    first, second = found.distributional_tests
    assert isinstance(first, HallucinationRate)
    assert first.evaluator == EvaluatorSpec(
        "groundedness", "groundedness", 0.8, config={"query_field": "q"}
    )
    assert isinstance(second, HallucinationRate)
    assert second.evaluator == EvaluatorSpec("factuality", "factuality")


@pytest.mark.parametrize(("written", "seconds"), [("5.0", 5.0), ("5s", 5.0), ("200ms", 0.2)])
def test_latency_is_in_seconds(written, seconds):
    found = suite(f"type: latency, p95: {written}", kind="distributional_tests")
    (test,) = found.distributional_tests
    assert isinstance(test, LatencyLimit)
    assert test.p95 == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("extract", "records"),
    [("100 sample records", 100), ("all records", None), ("1,000 rows of 2024", 1000), ("7", 7)],
)
def test_the_extract_step_says_how_many_records(extract, records):
    found = suite(f'steps: [extract: "{extract}", load: "5 rows"]', kind="integration_tests")
    (case,) = found.integration_tests
    assert case.records == records
    assert case.steps == (IntegrationStep("extract", extract), IntegrationStep("load", "5 rows"))


def test_an_integration_test_may_have_a_destination():
    found = suite("destination: sqlite://test.db/out", kind="integration_tests")
    assert found.integration_tests[0].destination == "sqlite://test.db/out"


def test_min_pass_may_be_as_many_as_the_samples_of_the_defaults():
    assert suite("input: {}, min_pass: 3", defaults="samples: 3").unit_tests[0].min_pass == 3


def test_one_sample_is_all_that_a_silent_file_has():
    with pytest.raises(ProblemsFound, match="min_pass 2 is greater than samples 1"):
        suite("input: {}, min_pass: 2")


def test_names_are_unique_within_a_kind_only():
    text = (
        "pipeline: faq\nunit_tests:\n  - {name: a, input: {}}\n"
        "distributional_tests:\n  - {name: a, type: regression}\n"
    )
    assert parse_suite(text, "t.yaml").distributional_tests[0].name == "a"
