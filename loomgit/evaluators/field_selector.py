"""Selects the values that an evaluator compares: a field of the output and a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from msgspec import Struct

from loomgit.domain.records import EvaluatorFailure
from loomgit.domain.values import Json, as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.records import EvaluationInput
    from loomgit.domain.values import JsonMapping

EXPECTED = "expected"
EXPECTED_PREFIX = "expected_"
TEXT_FIELD = "text"  # the only field of the output if the reply is not JSON
MAX_SHOWN = 60


class FieldValues(Struct, frozen=True):
    """A value from the output and the reference value. An evaluator compares these values."""

    output: Json
    reference: Json


class FieldSelector(Struct, frozen=True):
    """Selects the output value and the reference for an evaluator. Dots select nested values.

    If no reference is configured, the reference is the record's field `expected_<field>` or
    `expected`. If `field` is None, the output value is the whole output, or its text if the output
    has only the field `text`. There is one exception: if the reference is the record's field
    `expected_X`, and the output has a field X, the output value is this field X.
    """

    field: str | None = None
    reference_field: str | None = None
    constants: tuple[Json, ...] = ()

    @classmethod
    def parse(cls, config: JsonMapping) -> FieldSelector:
        """Parse `field`, `reference_field` and `reference` from the config of an evaluator."""
        field, reference_field = config.get("field"), config.get("reference_field")
        constant = config.get("reference")
        return cls(
            field=None if field is None else str(field),
            reference_field=None if reference_field is None else str(reference_field),
            constants=() if constant is None else (constant,),
        )

    @property
    def has_reference(self) -> bool:
        """Whether the configuration defines a reference."""
        return bool(self.constants) or self.reference_field is not None

    def output(self, subject: EvaluationInput) -> Json:
        """Return the selected output value. Raises EvaluatorFailure if the field is missing."""
        if self.field is not None:
            return pick(subject.output, self.field, "output")
        return unwrap_text(subject.output)

    def reference(self, subject: EvaluationInput) -> Json:
        """Return the configured reference. Call this only if `has_reference` is true.

        Raises EvaluatorFailure if the field of the reference is missing or null.
        """
        if self.constants:
            return self.constants[0]
        name = cast("str", self.reference_field)  # the caller has checked `has_reference`
        value = pick(subject.input, name, "record")
        if value is None:
            raise EvaluatorFailure(f"no reference: field '{name}' of the record is null")
        return value

    def pair(self, subject: EvaluationInput) -> FieldValues:
        """Return the output value and the reference.

        Raises EvaluatorFailure if the output value or the reference is missing.
        """
        if self.constants:
            return FieldValues(self.output(subject), self.constants[0])
        if self.reference_field is not None:
            reference = self.reference(subject)
            expected_field = self.reference_field.rpartition(".")[2].removeprefix(EXPECTED_PREFIX)
            if (
                self.field is None
                and expected_field != self.reference_field
                and _has(subject.output, expected_field)
            ):
                return FieldValues(pick(subject.output, expected_field, "output"), reference)
            return FieldValues(self.output(subject), reference)
        return self._expected(subject)

    def _expected(self, subject: EvaluationInput) -> FieldValues:
        present = {name: value for name, value in subject.input.items() if value is not None}
        if self.field is not None:
            output = self.output(subject)
            expected_output = present.get(EXPECTED)
            if EXPECTED_PREFIX + self.field in present:
                return FieldValues(output, present[EXPECTED_PREFIX + self.field])
            if isinstance(expected_output, dict) and self.field in expected_output:
                return FieldValues(output, expected_output[self.field])
        if EXPECTED in present:
            return FieldValues(self.output(subject), present[EXPECTED])
        if self.field is None:
            expected: dict[str, Json] = {
                name.removeprefix(EXPECTED_PREFIX): value
                for name, value in present.items()
                if name.startswith(EXPECTED_PREFIX)
            }
            shared = {name: value for name, value in expected.items() if _has(subject.output, name)}
            if shared:
                outputs: dict[str, Json] = {
                    name: pick(subject.output, name, "output") for name in shared
                }
                return FieldValues(_single_value(outputs), _single_value(shared))
            if len(expected) == 1:
                return FieldValues(self.output(subject), _single_value(expected))
        raise EvaluatorFailure(
            "no reference: configure 'reference' or 'reference_field', or add a field "
            f"'{EXPECTED_PREFIX}{self.field or 'FIELD'}' or '{EXPECTED}' to the record; "
            f"it has: {_names(subject.input)}"
        )


def unwrap_text(output: Json) -> Json:
    """Return the text of an output that has only the field `text`; else the output unchanged."""
    if isinstance(output, dict) and output.keys() == {TEXT_FIELD}:
        return output[TEXT_FIELD]
    return output


def pick(value: Json | JsonMapping, path: str, what: str) -> Json:
    """Return the value at a dotted path, such as `items.0.price`.

    If a key is equal to the whole path, its value has precedence. Raises EvaluatorFailure if the
    path does not exist. `what` describes `value` in the message.
    """
    if isinstance(value, dict) and path in value:
        return cast("Json", value[path])
    selected: Json = cast("Json", value)
    for step in path.split("."):
        if isinstance(selected, dict) and step in selected:
            selected = selected[step]
        elif isinstance(selected, list) and step.isdecimal() and int(step) < len(selected):
            selected = selected[int(step)]
        else:
            available = (
                f"it has: {_names(value)}" if isinstance(value, dict) else "it is not an object"
            )
            raise EvaluatorFailure(
                f"the {what} has no field '{path}'; {available}", product=what == "output"
            )
    return selected


def text_of(value: Json) -> str:
    """Return the value as text, without leading and trailing white space."""
    return as_text(value).strip()


def show(value: Json) -> str:
    """Format a value on one line for the reason of a score. Cut long values, and quote text."""
    text = " ".join(as_text(value).split())
    if len(text) > MAX_SHOWN:
        text = text[: MAX_SHOWN - 1] + "…"
    return f"'{text}'" if isinstance(value, str) else text


def _has(output: Json, name: str) -> bool:
    return isinstance(output, dict) and name in output


def _single_value(values: dict[str, Json]) -> Json:
    return next(iter(values.values())) if len(values) == 1 else values


def _names(fields: Mapping[str, object]) -> str:
    return ", ".join(fields) or "no fields"
