import asyncio
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.domain.records import EvaluationInput, EvaluatorFailure, Score
from loomgit.errors import UserError
from loomgit.evaluators.deterministic import FACTORIES, DeterministicEvaluator
from loomgit.evaluators.matching import MAX_REGEX_INPUT

OUTPUT = {"sentiment": "positive", "confidence": 0.9, "reasoning": "says 'love it'"}


def judge(kind, config, output, record=None, **more):
    evaluator = DeterministicEvaluator(FACTORIES[kind](config))
    return asyncio.run(evaluator.score(EvaluationInput(record or {}, output, **more)))


def value(*args, **more):
    return judge(*args, **more).value


def reason(*args, **more):
    return judge(*args, **more).reason


def failure(*args, **more):
    with pytest.raises(EvaluatorFailure) as caught:
        judge(*args, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# Where output and reference are found


@pytest.mark.parametrize(
    ("config", "record"),
    [
        ({"field": "sentiment", "reference": "positive"}, {}),
        ({"field": "sentiment", "reference_field": "label"}, {"label": "positive"}),
        ({"field": "sentiment", "reference_field": "gold.label"}, {"gold": {"label": "positive"}}),
        ({"reference_field": "expected_sentiment"}, {"expected_sentiment": "positive"}),
        ({"field": "sentiment"}, {"expected_sentiment": "positive"}),
        ({"field": "sentiment"}, {"expected": "positive"}),
        ({"field": "sentiment"}, {"expected": {"sentiment": "positive"}}),
        ({}, {"expected_sentiment": "positive", "id": 7}),
        ({}, {"expected_sentiment": "positive", "expected_confidence": 0.9}),
        ({}, {"expected": OUTPUT}),
    ],
)
def test_the_reference_is_found(config, record):
    assert value("exact_match", config, OUTPUT, record) == 1.0
    assert value("exact_match", config, {**OUTPUT, "sentiment": "neutral"}, record) == 0.0


def test_an_output_that_is_just_text_is_compared_as_that():
    assert value("exact_match", {}, {"text": "Paris"}, {"expected": "Paris"}) == 1.0
    assert (
        value("exact_match", {"field": "text"}, {"text": "Paris"}, {"expected_text": "Paris"})
        == 1.0
    )
    assert value("exact_match", {}, {"text": "Paris"}, {"expected_city": "Paris"}) == 1.0


def test_dots_lead_into_objects_and_lists():
    output = {"answers": [{"city": "Rome"}, {"city": "Paris"}], "a.b": "flat"}
    assert value("exact_match", {"field": "answers.1.city", "reference": "Paris"}, output) == 1.0
    assert value("exact_match", {"field": "a.b", "reference": "flat"}, output) == 1.0


def test_a_missing_field_is_named_with_those_there_are():
    said = failure("exact_match", {"field": "label", "reference": "x"}, OUTPUT)
    assert said == "the output has no field 'label'; it has: sentiment, confidence, reasoning"
    said = failure("exact_match", {"reference_field": "gold"}, OUTPUT, {"id": 1, "review": "x"})
    assert said == "the record has no field 'gold'; it has: id, review"
    said = failure("exact_match", {"field": "a.b", "reference": "x"}, "text")
    assert said == "the output has no field 'a.b'; it is not an object"


def test_a_missing_reference_says_what_to_do():
    said = failure("exact_match", {"field": "sentiment"}, OUTPUT, {"id": 1, "review": "x"})
    assert "'reference_field'" in said
    assert "'expected_sentiment'" in said
    assert said.endswith("it has: id, review")
    assert "is null" in failure("exact_match", {"reference_field": "x"}, OUTPUT, {"x": None})


# What each one says


def test_exact_match_forgives_white_space_and_case_only_where_told():
    assert value("exact_match", {"reference": "Yes"}, " Yes\n") == 1.0
    assert value("exact_match", {"reference": "Yes"}, "yes") == 0.0
    assert value("exact_match", {"reference": "STRASSE", "ignore_case": True}, "straße") == 1.0
    assert value("exact_match", {"reference": "5"}, 5) == 1.0


def test_reasons_hold_both_values_shortened():
    assert reason("exact_match", {"reference": "no"}, "yes") == "'yes' ≠ 'no'"
    long = reason("exact_match", {"reference": "b" * 500}, "a\n" * 500)
    assert len(long) < 150
    assert "…" in long
    assert "\n" not in long


def test_contains_looks_for_its_value_or_the_reference():
    assert value("contains", {"value": "love"}, OUTPUT) == 1.0
    assert value("contains", {"value": "LOVE"}, OUTPUT) == 0.0
    assert value("contains", {"value": "LOVE", "ignore_case": True}, OUTPUT) == 1.0
    assert value("contains", {}, "the capital is Paris", {"expected": "Paris"}) == 1.0
    assert reason("contains", {"value": "x"}, "abc") == "'abc' does not contain 'x'"


def test_regex_searches():
    assert value("regex", {"pattern": r"^\d{4}-\d\d$"}, "2024-07") == 1.0
    assert value("regex", {"pattern": r"POS"}, "positive") == 0.0
    assert value("regex", {"pattern": r"POS", "ignore_case": True}, "positive") == 1.0
    assert reason("regex", {"pattern": "b"}, "a") == "'a' does not match /b/"


def test_a_broken_pattern_is_the_users_fault_with_its_position():
    with pytest.raises(UserError, match=r"pattern 'a\(b': .*position 1"):
        FACTORIES["regex"]({"pattern": "a(b"})


def test_regex_does_not_read_without_end():
    assert "20,000" in failure("regex", {"pattern": "x"}, "y" * (MAX_REGEX_INPUT + 1))


def test_json_schema_names_what_does_not_fit():
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n", "m"]}
    assert value("json_schema", {"schema": schema}, {"n": 1, "m": 2}) == 1.0
    assert value("json_schema", {"schema": schema}, {"text": '{"n": 1, "m": 2}'}) == 1.0
    said = reason("json_schema", {"schema": schema}, {"n": "x"})
    assert "n: " in said
    assert '"m" is a required property' in said
    assert value("json_schema", {"schema": schema}, "no json") == 0.0
    with pytest.raises(UserError, match="schema: "):
        FACTORIES["json_schema"]({"schema": {"type": "nonsense"}})


@pytest.mark.parametrize(
    ("config", "output", "passes"),
    [
        ({"min": 1, "max": 3}, 1, True),
        ({"min": 1, "max": 3}, "3.0", True),
        ({"min": 1, "max": 3}, 3.01, False),
        ({"min": 1}, 0, False),
        ({"max": 1}, True, False),
        ({"min": 0}, "many", False),
        ({"min": 0}, "nan", False),
        ({"reference": "4"}, 4.0, True),
        ({"reference": 4}, 4.1, False),
        ({"reference": 0.2, "tolerance": 0.1}, 0.3, True),
        ({"reference": 0.2, "tolerance": 0.1}, 0.31, False),
        ({"reference": 5, "tolerance": 5, "max": 6}, 7, False),
    ],
)
def test_numeric_holds_numbers_against_limits(config, output, passes):
    assert value("numeric", config, output) == float(passes)


def test_numeric_says_what_is_wrong():
    assert reason("numeric", {"max": 3}, 4) == "4 > 3"
    assert reason("numeric", {"min": 1, "max": 3}, 2) == "1 <= 2 <= 3"
    assert reason("numeric", {"min": 1}, "many") == "'many' is not a number"
    assert reason("numeric", {"reference": 1, "tolerance": 1}, 3) == "3 is 2 from 1, over 1"
    assert "reference 'x' is not a number" in failure("numeric", {"reference": "x"}, 3)


def test_similarity_is_the_share_of_characters_in_common():
    # "kitten" -> "sitting": indel distance 5 of 13 characters
    assert value("similarity", {"reference": "sitting"}, "kitten") == pytest.approx(1 - 5 / 13)


def test_rouge_l_is_f1_over_the_longest_common_subsequence():
    # Lin 2004, section 3: "police kill the gunman" has 2 of 4 words in order, "the gunman kill
    # police" too; "police the gunman kill" would have 3.
    reference = "police killed the gunman"
    assert value("rouge_l", {"reference": reference}, "police kill the gunman") == 0.75
    assert value("rouge_l", {"reference": reference}, "the gunman kill police") == 0.5
    assert value("rouge_l", {"reference": "a b c d"}, "A, b!") == pytest.approx(2 / 3)


def test_bleu_is_sacrebleus():
    config = {"reference": "the cat sat on the mat"}
    assert value("bleu", config, "the cat") == pytest.approx(0.1353, abs=1e-4)
    assert value("bleu", config, "a dog") == 0.0


def test_length_counts_characters():
    assert value("length", {"max": 3}, "abc") == 1.0
    assert reason("length", {"max": 3}, "abcd") == "4 characters > 3"
    assert reason("length", {"min": 2}, "a") == "1 characters < 2"


def test_latency_and_cost_are_those_of_the_output():
    assert value("latency", {"max": 2.0}, "x", latency=1.5) == 1.0
    assert reason("latency", {"max": 1.0}, "x", latency=1.5) == "1.5 s > 1"
    assert value("cost", {"max": 0.01}, "x", cost=0.01) == 1.0
    assert reason("cost", {"max": 0.01}, "x", cost=0.02) == "0.02 USD > 0.01"


def test_a_cached_reply_passes_latency_and_an_unknown_price_gives_no_score():
    assert value("latency", {"max": 1.0}, "x", latency=None) == 1.0
    assert "price" in failure("cost", {"max": 1.0}, "x", cost=None)


# What holds for all

texts = st.text(max_size=60)
COMPARING = ("exact_match", "contains", "similarity", "rouge_l", "bleu")


@pytest.mark.parametrize("kind", COMPARING)
@given(output=texts, reference=texts)
@settings(max_examples=60, deadline=None)
def test_a_score_is_between_0_and_1_and_costs_nothing(kind, output, reference):
    score = judge(kind, {"reference": reference}, output)
    assert 0.0 <= score.value <= 1.0
    assert score.reason
    assert "\n" not in score.reason
    assert score == Score(score.value, score.reason)
    assert (score.judge, score.cost, score.calls) == (None, 0.0, 0)


@pytest.mark.parametrize("kind", COMPARING)
@given(text=texts)
@settings(max_examples=60, deadline=None)
def test_a_text_is_wholly_like_itself(kind, text):
    assert value(kind, {"reference": text}, text) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["exact_match", "similarity", "rouge_l"])
@given(one=texts, other=texts)
@settings(max_examples=60, deadline=None)
def test_likeness_is_mutual(kind, one, other):
    there = value(kind, {"reference": one}, other)
    assert there == pytest.approx(value(kind, {"reference": other}, one))


@given(number=st.floats(allow_nan=False, allow_infinity=False), tolerance=st.floats(0, 1e6))
@settings(deadline=None)
def test_every_number_is_within_any_tolerance_of_itself(number, tolerance):
    assert value("numeric", {"reference": number, "tolerance": tolerance}, str(number)) == 1.0


def test_scoring_without_a_judge_loads_no_model_library():
    program = """
        import asyncio, sys
        from pathlib import Path
        from loomgit.domain.definitions import EvaluatorSpec
        from loomgit.domain.records import EvaluationInput
        from loomgit.evaluators.registry import DETERMINISTIC, build_evaluator
        configs = {
            "contains": {"value": "a"}, "regex": {"pattern": "a"}, "json_schema": {"schema": {}},
            "numeric": {"min": 0}, "length": {"min": 0}, "latency": {"max": 9}, "cost": {"max": 9},
        }
        specs = [
            EvaluatorSpec(kind, kind, config=configs.get(kind, {"reference": "a"}))
            for kind in sorted(DETERMINISTIC)
        ]
        lexical = {"backend": "lexical", "reference": "a"}
        specs.append(EvaluatorSpec("s", "semantic", config=lexical))
        for spec in specs:
            evaluator = build_evaluator(spec, judge=None, gateway=None, root=Path())
            score = asyncio.run(evaluator.score(EvaluationInput({}, "a", latency=1.0, cost=0.0)))
            print(spec.type, score.value)
        print(sorted({"litellm", "arbiter_ai", "scipy", "openai", "logfire"} & sys.modules.keys()))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert len(done.stdout.splitlines()) == 13
