"""Render file changes and their approvals as a table for the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.report.comparison import align_columns
from loomgit.report.log import KINDS, OTHERS, replace_control_characters, result_documents

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.domain.changes import ChangeLog, LoggedChange
    from loomgit.domain.log import MeanScore, ResultGroup, StoredScores
    from loomgit.domain.values import JsonObject

HEADER = ("DATE", "COMMIT", "AUTHOR", "FILE", "VERSION", "SCORES", "APPROVED", "SUBJECT")
SUBJECT = 60  # the maximum length of a commit's subject in the table
NO_APPROVAL = "no approval on record"


def change_table(log: ChangeLog) -> Iterator[str]:
    """Yield the lines of the table: a row for each change, newest first.

    After the rows, a line shows the number of changes without approval. If the clone is shallow,
    the last line says that older changes are missing.
    """
    since = f" since {log.since[:10]}" if log.since else ""
    if not log.changes:
        yield f"No prompt, context file or pipeline changed{since}."
    else:
        yield from align_columns(
            [HEADER, *(row for change in log.changes for row in _rows(change))]
        )
        unapproved = [change for change in log.changes if not change.approved]
        count = len(log.changes)
        yield ""
        yield (
            f"{count:,} change{'s' if count != 1 else ''}{since}; "
            f"{len(unapproved):,} without approval by a person other than the author."
        )
    if log.shallow:
        yield (
            "The history is truncated (shallow clone): older changes are missing; "
            "run `git fetch --unshallow` to fetch them."
        )


def _rows(change: LoggedChange) -> Iterator[tuple[str, ...]]:
    """Yield the row of a change, and then rows with the newest results for other inputs.

    These results were measured with the new content of the file. However, at least one other input
    was not the same as at the commit of the change.
    """
    yield _row(change)
    for text in other_result_lines(change.measured):
        yield ("", "", "", "", "", text, "", "")


def _row(change: LoggedChange) -> tuple[str, ...]:
    subject = replace_control_characters(change.subject)
    return (
        change.time[:10],
        change.commit[:8],
        replace_control_characters(change.author),
        replace_control_characters(change.path),
        replace_control_characters(change.version) if change.blob else "(removed)",
        score_text(change) or "-",
        replace_control_characters(approval_text(change)),
        subject if len(subject) <= SUBJECT else subject[: SUBJECT - 1] + "…",
    )


def score_text(change: LoggedChange) -> str:
    """Return the scores of a change, such as `label 0.871, tone 0.500`.

    If the scores come from several pipelines, or from both tests and pipeline runs, each group of
    scores starts with its source: `demo, prompt tests: label 0.871; ...`. If no scores are stored,
    return "".
    """
    groups = [group for group in change.measured.own if group.scores]
    if len(groups) <= 1:
        return _mean_scores(change.measured.scores)
    return "; ".join(f"{_title(group)}: {_mean_scores(group.scores)}" for group in groups)


def other_result_lines(measured: StoredScores) -> list[str]:
    """Return lines for the newest results whose inputs differ from those at the version's commit.

    An example is `label 0.600 with context taxonomy g1a2b3c4d`.
    """
    others = [group for group in measured.others if group.scores]
    lines = [
        f"{_mean_scores(group.scores)} with {replace_control_characters(', '.join(group.differs))}"
        for group in others[:OTHERS]
    ]
    if more := len(others) - len(lines):
        lines.append(f"and {more:,} more (--json)")
    return lines


def _mean_scores(scores: Mapping[str, MeanScore]) -> str:
    return ", ".join(
        f"{replace_control_characters(name)} {score.mean:.3f}" for name, score in scores.items()
    )


def _title(group: ResultGroup) -> str:
    return f"{replace_control_characters(group.pipeline)}, {KINDS.get(group.kind, group.kind)}"


def approval_text(change: LoggedChange) -> str:
    """Return the approvals of a change, such as `merged by Grace; tagged v2.0 by Grace`.

    If Git's history contains no approval, return `no approval on record`.
    """
    return "; ".join(map(str, change.approvals)) or NO_APPROVAL


def change_document(log: ChangeLog) -> JsonObject:
    """Return the JSON document of `loom report --compliance`."""
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
