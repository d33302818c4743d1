"""The names that an assertion can use in each type of test, and the value type of each name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

from loomgit.config.assertion_tokens import KEYWORDS
from loomgit.domain.assertions import COUNT_FUNCTIONS, FUNCTIONS
from loomgit.domain.suggestions import did_you_mean, suggest_or_list

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.assertions import Kind, Name

# `score` is a number from 0 to 1, and `truth` is true or false. `any` means that the type is
# unknown before the model replies.
ValueType: TypeAlias = Literal["score", "number", "text", "truth", "any"]

_REPLY_NAMES: Mapping[str, ValueType] = {
    "evaluation_score": "score",
    "score": "score",
    "output": "any",
    "input": "any",
    "cost": "number",
    "latency": "number",
    "passed": "truth",
}
_REPLY_LIST_NAMES: Mapping[str, ValueType] = {
    "evaluation_scores": "score",
    "scores": "score",
    "costs": "number",
    "latencies": "number",
}
_RUN_NAMES: Mapping[str, ValueType] = {
    "status": "text",
    "records_extracted": "number",
    "records_processed": "number",
    "records_validated": "number",
    "records_rejected": "number",
    "records_failed": "number",
    "records_evaluated": "number",
    "records_fallback": "number",
    "records_loaded": "number",
    "inserted": "number",
    "updated": "number",
    "unchanged": "number",
    "duplicates": "number",
    "rejection_rate": "score",
    "total_cost": "number",
    "duration": "number",
    "score": "score",
}
NAMES: Mapping[Kind, Mapping[str, ValueType]] = {
    "unit": _REPLY_NAMES,
    "distributional": {**_REPLY_LIST_NAMES, **_REPLY_NAMES},
    "integration": _RUN_NAMES,
}
_NEEDS_PATH = ("score", "scores", "input")
_PATH_SYNTAX = {"score": "score.NAME", "scores": "scores.NAME", "output": "output.FIELD",
          "input": "input.FIELD"}  # fmt: skip
_STATISTIC_IN_REPORTS = re.compile(r"(mean|median|std|min|max|p50|p90|p95|p99)_scores?")
REPLACEMENTS = {
    "avg": "mean", "average": "mean", "stdev": "std", "stddev": "std", "sd": "std",
    "minimum": "min", "maximum": "max", "p50th": "p50", "share": "rate", "fraction": "rate",
    "percent": "rate", "len": "count", "number": "count",
    "is": "==", "equals": "==", "eq": "==", "like": "matches", "match": "matches",
    "includes": "contains", "has": "contains", "True": "true", "False": "false", "None": "null",
    "none": "null",
}  # fmt: skip


def value_type_of(name: Name, kind: Kind) -> ValueType | None:
    """Return the value type of a name, or None if tests of type `kind` do not have this name."""
    sort = NAMES[kind].get(name.root)
    if sort is None or (name.root in _NEEDS_PATH and not name.path):
        return None
    if name.path and name.root not in (*_NEEDS_PATH, "output"):
        return None
    return sort


def name_hint(name: Name, kind: Kind) -> str | None:
    """Return a hint for a name that does not exist in tests of type `kind`."""
    known = NAMES[kind]
    if name.root in _NEEDS_PATH and name.root in known:
        return f"write {_PATH_SYNTAX[name.root]}"
    if name.root in known:
        return f"write {name.root}, which has no fields"
    if reported := _STATISTIC_IN_REPORTS.fullmatch(name.root):
        return f"write {reported[1]}(evaluation_scores)"
    if not name.path and name.root in (*FUNCTIONS, *COUNT_FUNCTIONS) and kind == "distributional":
        return f"write {name.root}(evaluation_scores)"
    if name.root in REPLACEMENTS:
        return f"write {REPLACEMENTS[name.root]}"
    suggestion = did_you_mean(name.root, [*known, *KEYWORDS])
    if suggestion:
        return suggestion
    names = ", ".join(_PATH_SYNTAX.get(root, root) for root in known)
    return f"put text in quotes ('{name}'); the known names are: {names}"


def function_hint(word: str) -> str | None:
    """Return a hint for an unknown function: an equivalent, a similar name, or all functions."""
    if word in REPLACEMENTS:
        return f"write {REPLACEMENTS[word]}"
    return suggest_or_list(word, (*FUNCTIONS, *COUNT_FUNCTIONS), "the functions")
