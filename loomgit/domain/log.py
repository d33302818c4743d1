"""The log of one file: its versions, newest first, each with what the runs of its content found."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field


class MeanScore(Struct, frozen=True):
    """An evaluator's mean over several runs, weighted by `n`, the number of scores behind it."""

    mean: float
    n: int


class LatestRun(Struct, frozen=True):
    """The run of a content that began last."""

    run_id: str
    uid: str
    started: str


class Measured(Struct, frozen=True):
    """What the stored runs of one content say.

    `runs` and `cases` count all of them, `complete` those that finished: the scores are over these
    alone. `cost_per_record` is USD over the runs whose cost is known, None where none is.
    """

    runs: int = 0
    complete: int = 0
    cases: int = 0
    scores: Mapping[str, MeanScore] = field(default_factory=dict)
    cost_per_record: float | None = None
    latest: LatestRun | None = None
    pipelines: tuple[str, ...] = ()


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
        """Those whose runs are counted: scores of several are means over different questions."""
        return sorted({name for entry in self.entries for name in entry.measured.pipelines})
