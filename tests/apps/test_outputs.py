import pytest

from loomgit.apps.outputs import AppSchemas, declares
from loomgit.domain.apps import AppOutput

LABEL = {"type": "string", "enum": ["spam", "ham"]}
WRAPPED = {"result": "spam", "confidence": 0.9, "reason": "base_model"}


def read(schema, value):
    return AppSchemas({}, schema).read_output(value)


def test_a_result_is_unwrapped_and_the_rest_are_details():
    output, fault = read(LABEL, WRAPPED)
    assert (output.value, fault) == ("spam", "")
    assert output.details == {"confidence": 0.9, "reason": "base_model"}
    more = {**WRAPPED, "words": ["win"]}
    assert read(LABEL, more)[0].details["words"] == ["win"]


def test_a_bare_value_has_no_details():
    assert read(LABEL, "ham") == (AppOutput("ham", {}), "")


def test_faults_name_the_part_that_does_not_match():
    assert '"eggs" is not one of' in read(LABEL, "eggs")[1]
    fault = read(LABEL, {**WRAPPED, "result": "eggs"})[1]
    assert fault.startswith('result: "eggs" is not one of')
    assert "is not of type" in read(LABEL, {"output": "spam"})[1]
    assert "null" in read(LABEL, None)[1]


def test_a_schema_that_declares_result_is_never_unwrapped():
    schema = {
        "type": "object",
        "properties": {"result": {"type": "string"}, "confidence": {"type": "number"}},
    }
    assert read(schema, WRAPPED) == (AppOutput(WRAPPED), "")
    assert read({"type": "object", "required": ["result"]}, WRAPPED) == (AppOutput(WRAPPED), "")
    wrong = {"result": 1, "confidence": 0.5}
    assert read(schema, wrong)[1].startswith("result: 1 is not of type")


def test_an_object_with_any_fields():
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    words = {"result": 3, "win": 1}
    assert read(counts, words) == (AppOutput(words), "")  # a count of the word "result"
    assert read(counts, {"result": words, "confidence": 1.0})[0].value == words
    anything = {"type": "object"}
    assert read(anything, {"result": {"a": 1}, "confidence": 1.0})[0].value == {"a": 1}
    assert read(anything, {"result": 1, "b": 2}) == (AppOutput({"result": 1, "b": 2}), "")
    assert read({}, WRAPPED)[0].value == "spam"


@pytest.mark.parametrize(
    ("schema", "found"),
    [
        ({"properties": {"result": {}}}, True),
        ({"properties": {"label": {"properties": {"result": {}}}}}, False),
        ({"allOf": [{"required": ["result"]}]}, True),
        ({"anyOf": [{"type": "string"}, {"$ref": "#/$defs/a~1b"}],
          "$defs": {"a/b": {"properties": {"result": {}}}}}, True),
        ({"$ref": "#"}, False),
        ({"$ref": "#/$defs/none"}, False),
        ({"if": {"properties": {"result": {}}}}, True),
        ({"type": "string"}, False),
    ],
)  # fmt: skip
def test_where_a_schema_can_declare_a_property(schema, found):
    assert declares(schema, "result") is found


def test_inputs():
    schemas = AppSchemas({"type": "object", "required": ["text"]}, {})
    assert schemas.input_fault({"text": "a"}) == ""
    assert schemas.input_fault({}) == '"text" is a required property'
