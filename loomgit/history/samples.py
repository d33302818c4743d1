"""Samples of test cases as lines of a records file, and back: what a later run need not ask again.

A line holds one sample: the case's `id`, `key` and `def`, then the sample's own fields.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from loomgit.domain.models import Usage
from loomgit.domain.samples import Judgement, Sample
from loomgit.domain.values import to_plain

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from loomgit.domain.samples import CaseSamples
    from loomgit.domain.values import JsonObject


def to_line(case: CaseSamples, sample: Sample) -> JsonObject:
    """A sample as a line."""
    document: JsonObject = to_plain(sample)
    del document["reused"]
    return {"id": case.id, "key": case.key, "def": case.definition, **document}


def from_object(line: JsonObject) -> Sample:
    """The sample of a line. Raises LookupError, TypeError, ValueError where it holds none."""
    document = {name: value for name, value in line.items() if name not in ("id", "key", "def")}
    judgements = document.pop("judgements")
    usage = document.pop("usage")
    if not isinstance(judgements, dict) or not isinstance(usage, dict):
        raise TypeError("no sample")
    return Sample(
        judgements={name: Judgement(**value) for name, value in judgements.items()},  # type: ignore[arg-type]
        usage=Usage(**usage),  # type: ignore[arg-type]  # as `to_line` wrote it
        **document,  # type: ignore[arg-type]
    )


def load_samples(
    files: Iterable[Path], keys: Collection[str] | None = None
) -> dict[str, dict[int, Sample]]:
    """The samples in these records files that answer one of `keys` (None: any), by key and index.

    What was lost to an outage is left out, and so is a line that cannot be read; the first file
    that has a sample gives it.
    """
    found: dict[str, dict[int, Sample]] = {}
    for file in files:
        try:
            lines = file.read_bytes().splitlines()
        except OSError:
            continue  # removed, or kept on another machine: then it is asked again
        for line in lines:
            try:
                document = orjson.loads(line)
                key = document["key"]
                if keys is not None and key not in keys:
                    continue
                sample = from_object(document)
            except (LookupError, TypeError, ValueError):
                continue
            if not sample.lost:
                found.setdefault(key, {}).setdefault(sample.index, sample)
    return found
