"""What an evaluator looks at: a field of the output, and what it is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from msgspec import Struct

from loomgit.domain.ports import EvaluatorFailure
from loomgit.domain.values import Json, as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.records import Subject
    from loomgit.domain.values import JsonMapping

EXPECTED = "expected"
PREFIX = "expected_"
TEXT_FIELD = "text"  # the one field of an output that is not JSON
LONGEST_SHOWN = 60


class Pair(Struct, frozen=True):
    """A value of the output and the value it should have had."""

    output: Json
    reference: Json


class Aim(Struct, frozen=True):
    """Where output and reference are found, as configured; dots lead into objects and lists.

    Without `field` the whole output is looked at, or its text where it has just that. Without a
    reference the record's own `expected_<field>` or `expected` is one. Where a reference comes from
    `expected_X` and the output has a field X, that field is looked at, not all of the output.
    """

    field: str | None = None
    reference_field: str | None = None
    constants: tuple[Json, ...] = ()

    @classmethod
    def parse(cls, config: JsonMapping) -> Aim:
        """Read `field`, `reference_field` and `reference` of an evaluator's config."""
        field, reference_field = config.get("field"), config.get("reference_field")
        constant = config.get("reference")
        return cls(
            field=None if field is None else str(field),
            reference_field=None if reference_field is None else str(reference_field),
            constants=() if constant is None else (constant,),
        )

    @property
    def has_reference(self) -> bool:
        """Whether the configuration says what to compare with."""
        return bool(self.constants) or self.reference_field is not None

    def output(self, subject: Subject) -> Json:
        """The value to look at. Raises EvaluatorFailure where the output lacks the field."""
        if self.field is not None:
            return pick(subject.output, self.field, "output")
        return whole(subject.output)

    def reference(self, subject: Subject) -> Json:
        """The configured reference. Raises EvaluatorFailure where the record lacks it."""
        if self.constants:
            return self.constants[0]
        name = cast("str", self.reference_field)  # `has_reference` was asked before
        value = pick(subject.input, name, "record")
        if value is None:
            raise EvaluatorFailure(f"no reference: '{name}' of the record is null")
        return value

    def pair(self, subject: Subject) -> Pair:
        """Output and reference. Raises EvaluatorFailure where there is no one or no other."""
        if self.constants:
            return Pair(self.output(subject), self.constants[0])
        if self.reference_field is not None:
            reference = self.reference(subject)
            named = self.reference_field.rpartition(".")[2].removeprefix(PREFIX)
            if self.field is None and named != self.reference_field and _has(subject.output, named):
                return Pair(pick(subject.output, named, "output"), reference)
            return Pair(self.output(subject), reference)
        return self._expected(subject)

    def _expected(self, subject: Subject) -> Pair:
        given = {name: value for name, value in subject.input.items() if value is not None}
        if self.field is not None:
            output = self.output(subject)
            whole_of_it = given.get(EXPECTED)
            if PREFIX + self.field in given:
                return Pair(output, given[PREFIX + self.field])
            if isinstance(whole_of_it, dict) and self.field in whole_of_it:
                return Pair(output, whole_of_it[self.field])
        if EXPECTED in given:
            return Pair(self.output(subject), given[EXPECTED])
        if self.field is None:
            wanted: dict[str, Json] = {
                name.removeprefix(PREFIX): value
                for name, value in given.items()
                if name.startswith(PREFIX)
            }
            shared = {name: value for name, value in wanted.items() if _has(subject.output, name)}
            if shared:
                outputs: dict[str, Json] = {
                    name: pick(subject.output, name, "output") for name in shared
                }
                return Pair(_only(outputs), _only(shared))
            if len(wanted) == 1:
                return Pair(self.output(subject), _only(wanted))
        raise EvaluatorFailure(
            "no reference: configure 'reference' or 'reference_field', or give the record a field "
            f"'{PREFIX}{self.field or 'FIELD'}' or '{EXPECTED}'; it has: {_names(subject.input)}"
        )


def whole(output: Json) -> Json:
    """The output, or its text where it has just that."""
    if isinstance(output, dict) and output.keys() == {TEXT_FIELD}:
        return output[TEXT_FIELD]
    return output


def pick(value: Json | JsonMapping, path: str, what: str) -> Json:
    """The value at a dotted path; a key that holds dots itself is found first.

    Raises EvaluatorFailure, which names the path and what there is instead.
    """
    if isinstance(value, dict) and path in value:
        return cast("Json", value[path])
    found: Json = cast("Json", value)
    for step in path.split("."):
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            there = f"it has: {_names(value)}" if isinstance(value, dict) else "it is no object"
            raise EvaluatorFailure(
                f"the {what} has no field '{path}'; {there}", product=what == "output"
            )
    return found


def text_of(value: Json) -> str:
    """The value as text, without white space around it."""
    return as_text(value).strip()


def show(value: Json) -> str:
    """The value for a reason: quoted where it is text, on one line, not too long."""
    text = " ".join(as_text(value).split())
    if len(text) > LONGEST_SHOWN:
        text = text[: LONGEST_SHOWN - 1] + "…"
    return f"'{text}'" if isinstance(value, str) else text


def _has(output: Json, name: str) -> bool:
    return isinstance(output, dict) and name in output


def _only(values: dict[str, Json]) -> Json:
    return next(iter(values.values())) if len(values) == 1 else values


def _names(fields: Mapping[str, object]) -> str:
    return ", ".join(fields) or "no fields"
