"""In which parts two questions, or two configurations, differ."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from loomgit.domain.comparison import Difference

if TYPE_CHECKING:
    from collections.abc import Mapping


BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")  # Git's id of a file
NONE = "none"  # a value that is not there


def question_differences(
    base: Mapping[str, object], head: Mapping[str, object]
) -> list[Difference]:
    """The parts in which two questions differ; of different formats, the formats alone."""
    formats = [str(question.get("format", 1)) for question in (base, head)]
    if formats[0] != formats[1]:
        return [Difference("evaluation format", *formats)]
    return differences(base, head)


def changed_parts(base: Mapping[str, Any], head: Mapping[str, Any]) -> list[Difference]:
    """The parts of the base's question that the head has changed, as `question_differences`.

    An evaluator that the head adds changes none of them, unless it brings code: that may take the
    place of what the others use.
    """
    known = base.get("evaluators", {})
    added = {name: spec for name, spec in head.get("evaluators", {}).items() if name not in known}
    parts = {"judge", "judge_endpoint", *(f"evaluators.{name}" for name in added)}
    found = question_differences(base, head)
    return [each for each in found if each.part not in parts or each.base != NONE]


def differences(
    base: Mapping[str, object], head: Mapping[str, object], before: str = ""
) -> list[Difference]:
    """The parts in which two questions differ, as dotted names with both values, in order."""
    found: list[Difference] = []
    for name in dict.fromkeys((*base, *head)):
        one, two = base.get(name), head.get(name)
        part = f"{before}{name}"
        if isinstance(one, dict) and isinstance(two, dict):
            found += differences(one, two, f"{part}.")
        elif _plain(one) != _plain(two):
            found.append(Difference(part, _words(one), _words(two)))
    return found


def _plain(value: object) -> object:
    """Tuples as lists: what a stored run reads back as."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _words(value: object) -> str:
    if value is None:
        return NONE
    if isinstance(value, dict):
        return str(value.get("type", "set")) if value else NONE
    text = " ".join(str(value).split())
    if BLOB.fullmatch(text):
        return text[:8]
    return text if len(text) <= 60 else f"{text[:59]}…"
