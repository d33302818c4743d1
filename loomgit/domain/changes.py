"""The change log of a pipeline's files: authors, approvals, and the scores of each version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from loomgit.domain.log import StoredScores

if TYPE_CHECKING:
    from collections.abc import Mapping

ApprovalKind = Literal["merge", "trailer", "tag"]


class Approval(Struct, frozen=True):
    """Evidence in Git's history that a person approved a change.

    `kind` is the type of the evidence, `by` is the person, and `said` is a text from Git. For a
    `merge`, this person merged the change into the main branch, and the text is the subject of the
    merge commit. For a `trailer`, the text is a line of the commit message (`Reviewed-by: ...`,
    `Loom-Accept: ...`). For a `tag`, the person created the tag, and the text is the tag's name.
    A lightweight tag records no person, so `by` is empty.

    `commit` is the commit with the evidence. `own` is true if, according to the history, the person
    may be the author of the change.
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


class LoggedChange(Struct, frozen=True):
    """A change to one file by one commit.

    `blob` is Git's id of the new content. `version` is the displayed name of the new content. Both
    are empty if the commit deletes the file. `time` is the author date as ISO 8601 text. `measured`
    contains the stored results for the new content. `approvals` is empty if Git's history contains
    no approval.
    """

    commit: str
    time: str
    author: str
    subject: str
    path: str
    blob: str = ""
    version: str = ""
    approvals: tuple[Approval, ...] = ()
    measured: StoredScores = field(default_factory=StoredScores)

    @property
    def approved(self) -> bool:
        """Whether a person other than the author approved the change."""
        return any(not approval.own for approval in self.approvals)

    @property
    def scores(self) -> Mapping[str, float]:
        """The mean score of each evaluator, measured with the inputs at this commit."""
        return {name: score.mean for name, score in self.measured.scores.items()}


class ChangeLog(Struct, frozen=True):
    """The changes to a pipeline's files up to the commit `head`, newest first.

    `since` is the start as the user gave it; empty means all changes. `shallow` is true if older
    changes are missing, because the clone's history is truncated.
    """

    head: str
    since: str
    changes: tuple[LoggedChange, ...]
    shallow: bool = False
