"""What an assertion may speak of: the names that each kind of test offers, and what they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

from loomgit.config.assertion_text import KEYWORDS
from loomgit.domain.assertions import FUNCTIONS, TALLIES
from loomgit.domain.words import did_you_mean, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.assertions import Kind, Name

# `score` is a number from 0 to 1, `any` what only the output itself can tell.
Sort: TypeAlias = Literal["score", "number", "text", "truth", "any"]

_OF_A_REPLY: Mapping[str, Sort] = {
    "evaluation_score": "score",
    "score": "score",
    "output": "any",
    "input": "any",
    "cost": "number",
    "latency": "number",
    "passed": "truth",
}
_OF_MANY: Mapping[str, Sort] = {
    "evaluation_scores": "score",
    "scores": "score",
    "costs": "number",
    "latencies": "number",
}
_OF_A_RUN: Mapping[str, Sort] = {
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
NAMES: Mapping[Kind, Mapping[str, Sort]] = {
    "unit": _OF_A_REPLY,
    "distributional": {**_OF_MANY, **_OF_A_REPLY},
    "integration": _OF_A_RUN,
}
_NEEDS_PATH = ("score", "scores", "input")
_SHOWN = {"score": "score.NAME", "scores": "scores.NAME", "output": "output.FIELD",
          "input": "input.FIELD"}  # fmt: skip
_PRINTED = re.compile(r"(mean|median|std|min|max|p50|p90|p95|p99)_scores?")
SYNONYMS = {
    "avg": "mean", "average": "mean", "stdev": "std", "stddev": "std", "sd": "std",
    "minimum": "min", "maximum": "max", "p50th": "p50", "share": "rate", "fraction": "rate",
    "percent": "rate", "len": "count", "number": "count",
    "is": "==", "equals": "==", "eq": "==", "like": "matches", "match": "matches",
    "includes": "contains", "has": "contains", "True": "true", "False": "false", "None": "null",
    "none": "null",
}  # fmt: skip


def sort_of(name: Name, kind: Kind) -> Sort | None:
    """What the name is in a test of this kind, None where there is no such name."""
    sort = NAMES[kind].get(name.root)
    if sort is None or (name.root in _NEEDS_PATH and not name.path):
        return None
    if name.path and name.root not in (*_NEEDS_PATH, "output"):
        return None
    return sort


def name_hint(name: Name, kind: Kind) -> str | None:
    """What may have been meant by a name that there is not."""
    known = NAMES[kind]
    if name.root in _NEEDS_PATH and name.root in known:
        return f"write {_SHOWN[name.root]}"
    if name.root in known:
        return f"write {name.root}, which has no parts"
    if printed := _PRINTED.fullmatch(name.root):
        return f"write {printed[1]}(evaluation_scores)"
    if not name.path and name.root in (*FUNCTIONS, *TALLIES) and kind == "distributional":
        return f"write {name.root}(evaluation_scores)"
    if name.root in SYNONYMS:
        return f"write {SYNONYMS[name.root]}"
    meant = did_you_mean(name.root, [*known, *KEYWORDS])
    if meant:
        return meant
    shown = ", ".join(_SHOWN.get(root, root) for root in known)
    return f"quote a text ('{name}'); the names here: {shown}"


def function_hint(word: str) -> str | None:
    """What may have been meant by a function that there is not."""
    if word in SYNONYMS:
        return f"write {SYNONYMS[word]}"
    return one_of(word, (*FUNCTIONS, *TALLIES), "the functions")
