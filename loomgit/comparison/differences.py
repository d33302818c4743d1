"""Finds the differences between two mappings of settings.

The `question` of a pipeline is the mapping of its evaluation settings: the evaluators, their code
and the judge.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from loomgit.domain.comparison import QuestionDifference

if TYPE_CHECKING:
    from collections.abc import Mapping


BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # the id of a file in Git
NONE = "none"  # shown in place of a missing value


def question_differences(
    base: Mapping[str, object], head: Mapping[str, object]
) -> list[QuestionDifference]:
    """Return the differences between two questions (mappings of evaluation settings).

    If the questions have different formats, return only the difference between the formats.
    """
    formats = [str(question.get("format", 1)) for question in (base, head)]
    if formats[0] != formats[1]:
        return [QuestionDifference("evaluation format", *formats)]
    return differences(base, head)


def changed_parts(base: Mapping[str, Any], head: Mapping[str, Any]) -> list[QuestionDifference]:
    """Return the differences that can change the scores of the evaluators in `base`.

    Evaluators and judges that only `head` has are left out, because they do not affect the
    evaluators in `base`. Code files that only `head` has are included, because they can replace
    code of the evaluators in `base`.
    """
    known = base.get("evaluators", {})
    added = {name: spec for name, spec in head.get("evaluators", {}).items() if name not in known}
    new_parts = {"judge", "judge_endpoint", *(f"evaluators.{name}" for name in added)}
    changes = question_differences(base, head)
    return [change for change in changes if change.part not in new_parts or change.base != NONE]


def differences(
    base: Mapping[str, object], head: Mapping[str, object], prefix: str = ""
) -> list[QuestionDifference]:
    """Return the differences between two nested mappings, in the order of their keys.

    The `part` of each difference is `prefix` plus the dotted name of the key.
    """
    parts: list[QuestionDifference] = []
    for name in dict.fromkeys((*base, *head)):
        old, new = base.get(name), head.get(name)
        part = f"{prefix}{name}"
        if isinstance(old, dict) and isinstance(new, dict):
            parts += differences(old, new, f"{part}.")
        elif _plain(old) != _plain(new):
            parts.append(QuestionDifference(part, _show(old), _show(new)))
    return parts


def _plain(value: object) -> object:
    """Return the value with lists in place of tuples, because a stored run contains only lists."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _show(value: object) -> str:
    if value is None:
        return NONE
    if isinstance(value, dict):
        return str(value.get("type", "set")) if value else NONE
    text = " ".join(str(value).split())
    if BLOB.fullmatch(text):
        return text[:8]
    return text if len(text) <= 60 else f"{text[:59]}…"
