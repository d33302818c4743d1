"""Who changed what a pipeline is made of, who approved it, and what each version scored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from loomgit.domain.log import Measured

if TYPE_CHECKING:
    from collections.abc import Mapping

ApprovalKind = Literal["merge", "trailer", "tag"]


class Approval(Struct, frozen=True):
    """What in Git's history says that somebody stood for a change.

    `merge`: `by` merged it into the main line, `said` is the merge's subject. `trailer`: `said` is
    the line of the commit's message (`Reviewed-by: ...`, `Loom-Accept: ...`). `tag`: `by` gave the
    content the name `said`; a lightweight tag does not say who, then `by` is empty. `commit` is
    where it stands; `own`: nothing says that `by` is another than the change's author.
    """

    kind: ApprovalKind
    by: str
    said: str
    commit: str
    own: bool = False

    def __str__(self) -> str:
        own = " (the author)" if self.own else ""
        if self.kind == "merge":
            return f"merged by {self.by}{own}"
        if self.kind == "tag":
            return f"tagged {self.said} by {self.by}{own}" if self.by else f"tagged {self.said}"
        return f"{self.said}{own}"


class Change(Struct, frozen=True):
    """One commit's change of one file.

    `version` and `blob` are empty where the file went; `time` is the author's, ISO 8601; `measured`
    has the stored results of the content. `approvals` may be empty: history knows of none.
    """

    commit: str
    time: str
    author: str
    subject: str
    path: str
    blob: str = ""
    version: str = ""
    approvals: tuple[Approval, ...] = ()
    measured: Measured = field(default_factory=Measured)

    @property
    def approved(self) -> bool:
        """Whether somebody else than the author stands for it."""
        return any(not approval.own for approval in self.approvals)

    @property
    def scores(self) -> Mapping[str, float]:
        """The mean of each evaluator in the first of the version's own results."""
        return {name: score.mean for name, score in self.measured.scores.items()}


class ChangeLog(Struct, frozen=True):
    """The changes up to `head`, newest first; `since` as it was asked for, empty: all of them;
    `shallow` where history is cut off, so that older ones are missing."""

    head: str
    since: str
    changes: tuple[Change, ...]
    shallow: bool = False
