"""The log of one file: its versions, newest first, each with the stored results of its content."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field


class MeanScore(Struct, frozen=True):
    """An evaluator's mean over one run; `n` is the number of scores behind it."""

    mean: float
    n: int


class LatestRun(Struct, frozen=True):
    """The run of a content that began last."""

    run_id: str
    uid: str
    started: str


class ScoredRun(Struct, frozen=True):
    """One run with its scores by evaluator: `commit` is where it ran, `dirty` says that the tree
    had uncommitted changes, `complete` that the run did not stop early."""

    run_id: str
    uid: str
    started: str
    commit: str
    dirty: bool = False
    complete: bool = True
    scores: Mapping[str, MeanScore] = field(default_factory=dict)


class ResultGroup(Struct, frozen=True):
    """The runs of one pipeline and kind (`pipeline` or `test`) that measured the same inputs.

    `differs` names what differs from the inputs at the version's own commit; it is empty for the
    version's own results. `figure` is the run whose scores count: the first complete run, or the
    run that a compliance report has shown before. `runs` are all runs, oldest first. `cases` is
    the number of their cases, `cost_per_record` in USD, None where no cost is known.
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
        """The scores that count; empty where no complete run has scores."""
        return self.figure.scores if self.figure is not None else {}

    @property
    def further(self) -> tuple[ScoredRun, ...]:
        """The runs besides the one whose scores count."""
        counted = self.figure.uid if self.figure is not None else ""
        return tuple(run for run in self.runs if run.uid != counted)


class Measured(Struct, frozen=True):
    """The stored results of one version.

    `scores` are those of the first of the version's own groups; results with other inputs are in
    `groups` alone. `runs`, `cases`, `complete`, `latest` and `cost_per_record` (USD, None where no
    cost is known) cover the runs of all groups.
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
        """The results of the version's own commit: a group for each pipeline and kind."""
        return [group for group in self.groups if group.own]

    @property
    def others(self) -> list[ResultGroup]:
        """The results with other inputs, newest first."""
        return [group for group in self.groups if not group.own]


class LogEntry(Struct, frozen=True):
    """One content of the file.

    `path` is where it stood, `commits` brought it in (latest first; none: only the working tree has
    it), and `time` (the author's, ISO 8601), `author` and `subject` are those of the latest: empty
    where history is cut off at that commit, which then only holds the content. `head` and
    `worktree` tell who holds it now: `worktree` is true where the working tree differs from HEAD.
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
    measured: Measured = field(default_factory=Measured)


class FileLog(Struct, frozen=True):
    """The newest of a file's `total` contents; `shallow` where history is cut off."""

    path: str
    entries: tuple[LogEntry, ...]
    total: int
    shallow: bool

    @property
    def pipelines(self) -> list[str]:
        """The pipelines whose runs are counted."""
        return sorted({name for entry in self.entries for name in entry.measured.pipelines})

    @property
    def series(self) -> list[tuple[str, str]]:
        """The pipelines and kinds of the versions' own results: the scores of each are apart, since
        they are answers to different questions."""
        groups = (group for entry in self.entries for group in entry.measured.own)
        return sorted({(group.pipeline, group.kind) for group in groups})
