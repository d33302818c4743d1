"""The transform stage with a program of a loop app in the place of a prompt and a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import orjson

from loomgit.domain.records import Output, RecordFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loomgit.domain.apps import AppOutput
    from loomgit.domain.programs import ProgramHost, ProgramResult
    from loomgit.domain.records import Record
    from loomgit.domain.values import Json, JsonMapping, JsonObject

RESULT_FIELD = "output"  # contains an output that is not an object, without a schema


class ProgramContract(Protocol):
    """The input and output schemas of an app."""

    def input_fault(self, value: Json) -> str:
        """Return the differences between an input and the input schema, or ""."""
        ...

    def read_output(self, value: Json) -> tuple[AppOutput, str]:
        """Return the output of a program, and its differences from the output schema, or ""."""
        ...


class ProgramTransformer:
    """Applies the program of one app version to records.

    If the output of the app is an object, its fields are the output of the record. Otherwise, it is
    the first field of `schema`, the pipeline's `transform.output`, and the details are the other
    fields of the schema, by name. Without a schema, it is the field RESULT_FIELD.
    """

    def __init__(
        self,
        host: ProgramHost,
        contract: ProgramContract,
        name: str,
        *,
        schema: JsonMapping | None,
        describe_faults: Callable[[JsonObject], str],
    ) -> None:
        """Create a transformer.

        `name` is the app and its version, for example `spam-detector-001@v2`. `describe_faults`
        returns the differences between an output and `schema`, or "".
        """
        self._host = host
        self._contract = contract
        self._name = name
        properties = (schema or {}).get("properties")
        self._fields = tuple(properties) if isinstance(properties, dict) else ()
        self._describe_faults = describe_faults

    async def apply(
        self, record: Record, *, sample: int = 0
    ) -> tuple[Output | None, RecordFailure | None]:
        """Return (output, failure); see `Transformer.apply`. Each sample is one execution."""
        del sample
        ((output, failure),) = await self.apply_all([record])
        return output, failure

    async def apply_all(
        self, records: Sequence[Record]
    ) -> list[tuple[Output | None, RecordFailure | None]]:
        """Return (output, failure) for each record, with one message to a worker.

        Raises WorldError if no worker can be started.
        """
        faults = [self._contract.input_fault(record.input) for record in records]
        valid = [record.input for record, fault in zip(records, faults, strict=True) if not fault]
        results = iter(await self._host.execute(valid)) if valid else iter(())
        return [
            (None, _failure(f"the input does not match the input schema: {fault}"))
            if fault
            else self._read(next(results))
            for fault in faults
        ]

    def _read(self, result: ProgramResult) -> tuple[Output | None, RecordFailure | None]:
        if result.status != "ok":
            return self._output({}, "", result), _failure(f"{self._name}: {result.error}")
        text = orjson.dumps(result.output).decode()
        output, fault = self._contract.read_output(result.output)
        if fault:
            fault = f"{self._name}: the output does not match the output schema: {fault}"
            return self._output({}, text, result), _failure(fault)
        fields = self._fields_of(output)
        if fault := self._describe_faults(fields):
            fault = f"{self._name}: the output does not match transform.output: {fault}"
            return self._output({}, text, result), _failure(fault)
        return self._output(fields, text, result), None

    def _fields_of(self, output: AppOutput) -> JsonObject:
        if isinstance(output.value, dict):
            return output.value
        first, *others = self._fields or (RESULT_FIELD,)
        fields: JsonObject = {first: output.value}
        for name in others:
            if name in output.details:
                fields[name] = output.details[name]
        return fields

    def _output(self, fields: JsonObject, text: str, result: ProgramResult) -> Output:
        return Output(fields, text, "", cost=0.0, calls=0, latency=result.latency)


def program_output(schema: JsonMapping) -> JsonObject:
    """Return the JSON Schema of the outputs of an app with this output schema.

    The field RESULT_FIELD contains an output that is not an object.
    """
    if schema.get("type") == "object" or "properties" in schema:
        return dict(schema)
    return {
        "type": "object",
        "properties": {RESULT_FIELD: dict(schema)},
        "required": [RESULT_FIELD],
    }


def _failure(reason: str) -> RecordFailure:
    return RecordFailure("transform", reason)
