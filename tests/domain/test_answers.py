"""What is an answer, and why a reply is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.answers import read_answer
from loomgit.domain.exact_json import MAX_DEPTH
from loomgit.domain.thinking import split_thinking
from loomgit.evaluators.judge import parse
from loomgit.pipeline.output import OutputReader
from tests.replies import ANSWER, BAD, DRAFT, GOOD, THINKING, A, B

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "confidence": {"type": "number"}},
    "required": ["label", "confidence"],
}


@pytest.fixture(scope="module")
def model():
    """As Arbiter asks its judges."""
    from pydantic import BaseModel

    class Verdict(BaseModel):
        label: str
        confidence: float

    return Verdict


def test_the_table_is_large():
    assert len(GOOD) + len(BAD) >= 150


@pytest.mark.parametrize("reply", GOOD.values(), ids=GOOD)
def test_the_answer_is_found(reply, model):
    assert OutputReader(SCHEMA).read(reply).value == ANSWER
    assert parse(reply, model).model_dump() == ANSWER


@pytest.mark.parametrize(("reply", "reason"), BAD.values(), ids=BAD)
def test_no_answer_has_its_reason(reply, reason, model):
    answer = OutputReader(SCHEMA).read(reply)
    assert answer.value is None
    assert reason in answer.fault
    assert "\n" not in answer.fault
    assert len(answer.fault) < 200
    assert isinstance(parse(reply, model), str) or reason == "confidence:"  # pydantic converts


@pytest.mark.parametrize(("opens", "closes"), THINKING.values(), ids=THINKING)
def test_thinking_is_kept_and_is_no_part_of_a_text(opens, closes):
    answer = OutputReader(None).read(f"{opens}{DRAFT}{closes}It is a.")
    assert answer.value == {"text": "It is a."}
    assert B in answer.thinking
    assert "<" not in answer.text


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        ("  A summary.\n", {"text": "A summary."}),
        ('{"a": 1}', {"a": 1}),
        ('Here: {"a": 1}', {"a": 1}),
        ('Either {"a": 1} or {"a": 2}.', {"text": 'Either {"a": 1} or {"a": 2}.'}),
        ('In code: {"a": 1,}', {"text": 'In code: {"a": 1,}'}),
        ("{name} is a {thing}.", {"text": "{name} is a {thing}."}),
        ("<analysis>kept</analysis>", {"text": "<analysis>kept</analysis>"}),
        ("Write <b>bold</b>, a < b, a > b.", {"text": "Write <b>bold</b>, a < b, a > b."}),
    ],
)
def test_without_a_schema_a_text_is_an_output_too(reply, value):
    expected = None if reply.startswith("{name") else value
    answer = OutputReader(None).read(reply)
    assert answer.value == value or expected is None


@pytest.mark.parametrize("reply", ["", '{"a": 1', '{"a": 1,}', f"{A} {B}", "<think>never"])
def test_without_a_schema_what_begins_as_an_object_is_no_text(reply):
    answer = OutputReader(None).read(reply)
    assert answer.value is None
    assert answer.fault


@pytest.mark.parametrize(
    "text",
    ['{"text": "close with </think>"}', 'So: {"text": "<think>"} it is', '{"a": "[/THINK]"}'],
)
def test_a_mark_in_a_string_of_the_answer_is_text(text):
    answer = read_answer(text)
    assert answer.value is not None
    assert answer.thinking == ""


def test_the_deepest_nesting_is_exact():
    levels = MAX_DEPTH - 1
    text = '{"a": ' + "[" * levels + "1" + "]" * levels + "}"
    assert read_answer(text).value is not None


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 2**53 + 1, 0, -1])
def test_integers_are_exact(number):
    assert read_answer(f'{{"a": {number}}}').value == {"a": number}


@given(st.text())
def test_any_text_is_read_or_refused(reply):
    answer = OutputReader(SCHEMA).read(reply)
    assert (answer.value is None) is bool(answer.fault)
    split_thinking(reply)


@given(st.text(alphabet="{}[]\"':,\\ \nab1<think/>|"))
def test_any_text_of_marks_is_read_or_refused(reply):
    answer = OutputReader(SCHEMA).read(reply)
    assert (answer.value is None) is bool(answer.fault)


@pytest.mark.parametrize(
    "part", ['{"a":', "{", '{"a": "', "[{", "<think>", '{"a": 1,} ', "{a: 1} "]
)
def test_long_replies_take_no_more_time_than_they_are_long(part):
    OutputReader(SCHEMA).read(part * (200_000 // len(part)))


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers(0, 9), min_size=1))
def test_an_object_survives_prose_around_it(value):
    assert read_answer(f"ab \n{json.dumps(value)} ba").value == value
