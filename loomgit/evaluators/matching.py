"""Evaluators that match the text or the structure of an output. All scores are 1 or 0."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import orjson

from loomgit.domain.records import EvaluatorFailure, Score
from loomgit.errors import UserError
from loomgit.evaluators.field_selector import FieldSelector, show, text_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.records import EvaluationInput
    from loomgit.domain.values import Json, JsonMapping

# The maximum length of an output in characters. It limits the time of a search, because Python's
# `re` has no timeout and cannot be interrupted. The pattern is trusted, because it is part of the
# project, but the output is not. For this length, quadratic backtracking takes a few seconds.
MAX_REGEX_INPUT = 20_000
MAX_LISTED_ERRORS = 2


def verdict(passed: bool, reason: str) -> Score:
    """Return a score of 1 if `passed`, else a score of 0."""
    return Score(1.0 if passed else 0.0, reason)


def exact_match(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores 1 if the output and the reference are the same text, else 0.

    White space at the start and end of both texts is ignored.
    """
    selector, normalize_case = FieldSelector.parse(config), _case_normalizer(config)

    def score(subject: EvaluationInput) -> Score:
        pair = selector.pair(subject)
        same = normalize_case(text_of(pair.output)) == normalize_case(text_of(pair.reference))
        return verdict(same, f"{show(pair.output)} {'=' if same else '≠'} {show(pair.reference)}")

    return score


def contains(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores 1 if the output contains the text `value`, else 0.

    If `value` is not configured, the output must contain the reference.
    """
    selector, normalize_case = FieldSelector.parse(config), _case_normalizer(config)
    value = config.get("value")

    def score(subject: EvaluationInput) -> Score:
        if value is None:
            pair = selector.pair(subject)
            output, expected = pair.output, pair.reference
        else:
            output, expected = selector.output(subject), value
        is_contained = normalize_case(text_of(expected)) in normalize_case(text_of(output))
        verb = "contains" if is_contained else "does not contain"
        return verdict(is_contained, f"{show(output)} {verb} {show(expected)}")

    return score


def regex(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores 1 if `pattern` matches anywhere in the output, else 0.

    `pattern` has the syntax of Python's `re`. Raises UserError if it is invalid. The returned
    function raises EvaluatorFailure if the output is longer than MAX_REGEX_INPUT characters.
    """
    selector = FieldSelector.parse(config)
    source = str(config.get("pattern", ""))
    try:
        pattern = re.compile(source, re.IGNORECASE if config.get("ignore_case") else 0)
    except re.error as error:
        raise UserError(f"pattern '{source}': {error}") from error

    def score(subject: EvaluationInput) -> Score:
        output = selector.output(subject)
        text = text_of(output)
        if len(text) > MAX_REGEX_INPUT:
            raise EvaluatorFailure(
                f"regex reads at most {MAX_REGEX_INPUT:,} characters, "
                f"but the output has {len(text):,}",
                product=True,
            )
        matches = pattern.search(text) is not None
        verb = "matches" if matches else "does not match"
        return verdict(matches, f"{show(output)} {verb} /{source}/")

    return score


def json_schema(config: JsonMapping) -> Callable[[EvaluationInput], Score]:
    """Return a function that scores 1 if the output matches the JSON Schema `schema`, else 0.

    If the output is text that is valid JSON, the function parses the text first. Raises UserError
    if the schema is invalid.
    """
    import jsonschema_rs  # noqa: PLC0415 - the import takes 60 ms, and only this evaluator needs it

    selector = FieldSelector.parse(config)
    schema = config.get("schema")
    try:
        validator = jsonschema_rs.validator_for(schema if isinstance(schema, dict) else {})
    except ValueError as error:
        raise UserError(f"schema: {str(error).splitlines()[0]}") from error

    def score(subject: EvaluationInput) -> Score:
        output = _parse_json(selector.output(subject))
        problems = [_describe(error) for error in validator.iter_errors(output)]
        if not problems:
            return verdict(True, f"{show(output)} matches the schema")
        more = (
            f" and {len(problems) - MAX_LISTED_ERRORS} more"
            if len(problems) > MAX_LISTED_ERRORS
            else ""
        )
        return verdict(False, f"{show(output)}: {'; '.join(problems[:MAX_LISTED_ERRORS])}{more}")

    def _describe(error: jsonschema_rs.ValidationError) -> str:
        location = ".".join(str(step) for step in error.instance_path)
        return f"{location}: {error.message}" if location else error.message

    return score


def _parse_json(output: Json) -> Json:
    if not isinstance(output, str):
        return output
    try:
        value: Json = orjson.loads(output)
    except orjson.JSONDecodeError:
        return output
    return value


def _case_normalizer(config: JsonMapping) -> Callable[[str], str]:
    return str.casefold if config.get("ignore_case") else str
