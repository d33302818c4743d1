"""The log of one file: its versions, newest first, each with the stored results of its content.

A content is the text of the file at one or more commits.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from msgspec import Struct, field


class MeanScore(Struct, frozen=True):
    """The mean score of an evaluator in one run. `n` is the number of scores."""

    mean: float
    n: int


class LatestRun(Struct, frozen=True):
    """The most recently started run of a content."""

    run_id: str
    uid: str
    started: str


class ScoredRun(Struct, frozen=True):
    """A run with its scores by evaluator.

    `commit` is the commit of the working tree at the time of the run. `dirty` is true if the
    working tree had uncommitted changes, `complete` if the run did not stop early.
    """

    run_id: str
    uid: str
    started: str
    commit: str
    dirty: bool = False
    complete: bool = True
    scores: Mapping[str, MeanScore] = field(default_factory=dict)


class ResultGroup(Struct, frozen=True):
    """The runs of one pipeline and kind (`pipeline` or `test`) that measured the same inputs.

    `differs` names the inputs that are not the inputs at the version's own commit. It is empty for
    the version's own results. `figure` is the run that provides the scores of the group: the first
    complete run, or the run that an earlier compliance report showed. `runs` are all runs, oldest
    first. `cases` is the number of the runs' cases. `cost_per_record` is in USD, None if no cost is
    known.
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
        """Whether these are results of the version's own commit."""
        return not self.differs

    @property
    def scores(self) -> Mapping[str, MeanScore]:
        """The scores of `figure`; empty if no complete run has scores."""
        return self.figure.scores if self.figure is not None else {}

    @property
    def further(self) -> tuple[ScoredRun, ...]:
        """The runs other than `figure`."""
        figure_uid = self.figure.uid if self.figure is not None else ""
        return tuple(run for run in self.runs if run.uid != figure_uid)


class StoredScores(Struct, frozen=True):
    """The stored results of one version of a file.

    `scores` are the scores of the first group among the version's own results. Results with other
    inputs are only in `groups`. `runs`, `cases`, `complete`, `latest` and `cost_per_record` (USD,
    None if no cost is known) cover the runs of all groups.
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
        """The results of the version's own commit, one group for each pipeline and kind."""
        return [group for group in self.groups if group.own]

    @property
    def others(self) -> list[ResultGroup]:
        """The results with other inputs, newest first."""
        return [group for group in self.groups if not group.own]


class LogEntry(Struct, frozen=True):
    """One content in the log of a file.

    `path` is the path of the file with this content. `commits` are the commits that introduced the
    content, latest first; the list is empty if only the working tree has the content. `time`
    (author date, ISO 8601), `author` and `subject` describe the latest of these commits. They are
    empty if a truncated history ends at that commit, because an earlier commit may have introduced
    the content. `head` is true if HEAD has the content. `worktree` is true if the working tree has
    the content and differs from HEAD.
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


class FileLog(Struct, frozen=True, dict=True):
    """The log of a file: the newest of its `total` contents.

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
        """The pairs of pipeline and kind in the versions' own results.

        The scores of different pairs are not comparable, because they answer different questions.
        """
        groups = (group for entry in self.entries for group in entry.measured.own)
        return sorted({(group.pipeline, group.kind) for group in groups})
