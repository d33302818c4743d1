"""The log of a file as a table for the terminal and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loomgit.report.text import money

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.domain.log import FileLog, LogEntry, MeanScore, Measured, ResultGroup, ScoredRun
    from loomgit.domain.values import Json, JsonObject

SUBJECT = 60  # characters of a commit's subject that are shown
OTHERS = 3  # results with other inputs that a version shows, the newest
NOTHING = "-"
KINDS = {"pipeline": "pipeline runs", "test": "prompt tests"}


class SubLine(NamedTuple):
    """A part of a version's results and what it is; `scores` by evaluator."""

    about: str
    group: ResultGroup
    runs: tuple[ScoredRun, ...]
    scores: Mapping[str, MeanScore]


def log_table(log: FileLog) -> Iterator[str]:
    """A line for each version, newest first, with lines for results that are apart, and notes."""
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


def series_scores(log: FileLog, entry: LogEntry) -> dict[str, float]:
    """A version's own scores by evaluator; with several pipelines or kinds of runs in the log each
    has names of its own (`label (demo, prompt tests)`)."""
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
    """The parts of a version's results: by pipeline and kind where the log has several, further
    runs that have other scores, and the newest results with other inputs."""
    several = len(log.series) > 1
    for group in entry.measured.own:
        counted = tuple(run for run in group.runs if run not in group.further)
        if several:
            yield SubLine(_title(log, group), group, counted, group.scores)
        again = [run for run in group.further if run.complete and run.scores]
        if again and any(_moved(group, run) for run in again):
            yield SubLine("measured again", group, group.further, again[-1].scores)
    for group in entry.measured.others[:OTHERS]:
        about = f"{_title(log, group)}: " if _is_mixed(log) else ""
        yield SubLine(f"{about}with {', '.join(group.differs)}", group, group.runs, group.scores)


def _moved(group: ResultGroup, run: ScoredRun) -> bool:
    """Whether a run's scores are shown with other digits than those that count."""
    shown = {name: f"{score.mean:.3f}" for name, score in group.scores.items()}
    return shown != {name: f"{score.mean:.3f}" for name, score in run.scores.items()}


def _is_mixed(log: FileLog) -> bool:
    """Whether the results are of several pipelines or kinds of runs."""
    groups = (group for entry in log.entries for group in entry.measured.groups)
    return len({(group.pipeline, group.kind) for group in groups}) > 1


def _title(log: FileLog, group: ResultGroup) -> str:
    """`prompt tests`, and before it the pipeline where the log has several."""
    kind = KINDS.get(group.kind, group.kind)
    return kind if len(log.pipelines) <= 1 else f"{plain(group.pipeline)}, {kind}"


def _evaluators(log: FileLog) -> list[str]:
    """The evaluators of all results that are shown."""
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
    subject = "(not committed)" if entry.worktree else plain(entry.subject)
    return [
        plain(entry.name),
        commit,
        entry.time[:10] or NOTHING,
        plain(entry.author) or NOTHING,
        str(measured.runs),
        f"{measured.cases:,}",
        *_cells(scores, evaluators),
        cost,
        measured.latest.run_id if measured.latest else NOTHING,
        subject if len(subject) <= SUBJECT else subject[: SUBJECT - 1] + "…",
    ]


def _sub_row(line: SubLine, evaluators: list[str]) -> list[str]:
    last = line.runs[-1].run_id if line.runs else NOTHING
    numbers = [str(len(line.runs)), "", *_cells(line.scores, evaluators), ""]
    return ["", "", "", "", *numbers, last, f"  {plain(line.about)}"]


def _cells(scores: Mapping[str, MeanScore], evaluators: list[str]) -> list[str]:
    return [f"{scores[name].mean:.3f}" if name in scores else NOTHING for name in evaluators]


def _notes(log: FileLog) -> Iterator[str]:
    if hidden := log.total - len(log.entries):
        left = f"{hidden:,} of {log.total:,} versions are not shown"
        yield f"{left}; `--limit {log.total}` shows all."
    if others := sum(len(entry.measured.others[OTHERS:]) for entry in log.entries):
        yield f"Older results with other inputs that are not shown: {others:,}; `--json` has all."
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
        "scores": _means(measured.scores),
        "results": result_documents(measured),
        "cost_per_record": measured.cost_per_record,
        "pipelines": [*measured.pipelines],
        "latest_run": None
        if latest is None
        else {"run_id": latest.run_id, "uid": latest.uid, "started": latest.started},
    }


def result_documents(measured: Measured) -> list[Json]:
    """The groups of a version's results as JSON: the version's own first."""
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
