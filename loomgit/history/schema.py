"""Converts runs to and from the JSON of run files.

Older formats are migrated step by step in memory. Newer formats are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import orjson

from loomgit.domain.runs import SCHEMA_VERSION, Run
from loomgit.domain.safe_text import hide_in
from loomgit.domain.values import to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.values import JsonObject

    Migration = Callable[[JsonObject], JsonObject]


# Maps the number of each format to the function that converts a run to the next format, for example
# {1: migrate_1_to_2}. The mapping is empty, because only one format exists.
MIGRATIONS: Mapping[int, Migration] = {}


class DamagedRun(ValueError):
    """The text is not a valid run file: it is incomplete, not JSON, or lacks fields."""


class NewerRun(ValueError):
    """A newer version of Loom wrote the run file."""


def to_json(run: Run) -> bytes:
    """Return the content of the run file.

    The content is indented JSON, in the order of the fields of `Run`. Known secrets are masked.
    """
    return orjson.dumps(hide_in(as_object(run)), option=orjson.OPT_INDENT_2) + b"\n"


def as_object(run: Run) -> JsonObject:
    """Return the run as a JSON object, in which the `definition` of a case has the key `def`."""
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
    """Return the run in `text`, migrated to the format `current`.

    If `cases` is false, the cases are left out, because summaries do not need them. This halves the
    time of this function. Raises DamagedRun if `text` contains no valid run, and NewerRun if the
    format of the run is newer than `current`.
    """
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise DamagedRun(str(error)) from error
    version = document.get("schema_version") if isinstance(document, dict) else None
    if type(version) is not int or version < 1:
        raise DamagedRun("no schema_version")
    if version > current:
        raise NewerRun(
            f"its format is {version}, this version of Loom reads formats up to {current}"
        )
    try:
        for step in range(version, current):
            document = {**migrations[step](document), "schema_version": step + 1}
        if not cases:
            document["cases"] = []
        for case in document.get("cases", []):
            if "def" in case:
                case["definition"] = case.pop("def")
        return msgspec.convert(document, Run)
    # If the JSON has an unexpected shape, `convert` raises MsgspecError. The lines before `convert`
    # raise the other errors.
    except (msgspec.MsgspecError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DamagedRun(" ".join(str(error).split())) from error
