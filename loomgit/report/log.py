"""Render the log of a file as a table for the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loomgit.report.apps import table
from loomgit.report.text import money

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.domain.log import (
        FileLog,
        LogEntry,
        MeanScore,
        ResultGroup,
        ScoredRun,
        StoredScores,
    )
    from loomgit.domain.values import Json, JsonObject

SUBJECT = 60  # the maximum length of a commit's subject in the table
OTHERS = 3  # at most this number of rows per version show results with other inputs
NOTHING = "-"
KINDS = {"pipeline": "pipeline runs", "test": "prompt tests"}


class SubLine(NamedTuple):
    """A line below a version's line in the table, for a part of the version's results.

    `about` describes this part. `scores` maps the evaluators to their mean scores.
    """

    about: str
    group: ResultGroup
    runs: tuple[ScoredRun, ...]
    scores: Mapping[str, MeanScore]


def log_table(log: FileLog) -> Iterator[str]:
    """Yield the lines of the table: a row for each version, newest first.

    Additional rows below a version's row show results that the version's row does not include.
    Notes follow the table.
    """
    if any(entry.state for entry in log.entries):
        yield from _app_table(log)
        return
    evaluators = _evaluators(log)
    head = ["VERSION", "COMMIT", "DATE", "AUTHOR", "RUNS", "CASES", *map(str.upper, evaluators)]
    table = [[*head, "COST/RECORD", "LAST RUN", "SUBJECT"]]
    for entry in log.entries:
        table.append(_row(log, entry, evaluators))
        table += [_sub_row(line, evaluators) for line in sub_lines(log, entry)]
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


def _app_table(log: FileLog) -> Iterator[str]:
    """Yield the lines of the table of an app: a row for each version, newest first."""
    rows = [["VERSION", "STATE", "COMMIT", "DATE", "AUTHOR", "EXAMPLES", "ACCURACY", "SUBJECT"]]
    for entry in log.entries:
        score = entry.measured.scores.get("accuracy")
        rows.append(
            [
                entry.name,
                entry.state or NOTHING,
                entry.commits[0][:8] if entry.commits else NOTHING,
                entry.time[:10] or NOTHING,
                replace_control_characters(entry.author) or NOTHING,
                f"{entry.measured.cases:,}" if entry.measured.cases else NOTHING,
                NOTHING if score is None else f"{score.mean:.3f}",
                _subject(entry),
            ]
        )
    yield from table(rows)
    notes = list(_notes(log))
    yield from ["", *notes] if notes else []


def series_scores(log: FileLog, entry: LogEntry) -> dict[str, float]:
    """Return a version's mean scores by evaluator.

    Results whose inputs differ from those at the version's commit are not included. If the log has
    results of several pipelines, or of both tests and pipeline runs, each name contains the source
    of the score: `label (demo, prompt tests)`.
    """
    if len(log.series) <= 1:
        return {name: score.mean for name, score in entry.measured.scores.items()}
    return {
        f"{name} ({_title(log, group)})": score.mean
        for series in log.series
        for group in entry.measured.own
        if (group.pipeline, group.kind) == series
        for name, score in group.scores.items()
    }


def sub_lines(log: FileLog, entry: LogEntry) -> Iterator[SubLine]:
    """Yield the parts of a version's results that have their own rows in the table.

    These parts are:
    - the results of each pipeline and type of run (pipeline run or test), if the log has more than
      one pipeline or type
    - repeated runs, if the scores of one of them differ from the scores in the version's row
    - the newest results whose inputs differ from those at the version's commit
    """
    several = len(log.series) > 1
    for group in entry.measured.own:
        counted = tuple(run for run in group.runs if run not in group.further)
        if several:
            yield SubLine(_title(log, group), group, counted, group.scores)
        repeats = [run for run in group.further if run.complete and run.scores]
        if repeats and any(_differs(group, run) for run in repeats):
            yield SubLine("measured again", group, group.further, repeats[-1].scores)
    for group in entry.measured.others[:OTHERS]:
        about = f"{_title(log, group)}: " if _is_mixed(log) else ""
        yield SubLine(f"{about}with {', '.join(group.differs)}", group, group.runs, group.scores)


def _differs(group: ResultGroup, run: ScoredRun) -> bool:
    """Return whether the scores of a run and of its group would look different in the table.

    Scores are compared as text with three decimals, as in the table.
    """
    group_scores = {name: f"{score.mean:.3f}" for name, score in group.scores.items()}
    return group_scores != {name: f"{score.mean:.3f}" for name, score in run.scores.items()}


def _is_mixed(log: FileLog) -> bool:
    """Return whether the results come from several pipelines, or from both tests and runs."""
    groups = (group for entry in log.entries for group in entry.measured.groups)
    return len({(group.pipeline, group.kind) for group in groups}) > 1


def _title(log: FileLog, group: ResultGroup) -> str:
    """Return the source of a group of results, such as `prompt tests`.

    If the log has several pipelines, the source starts with the name of the pipeline.
    """
    kind = KINDS.get(group.kind, group.kind)
    return (
        kind if len(log.pipelines) <= 1 else f"{replace_control_characters(group.pipeline)}, {kind}"
    )


def _evaluators(log: FileLog) -> list[str]:
    """Return the names of all evaluators with a score in the table."""
    names: dict[str, None] = {}
    for entry in log.entries:
        names |= dict.fromkeys(entry.measured.scores)
        for line in sub_lines(log, entry):
            names |= dict.fromkeys(line.scores)
    return list(names)


def _row(log: FileLog, entry: LogEntry, evaluators: list[str]) -> list[str]:
    measured = entry.measured
    commit = entry.commits[0][:8] if entry.commits else NOTHING
    cost = money(measured.cost_per_record) if measured.runs else NOTHING
    scores = measured.scores if len(log.series) <= 1 else {}
    return [
        replace_control_characters(entry.name),
        commit,
        entry.time[:10] or NOTHING,
        replace_control_characters(entry.author) or NOTHING,
        str(measured.runs),
        f"{measured.cases:,}",
        *_cells(scores, evaluators),
        cost,
        measured.latest.run_id if measured.latest else NOTHING,
        _subject(entry),
    ]


def _subject(entry: LogEntry) -> str:
    subject = "(not committed)" if entry.worktree else replace_control_characters(entry.subject)
    return subject if len(subject) <= SUBJECT else subject[: SUBJECT - 1] + "…"


def _sub_row(line: SubLine, evaluators: list[str]) -> list[str]:
    last = line.runs[-1].run_id if line.runs else NOTHING
    numbers = [str(len(line.runs)), "", *_cells(line.scores, evaluators), ""]
    return ["", "", "", "", *numbers, last, f"  {replace_control_characters(line.about)}"]


def _cells(scores: Mapping[str, MeanScore], evaluators: list[str]) -> list[str]:
    return [f"{scores[name].mean:.3f}" if name in scores else NOTHING for name in evaluators]


def _notes(log: FileLog) -> Iterator[str]:
    if hidden := log.total - len(log.entries):
        count = f"{hidden:,} of {log.total:,} versions are not shown"
        yield f"{count}; `--limit {log.total}` shows all."
    if others := sum(len(entry.measured.others[OTHERS:]) for entry in log.entries):
        yield f"{others:,} older results with other inputs are not shown; `--json` has all."
    incomplete = sum(entry.measured.runs - entry.measured.complete for entry in log.entries)
    if incomplete:
        yield f"Incomplete runs, which do not count in any score: {incomplete:,}."
    if log.shallow:
        yield (
            "The history is truncated (shallow clone): older versions are missing; "
            "run `git fetch --unshallow` to fetch them."
        )


def replace_control_characters(text: str) -> str:
    """Return the text with a replacement character for each unprintable character.

    The texts of a commit may contain control sequences for the terminal.
    """
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def log_document(log: FileLog) -> JsonObject:
    """Return the JSON document of `loom log`. A missing value is null."""
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
        "state": entry.state,
        "runs": measured.runs,
        "complete_runs": measured.complete,
        "cases": measured.cases,
        "scores": _means(measured.scores),
        "results": result_documents(measured),
        "cost_per_record": measured.cost_per_record,
        "pipelines": [*measured.pipelines],
        "latest_run": None
        if latest is None
        else {"run_id": latest.run_id, "uid": latest.uid, "started": latest.started},
    }


def result_documents(measured: StoredScores) -> list[Json]:
    """Return a version's groups of results as JSON.

    Results that were measured with the same inputs as in the version's commit come first.
    """
    return [_group(group) for group in measured.groups]


def _group(group: ResultGroup) -> JsonObject:
    differs: list[Json] = [*group.differs]
    further: list[Json] = [_scored_run(run) for run in group.further]
    return {
        "pipeline": group.pipeline,
        "kind": group.kind,
        "own": group.own,
        "differs": differs,
        "scores": _means(group.scores),
        "run": None if group.figure is None else _scored_run(group.figure),
        "further_runs": further,
        "runs": len(group.runs),
        "cases": group.cases,
        "cost_per_record": group.cost_per_record,
    }


def _scored_run(run: ScoredRun) -> JsonObject:
    return {
        "run_id": run.run_id,
        "uid": run.uid,
        "started": run.started,
        "commit": run.commit,
        "dirty": run.dirty,
        "complete": run.complete,
        "scores": _means(run.scores),
    }


def _means(scores: Mapping[str, MeanScore]) -> JsonObject:
    return {name: {"mean": score.mean, "n": score.n} for name, score in scores.items()}
