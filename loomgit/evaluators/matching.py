"""Evaluators that say yes or no about the text or the shape of an output."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from loomgit.domain.ports import EvaluatorFailure
from loomgit.domain.records import Score
from loomgit.errors import UserError
from loomgit.evaluators.aim import Aim, show, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.records import Subject
    from loomgit.domain.values import Json, JsonMapping

# Python's `re` can be neither bounded nor stopped. The pattern is the project's own and as trusted
# as its code; the output is not: at this length quadratic backtracking takes a few seconds at most.
LONGEST_FOR_REGEX = 20_000
SHOWN_FAULTS = 2


def verdict(passed: bool, reason: str) -> Score:
    """A score of 1 or 0."""
    return Score(1.0 if passed else 0.0, reason)


def exact_match(config: JsonMapping) -> Callable[[Subject], Score]:
    """1 where output and reference are the same text, white space around them aside."""
    aim, fold = Aim.parse(config), _folding(config)

    def score(subject: Subject) -> Score:
        pair = aim.pair(subject)
        same = fold(text_of(pair.output)) == fold(text_of(pair.reference))
        return verdict(same, f"{show(pair.output)} {'=' if same else '≠'} {show(pair.reference)}")

    return score


def contains(config: JsonMapping) -> Callable[[Subject], Score]:
    """1 where `value` (else the reference) occurs in the output."""
    aim, fold = Aim.parse(config), _folding(config)
    value = config.get("value")

    def score(subject: Subject) -> Score:
        if value is None:
            pair = aim.pair(subject)
            output, wanted = pair.output, pair.reference
        else:
            output, wanted = aim.output(subject), value
        found = fold(text_of(wanted)) in fold(text_of(output))
        verb = "contains" if found else "does not contain"
        return verdict(found, f"{show(output)} {verb} {show(wanted)}")

    return score


def regex(config: JsonMapping) -> Callable[[Subject], Score]:
    """1 where `pattern` (Python's syntax) is found anywhere in the output."""
    aim = Aim.parse(config)
    source = str(config.get("pattern", ""))
    try:
        pattern = re.compile(source, re.IGNORECASE if config.get("ignore_case") else 0)
    except re.error as error:
        raise UserError(f"pattern '{source}': {error}") from error

    def score(subject: Subject) -> Score:
        output = aim.output(subject)
        text = text_of(output)
        if len(text) > LONGEST_FOR_REGEX:
            raise EvaluatorFailure(
                f"regex reads {LONGEST_FOR_REGEX:,} characters at most; here are {len(text):,}",
                product=True,
            )
        found = pattern.search(text) is not None
        verb = "matches" if found else "does not match"
        return verdict(found, f"{show(output)} {verb} /{source}/")

    return score


def json_schema(config: JsonMapping) -> Callable[[Subject], Score]:
    """1 where the output fits `schema`; text that is JSON is judged as what it says."""
    import jsonschema_rs  # noqa: PLC0415 - 60 ms that only this evaluator pays

    aim = Aim.parse(config)
    schema = config.get("schema")
    try:
        validator = jsonschema_rs.validator_for(schema if isinstance(schema, dict) else {})
    except ValueError as error:
        raise UserError(f"schema: {str(error).splitlines()[0]}") from error

    def score(subject: Subject) -> Score:
        output = _parsed(aim.output(subject))
        faults = [_fault(error) for error in validator.iter_errors(output)]
        if not faults:
            return verdict(True, f"{show(output)} fits the schema")
        more = f" and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
        return verdict(False, f"{show(output)}: {'; '.join(faults[:SHOWN_FAULTS])}{more}")

    def _fault(error: jsonschema_rs.ValidationError) -> str:
        where = ".".join(str(step) for step in error.instance_path)
        return f"{where}: {error.message}" if where else error.message

    return score


def _parsed(output: Json) -> Json:
    if not isinstance(output, str):
        return output
    try:
        value: Json = orjson.loads(output)
    except orjson.JSONDecodeError:
        return output
    return value


def _folding(config: JsonMapping) -> Callable[[str], str]:
    return str.casefold if config.get("ignore_case") else str
