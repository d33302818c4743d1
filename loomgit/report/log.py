"""The log of a file as a table for the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.report.text import money

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.log import FileLog, LogEntry
    from loomgit.domain.values import Json, JsonObject

SUBJECT = 60  # characters of a commit's subject that are shown
NOTHING = "-"


def log_table(log: FileLog) -> Iterator[str]:
    """A line a version, newest first, and what one should know of them below."""
    evaluators = _evaluators(log)
    head = ["VERSION", "COMMIT", "DATE", "AUTHOR", "RUNS", "CASES", *map(str.upper, evaluators)]
    table = [[*head, "COST/RECORD", "LAST RUN", "SUBJECT"]]
    table += [_row(entry, evaluators) for entry in log.entries]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    numbers = range(head.index("RUNS"), len(head) + 1)
    for row in table:
        cells = [
            cell.rjust(width) if column in numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()
    notes = list(_notes(log))
    yield from ["", *notes] if notes else []


def _evaluators(log: FileLog) -> list[str]:
    return list(dict.fromkeys(name for entry in log.entries for name in entry.measured.scores))


def _row(entry: LogEntry, evaluators: list[str]) -> list[str]:
    measured = entry.measured
    commit = entry.commits[0][:8] if entry.commits else NOTHING
    cost = money(measured.cost_per_record) if measured.runs else NOTHING
    scores = [measured.scores.get(name) for name in evaluators]
    subject = "(not committed)" if entry.worktree else plain(entry.subject)
    return [
        plain(entry.name),
        commit,
        entry.time[:10] or NOTHING,
        plain(entry.author) or NOTHING,
        str(measured.runs),
        f"{measured.cases:,}",
        *(f"{score.mean:.3f}" if score else NOTHING for score in scores),
        cost,
        measured.latest.run_id if measured.latest else NOTHING,
        subject if len(subject) <= SUBJECT else subject[: SUBJECT - 1] + "…",
    ]


def _notes(log: FileLog) -> Iterator[str]:
    if hidden := log.total - len(log.entries):
        left = f"{hidden:,} of {log.total:,} versions are not shown"
        yield f"{left}; `--limit {log.total}` shows all."
    if len(log.pipelines) > 1:
        names = ", ".join(log.pipelines)
        yield f"The scores are means over {names}; `--pipeline NAME` shows one."
    incomplete = sum(entry.measured.runs - entry.measured.complete for entry in log.entries)
    if incomplete:
        yield f"Runs that were not complete and count in no score: {incomplete:,}."
    if log.shallow:
        yield (
            "History is cut off here (shallow clone): older versions are missing; "
            "`git fetch --unshallow` brings them."
        )


def plain(text: str) -> str:
    """The text without what a terminal would obey: a commit's author may write anything."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def log_document(log: FileLog) -> JsonObject:
    """The JSON of `loom log`; null where the text shows `-`."""
    pipelines: list[Json] = [*log.pipelines]
    return {
        "schema_version": 1,
        "path": log.path,
        "total": log.total,
        "shallow": log.shallow,
        "pipelines": pipelines,
        "versions": [_version(entry) for entry in log.entries],
    }


def _version(entry: LogEntry) -> JsonObject:
    measured, latest = entry.measured, entry.measured.latest
    return {
        "version": entry.name,
        "blob": entry.blob,
        "path": entry.path,
        "commit": entry.commits[0] if entry.commits else None,
        "commits": [*entry.commits],
        "date": entry.time or None,
        "author": entry.author or None,
        "subject": entry.subject if entry.time else None,
        "head": entry.head,
        "worktree": entry.worktree,
        "runs": measured.runs,
        "complete_runs": measured.complete,
        "cases": measured.cases,
        "scores": {
            name: {"mean": score.mean, "n": score.n} for name, score in measured.scores.items()
        },
        "cost_per_record": measured.cost_per_record,
        "pipelines": [*measured.pipelines],
        "latest_run": None
        if latest is None
        else {"run_id": latest.run_id, "uid": latest.uid, "started": latest.started},
    }
