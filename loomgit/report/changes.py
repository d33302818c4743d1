"""Who changed and approved what, as a table for the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.report.comparison import aligned
from loomgit.report.log import KINDS, OTHERS, plain, result_documents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.domain.changes import Change, ChangeLog
    from loomgit.domain.log import MeanScore, Measured, ResultGroup
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
        yield from aligned([HEADER, *(row for change in log.changes for row in _rows(change))])
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


def _rows(change: Change) -> Iterator[tuple[str, ...]]:
    """The change, and a row for each of the newest results with other inputs."""
    yield _row(change)
    for words in other_words(change.measured):
        yield ("", "", "", "", "", words, "", "")


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
    """`label 0.871, tone 0.500`; where several pipelines, or tests and runs, measured the version:
    `demo, prompt tests: label 0.871; ...`. Empty where nothing was measured."""
    own = [group for group in change.measured.own if group.scores]
    if len(own) <= 1:
        return _mean_words(change.measured.scores)
    return "; ".join(f"{_title(group)}: {_mean_words(group.scores)}" for group in own)


def other_words(measured: Measured) -> list[str]:
    """`label 0.600 with context taxonomy g1a2b3c4d`: the newest results with other inputs."""
    others = [group for group in measured.others if group.scores]
    lines = [
        f"{_mean_words(group.scores)} with {plain(', '.join(group.differs))}"
        for group in others[:OTHERS]
    ]
    if more := len(others) - len(lines):
        lines.append(f"and {more:,} more (--json)")
    return lines


def _mean_words(scores: Mapping[str, MeanScore]) -> str:
    return ", ".join(f"{plain(name)} {score.mean:.3f}" for name, score in scores.items())


def _title(group: ResultGroup) -> str:
    return f"{plain(group.pipeline)}, {KINDS.get(group.kind, group.kind)}"


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
                "results": result_documents(change.measured),
            }
            for change in log.changes
        ],
    }
