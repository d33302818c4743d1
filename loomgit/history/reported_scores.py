"""Records the scores that compliance reports show, so that later reports show the same scores.

`.loom/state/reported-scores.jsonl` has one line for each combination of a version, a pipeline and a
type of run (`pipeline` or `test`). A version is the content that a commit gave to a file. If
several lines have the same combination, the first line is used.
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
    """The run whose scores were shown in the first report about a version.

    A version is the content of the file `path` (in the project) after `commit` changed the file.
    """

    commit: str
    path: str
    pipeline: str
    kind: str
    run: ScoredRun


class ReportedScores:
    """Reads and adds the reported scores of one store. The file is read only once."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the folder of the store (`.loom`)."""
        self._path = folder / FILE

    def find(self, commit: str, path: str) -> Mapping[Series, ScoredRun]:
        """Return the reported runs of a version. The keys are (pipeline, kind).

        The runs are in the order in which they were reported. The version is the content that the
        file `path` had after the commit `commit`.
        """
        return self._known.get((commit, path), {})

    @cached_property
    def _known(self) -> dict[tuple[str, str], dict[Series, ScoredRun]]:
        """Maps each version (commit, path) to its reported runs, by (pipeline, kind).

        Invalid lines are skipped. For example, a full disk can cause such lines.
        """
        known: dict[tuple[str, str], dict[Series, ScoredRun]] = {}
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:  # the file is missing; if it is unreadable, `add` raises the error
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
        """Append the scores that no earlier report has shown.

        Raises WorldError if the file cannot be written.
        """
        new = [s for s in scores if (s.pipeline, s.kind) not in self.find(s.commit, s.path)]
        if not new:
            return
        content = b"".join(msgspec.json.encode(score) + b"\n" for score in new)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
                content = b"\n" + content  # first end the incomplete last line
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
