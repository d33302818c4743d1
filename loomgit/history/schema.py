"""Run files: JSON to values and back, with the number of their format.

Older formats are lifted step by step in memory; a newer one is not read by guesswork.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import orjson

from loomgit.domain.outside import hide_in
from loomgit.domain.runs import SCHEMA_VERSION, Run
from loomgit.domain.values import to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.values import JsonObject

    Migration = Callable[[JsonObject], JsonObject]


# From a format to the next one: {1: lift_1_to_2, ...}. There is one format so far.
MIGRATIONS: Mapping[int, Migration] = {}


class DamagedRun(ValueError):
    """The text is no run file: cut off, not JSON, or fields missing."""


class NewerRun(ValueError):
    """The run file was written by a later Loom."""


def to_json(run: Run) -> bytes:
    """The run as its file's text: indented, in the order of the fields, without secrets."""
    return orjson.dumps(hide_in(as_object(run)), option=orjson.OPT_INDENT_2) + b"\n"


def as_object(run: Run) -> JsonObject:
    """The run as one JSON object; a case's `definition` is called `def` there."""
    document: JsonObject = to_plain(run)
    cases = document["cases"]
    assert isinstance(cases, list)
    for case in cases:
        assert isinstance(case, dict)
        case["def"] = case.pop("definition")
    return document


def from_json(
    text: bytes,
    *,
    migrations: Mapping[int, Migration] = MIGRATIONS,
    current: int = SCHEMA_VERSION,
    cases: bool = True,
) -> Run:
    """The run that `text` holds, lifted to the format `current`. Raises DamagedRun or NewerRun.

    Without `cases` the run has none: half of the work, where only a summary is wanted.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DamagedRun(str(error)) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise DamagedRun("no schema_version")
    if version > current:
        raise NewerRun(f"format {version}, this Loom reads up to {current}")
    try:
        for step in range(version, current):
            document = {**migrations[step](document), "schema_version": step + 1}
        if not cases:
            document["cases"] = []
        for case in document.get("cases", []):
            if "def" in case:
                case["definition"] = case.pop("def")
        return msgspec.convert(document, Run)
    # The others are a migration's, or a case's that meets another shape than its format has.
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedRun(" ".join(str(error).split())) from error
