import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.replies import find_object
from loomgit.pipeline.output import Fault, OutputReader

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string"}, "confidence": {"type": "number"}},
    "required": ["label", "confidence"],
}


@pytest.mark.parametrize(
    "reply",
    [
        '{"label": "a", "confidence": 1}',
        '  {"label": "a", "confidence": 1}\n',
        'Sure!\n```json\n{"label": "a", "confidence": 1}\n```\nAnything else?',
        'The answer is {"label": "a", "confidence": 1}, I think.',
        'Not {this} but {"label": "a", "confidence": 1}',
    ],
)
def test_an_object_is_found_in_what_stands_around_it(reply):
    assert OutputReader(SCHEMA).read(reply) == {"label": "a", "confidence": 1}


def test_braces_inside_of_strings_do_not_end_an_object():
    assert find_object('x {"a": "} \\" {", "b": {"c": 1}} y') == {"a": '} " {', "b": {"c": 1}}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "the reply is empty"),
        ("I cannot help with that.", "the reply holds no JSON object"),
        ('["label"]', "the reply holds no JSON object"),
        ('{"label": "a"', "the reply holds no JSON object"),
        ('{"label": "a"}', '"confidence" is a required property'),
        ('{"label": "a", "confidence": "high"}', 'confidence: "high" is not of type "number"'),
    ],
)
def test_what_does_not_fit_is_said_and_never_mended(reply, reason):
    assert OutputReader(SCHEMA).read(reply) == Fault(reason)


def test_without_a_schema_text_is_an_output_too():
    assert OutputReader(None).read("  A summary.\n") == {"text": "A summary."}
    assert OutputReader(None).read('{"a": 1}') == {"a": 1}
    assert OutputReader(None).read("  ") == Fault("the reply is empty")


@given(st.text())
def test_any_text_is_read_or_refused(reply):
    result = OutputReader(SCHEMA).read(reply)
    assert isinstance(result, dict | Fault)


@given(st.dictionaries(st.text(), st.text() | st.integers(0, 9)), st.text(alphabet="ab \n"))
def test_an_object_survives_prose_before_it(value, prose):
    import json

    assert find_object(prose + json.dumps(value)) == value
