"""The scores that compliance reports have shown, so that a later report shows the same.

`.loom/state/reported-scores.jsonl` has a line for each version (a commit's change of a file),
pipeline and kind of run. Of several lines for the same, the first counts.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from loomgit.domain.log import ScoredRun
from loomgit.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from loomgit.history.result_groups import Series

FILE = "state/reported-scores.jsonl"


class ReportedScore(Struct, frozen=True):
    """The run whose scores a report has shown for a commit's version of a file (project path)."""

    commit: str
    path: str
    pipeline: str
    kind: str
    run: ScoredRun


class ReportedScores:
    """The reported scores of one store; the file is read once."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the store's (`.loom`)."""
        self._path = folder / FILE

    def find(self, commit: str, path: str) -> Mapping[Series, ScoredRun]:
        """What was reported for a version, by pipeline and kind, in the order of the reports."""
        return self._known.get((commit, path), {})

    @cached_property
    def _known(self) -> dict[tuple[str, str], dict[Series, ScoredRun]]:
        """Lines that cannot be read (cut off by a full disk) are left out."""
        known: dict[tuple[str, str], dict[Series, ScoredRun]] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:  # `add` reports what is wrong with the file
            return known
        for line in lines:
            try:
                score = msgspec.json.decode(line, type=ReportedScore)
            except msgspec.MsgspecError:
                continue
            version = known.setdefault((score.commit, score.path), {})
            version.setdefault((score.pipeline, score.kind), score.run)
        return known

    def add(self, scores: Iterable[ReportedScore]) -> None:
        """Note what a report shows, where no earlier report has shown it. Raises WorldError."""
        new = [s for s in scores if (s.pipeline, s.kind) not in self.find(s.commit, s.path)]
        if not new:
            return
        content = b"".join(msgspec.json.encode(score) + b"\n" for score in new)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
                content = b"\n" + content  # after a line that was cut off
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            descriptor = os.open(self._path, flags, 0o666)
            try:
                os.write(descriptor, content)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise WorldError(f"{self._path} cannot be written: {error.strerror}") from error
        for score in new:
            version = self._known.setdefault((score.commit, score.path), {})
            version.setdefault((score.pipeline, score.kind), score.run)
