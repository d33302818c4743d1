"""The log of one file: all versions of its content, newest first, with their stored results.

If the file has the same content in several commits, these commits share one entry of the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct, field

from loomgit.domain.apps import VersionState


class MeanScore(Struct, frozen=True):
    """The mean score of an evaluator in one run. `n` is the number of scores."""

    mean: float
    n: int


class LatestRun(Struct, frozen=True):
    """The latest run that used a version of a file, by start time."""

    run_id: str
    uid: str
    started: str


class ScoredRun(Struct, frozen=True):
    """A run with its scores by evaluator.

    `commit` is the commit on which the working tree was based at the time of the run. `dirty` is
    true if the working tree had uncommitted changes. `complete` is true if the run did not stop
    early.
    """

    run_id: str
    uid: str
    started: str
    commit: str
    dirty: bool = False
    complete: bool = True
    scores: Mapping[str, MeanScore] = field(default_factory=dict)


class ResultGroup(Struct, frozen=True):
    """A group of runs with equal inputs: the same version of one file, and equal other inputs.

    All runs have the same pipeline and the same `kind` (`pipeline` or `test`). `differs` lists the
    inputs that differ between these runs and the version's own commit. If it is empty, the group
    contains the version's own results. `runs` are sorted by time, oldest first. `figure` is the run
    that provides the scores of the group. If an earlier compliance report showed one of the runs,
    `figure` is this run, else it is the first complete run with scores. `cases` is the total number
    of cases of the runs. `cost_per_record` is in USD, or None if no cost is known.
    """

    pipeline: str
    kind: str
    differs: tuple[str, ...] = ()
    figure: ScoredRun | None = None
    runs: tuple[ScoredRun, ...] = ()
    cases: int = 0
    cost_per_record: float | None = None

    @property
    def own(self) -> bool:
        """Whether the runs had the inputs of the version's own commit."""
        return not self.differs

    @property
    def scores(self) -> Mapping[str, MeanScore]:
        """The scores of the run `figure`, or an empty map if `figure` is None."""
        return self.figure.scores if self.figure is not None else {}

    @property
    def further(self) -> tuple[ScoredRun, ...]:
        """All runs except `figure`."""
        figure_uid = self.figure.uid if self.figure is not None else ""
        return tuple(run for run in self.runs if run.uid != figure_uid)


class StoredScores(Struct, frozen=True):
    """The stored results of one version of a file, in groups of runs with the same inputs.

    If the runs of a group had the same inputs as the pipeline at the version's commit, the group is
    one of the version's own groups. `scores` are the scores of the first own group. The other
    fields cover all groups. `runs` is the number of runs, `complete` is the number of complete
    runs, and `cases` is the number of cases. `cost_per_record` is in USD, or None if no cost is
    known.
    """

    runs: int = 0
    complete: int = 0
    cases: int = 0
    scores: Mapping[str, MeanScore] = field(default_factory=dict)
    cost_per_record: float | None = None
    latest: LatestRun | None = None
    pipelines: tuple[str, ...] = ()
    groups: tuple[ResultGroup, ...] = ()

    @property
    def own(self) -> list[ResultGroup]:
        """The groups of runs that had the same inputs as the version's commit.

        There is at most one such group for each pipeline and kind.
        """
        return [group for group in self.groups if group.own]

    @property
    def others(self) -> list[ResultGroup]:
        """The groups whose inputs were not those of the version's own commit, newest first."""
        return [group for group in self.groups if not group.own]


class LogEntry(Struct, frozen=True):
    """An entry in the log of a file. It describes one content of the file.

    `name` is the displayed name of the version, and `blob` is Git's id of the content. `path` is
    the path of the file with this content. `commits` are the commits that introduced the content,
    latest first; they are empty if only the working tree has the content.

    `time` (author date, ISO 8601), `author` and `subject` describe the latest of these commits.
    They are empty if a truncated history ends at that commit, because an earlier commit may have
    introduced the content. `head` is true if HEAD has the content. `worktree` is true if the
    working tree has the content and differs from HEAD. `state` is the state of the version in the
    log of an app, and None in the log of a file.
    """

    name: str
    blob: str
    path: str
    commits: tuple[str, ...] = ()
    time: str = ""
    author: str = ""
    subject: str = ""
    head: bool = False
    worktree: bool = False
    measured: StoredScores = field(default_factory=StoredScores)
    state: VersionState | None = None


class FileLog(Struct, frozen=True, dict=True):
    """The log of a file. Each item of `entries` describes one of its newest contents.

    `total` is the number of all contents of the file, including those that `entries` omits.
    `shallow` is true if the history of the clone is truncated.
    """

    path: str
    entries: tuple[LogEntry, ...]
    total: int
    shallow: bool

    @property
    def pipelines(self) -> list[str]:
        """The pipelines with stored runs of this file."""
        return sorted({name for entry in self.entries for name in entry.measured.pipelines})

    @cached_property
    def series(self) -> list[tuple[str, str]]:
        """The distinct pairs (pipeline, kind) of all result groups in `measured.own`.

        The scores of different pairs are not comparable, because their cases or evaluators differ.
        """
        groups = (group for entry in self.entries for group in entry.measured.own)
        return sorted({(group.pipeline, group.kind) for group in groups})
