import asyncio

import pytest

from loomgit.domain.apps import AppOutput
from loomgit.domain.json_schema import compile_schema, describe_faults
from loomgit.domain.programs import ProgramResult
from loomgit.domain.records import make_record
from loomgit.pipeline.program import ProgramTransformer


class Host:
    """Executes a function in this process."""

    def __init__(self, execute):
        self._execute = execute
        self.batches = []

    async def execute(self, inputs):
        self.batches.append(list(inputs))
        return [self._execute(value) for value in inputs]

    async def close(self):
        raise AssertionError


class Contract:
    """An app that needs the field `text` and returns a text."""

    def input_fault(self, value):
        return "" if "text" in value else "'text' is a required property"

    def read_output(self, value):
        result, details = value, {}
        if isinstance(value, dict) and "result" in value:
            details = dict(value)
            result = details.pop("result")
        return AppOutput(result, details), "" if result is not None else "null is not a string"


def records(*inputs):
    return [make_record(i, {"id": str(i), **row}, ("id",)) for i, row in enumerate(inputs)]


def apply_all(execute, *inputs, schema=None):
    host = Host(execute)
    validator = None if schema is None else compile_schema(schema)
    transformer = ProgramTransformer(
        host,
        Contract(),
        "spam-001@v2",
        schema=schema,
        describe_faults=lambda fields: describe_faults(validator, fields) if validator else "",
    )
    return host, asyncio.run(transformer.apply_all(records(*inputs)))


def ok(value):
    return ProgramResult(value, latency=0.001)


def test_records_travel_in_one_message():
    host, results = apply_all(
        lambda value: ok({"label": value["text"].upper()}), {"text": "a"}, {"text": "b"}
    )
    assert host.batches == [[{"id": "0", "text": "a"}, {"id": "1", "text": "b"}]]
    assert [(output.fields, failure) for output, failure in results] == [
        ({"label": "A"}, None),
        ({"label": "B"}, None),
    ]
    (output, _), _ = results
    assert (output.text, output.model, output.cost, output.calls, output.latency) == (
        '{"label":"A"}',
        "",
        0.0,
        0,
        0.001,
    )


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        (None, {"output": "spam"}),
        ({"properties": {"label": {}}}, {"label": "spam"}),
        ({"properties": {"label": {}, "confidence": {}}}, {"label": "spam", "confidence": 0.9}),
        ({"properties": {"label": {}, "other": {}}}, {"label": "spam"}),
    ],
)
def test_the_result_is_the_first_field_of_the_output_schema_and_details_are_the_others(
    schema, fields
):
    reply = {"result": "spam", "confidence": 0.9, "reason": "terms"}
    _, [(output, failure)] = apply_all(lambda _: ok(reply), {"text": "a"}, schema=schema)
    assert (output.fields, failure) == (fields, None)


def test_an_input_that_does_not_match_the_schema_is_not_executed():
    host, [first, second] = apply_all(lambda _: ok("ham"), {"other": "a"}, {"text": "b"})
    assert host.batches == [[{"id": "1", "text": "b"}]]
    assert first[0] is None
    assert first[1].stage == "transform"
    assert first[1].reason == (
        "the input does not match the input schema: 'text' is a required property"
    )
    assert second[0].fields == {"output": "ham"}


def test_if_no_input_is_valid_nothing_is_executed():
    host, [(output, failure)] = apply_all(lambda _: ok("ham"), {"other": "a"})
    assert (host.batches, output) == ([], None)
    assert failure is not None


@pytest.mark.parametrize(
    ("result", "schema", "reason"),
    [
        (
            ProgramResult(status="error", error="program.py:3: KeyError: 'x'"),
            None,
            "spam-001@v2: program.py:3: KeyError: 'x'",
        ),
        (
            ok(None),
            None,
            "spam-001@v2: the output does not match the output schema: null is not a string",
        ),
        (
            ok("spam"),
            {"properties": {"label": {"type": "number"}}},
            'spam-001@v2: the output does not match transform.output: label: "spam" is not of '
            'type "number"',
        ),
    ],
)
def test_a_failed_execution_is_a_failure_of_the_record(result, schema, reason):
    _, [(output, failure)] = apply_all(lambda _: result, {"text": "a"}, schema=schema)
    assert (failure.stage, failure.reason, failure.infrastructure) == ("transform", reason, False)
    assert (output.fields, output.latency) == ({}, result.latency)
