"""Who changed and approved what, as a table for the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.report.comparison import aligned
from loomgit.report.log import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.changes import Change, ChangeLog
    from loomgit.domain.values import JsonObject

HEADER = ("DATE", "COMMIT", "AUTHOR", "FILE", "VERSION", "SCORES", "APPROVED", "SUBJECT")
SUBJECT = 60  # characters of a commit's subject that are shown
NOBODY = "no approval on record"


def change_table(log: ChangeLog) -> Iterator[str]:
    """A line a change, newest first, and below what is not approved."""
    since = f" since {log.since[:10]}" if log.since else ""
    if not log.changes:
        yield f"No prompt, context file or pipeline changed{since}."
    else:
        yield from aligned([HEADER, *map(_row, log.changes)])
        alone = [change for change in log.changes if not change.approved]
        count = len(log.changes)
        yield ""
        yield (
            f"{count:,} change{'s' if count != 1 else ''}{since}; "
            f"{len(alone):,} without an approval by somebody else than the author."
        )
    if log.shallow:
        yield (
            "History is cut off here (shallow clone): older changes are missing; "
            "`git fetch --unshallow` brings them."
        )


def _row(change: Change) -> tuple[str, ...]:
    subject = plain(change.subject)
    return (
        change.time[:10],
        change.commit[:8],
        plain(change.author),
        plain(change.path),
        plain(change.version) if change.blob else "(removed)",
        score_words(change) or "-",
        plain(approval_words(change)),
        subject if len(subject) <= SUBJECT else subject[: SUBJECT - 1] + "…",
    )


def score_words(change: Change) -> str:
    """`label 0.871, tone 0.500`; empty where nothing was measured."""
    return ", ".join(f"{plain(name)} {mean:.3f}" for name, mean in change.scores.items())


def approval_words(change: Change) -> str:
    """`merged by Grace; tagged v2.0 by Grace`, or that there is none."""
    return "; ".join(map(str, change.approvals)) or NOBODY


def change_document(log: ChangeLog) -> JsonObject:
    """The JSON of `loom report --compliance`."""
    return {
        "schema_version": 1,
        "head": log.head,
        "since": log.since or None,
        "shallow": log.shallow,
        "changes": [
            {
                "commit": change.commit,
                "date": change.time,
                "author": change.author,
                "subject": change.subject,
                "path": change.path,
                "blob": change.blob or None,
                "version": change.version or None,
                "approved": change.approved,
                "approvals": [
                    {
                        "kind": approval.kind,
                        "by": approval.by,
                        "said": approval.said,
                        "commit": approval.commit,
                        "own": approval.own,
                    }
                    for approval in change.approvals
                ],
                "runs": change.measured.runs,
                "scores": {
                    name: {"mean": score.mean, "n": score.n}
                    for name, score in change.measured.scores.items()
                },
            }
            for change in log.changes
        ],
    }
