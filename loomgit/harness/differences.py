"""In which parts two questions, or two configurations, differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.comparison import Difference

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        return "none"
    if isinstance(value, dict):
        return str(value.get("type", "there")) if value else "none"
    text = " ".join(str(value).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
