"""Converts samples of test cases to and from lines of a records file, so that runs can reuse them.

A line contains one sample: the `id`, `key` and `def` (definition) of the test case, then the fields
of the sample.
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
    """Convert a sample of a case to a JSON object: one line of the records file."""
    document: JsonObject = to_plain(sample)
    del document["reused"]
    return {"id": case.id, "key": case.key, "def": case.definition, **document}


def from_object(line: JsonObject) -> Sample:
    """Return the sample in a parsed line.

    Raises LookupError, TypeError or ValueError if the line is invalid.
    """
    document = {name: value for name, value in line.items() if name not in ("id", "key", "def")}
    judgements = document.pop("judgements")
    usage = document.pop("usage")
    if not isinstance(judgements, dict) or not isinstance(usage, dict):
        raise TypeError("the line contains no sample")
    return Sample(
        judgements={name: Judgement(**value) for name, value in judgements.items()},  # type: ignore[arg-type]
        usage=Usage(**usage),  # type: ignore[arg-type]  # written by `to_line`
        **document,  # type: ignore[arg-type]
    )


def load_samples(
    files: Iterable[Path], keys: Collection[str] | None = None
) -> dict[str, dict[int, Sample]]:
    """Return the samples in records files, by the key of the case and the index of the sample.

    Only samples of cases with a key in `keys` are returned; None means all cases. Unreadable files,
    invalid lines and lost samples (see `Sample.lost`) are skipped. If several files contain the
    same sample, the sample in the first file is returned.
    """
    samples: dict[str, dict[int, Sample]] = {}
    for file in files:
        try:
            lines = file.read_bytes().splitlines()
        except OSError:
            continue  # the file was removed or is on another machine; new samples are drawn
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
                samples.setdefault(key, {}).setdefault(sample.index, sample)
    return samples
