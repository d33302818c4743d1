"""Render a comparison as text for the terminal and as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loomgit.domain.values import to_plain
from loomgit.report.signs import BAD, OK
from loomgit.report.text import money, title

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.comparison import (
        CaseChange,
        Comparison,
        Metric,
        Outcome,
        PipelineComparison,
        Revision,
        Side,
    )
    from loomgit.domain.values import JsonObject

SCHEMA_VERSION = 1
OUTCOME_TEXT: dict[Outcome, str] = {
    "unchanged": "unchanged",
    "improved": "improved",
    "no_worse": "no worse",
    "degraded": "degraded",
    "inconclusive": "inconclusive",
    "not_comparable": "not comparable",
}
MARKS: dict[Outcome, str] = {
    "unchanged": OK,
    "improved": OK,
    "no_worse": OK,
    "degraded": BAD,
    "inconclusive": "⚠️",
    "not_comparable": "⚠️",
}
SHOWN_CASES = 5
HEADER = ("METRIC", "BASE", "HEAD", "Δ", "90% INTERVAL", "n", "p", "VERDICT")


def table(comparison: Comparison, *, explain: bool = False) -> Iterator[str]:
    """Yield the lines of a comparison. If `explain` is true, list all inputs that differ."""
    return map(escape_control_characters, _lines(comparison, explain=explain))


def escape_control_characters(line: str) -> str:
    """Return the line with an escape sequence for each unprintable character.

    Data can therefore neither add lines nor send control characters to the terminal.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def _lines(comparison: Comparison, *, explain: bool) -> Iterator[str]:
    yield f"Base: {revision(comparison.base)}"
    yield f"Head: {revision(comparison.head)}"
    for pipeline in comparison.pipelines:
        yield ""
        yield from _pipeline(pipeline, explain=explain)
    for note in comparison.notes:
        yield ""
        yield note
    yield ""
    yield f"{MARKS[comparison.outcome]} {sentence(comparison)}"


def revision(which: Revision) -> str:
    """Return the name and the commit of a revision: `merge base with main (1a2b3c4d)`."""
    return f"{which.name or 'none'} ({which.commit[:8]})" if which.commit else which.name or "none"


def sentence(comparison: Comparison) -> str:
    """Return the verdict of a comparison in one line, with the pipelines that caused it."""
    compared = [result for result in comparison.pipelines if not result.new]
    if not compared:
        new = ", ".join(result.title for result in comparison.pipelines)
        return f"Nothing to compare{f': {new} is new' if new else ''}"
    count = counted(len({result.pipeline for result in compared}), "pipeline")
    if comparison.outcome == "unchanged":
        return f"Unchanged: no relevant difference in {count}"
    accepted = [result.title for result in compared if result.is_accepted_loss]
    if accepted and comparison.outcome in ("no_worse", "improved"):
        return f"Degraded, and accepted: {', '.join(accepted)}"
    moved = any(metric.gated and metric.delta for result in compared for metric in result.metrics)
    if comparison.outcome == "no_worse" and not moved:
        return f"No worse: every case scores as before in {count}"
    names = [result.title for result in compared if result.outcome == comparison.outcome]
    return f"{OUTCOME_TEXT[comparison.outcome].capitalize()}: {', '.join(names)}"


def verdict_text(result: PipelineComparison) -> str:
    """Return the verdict on one pipeline.

    The verdict is `new` if the baseline does not have the pipeline, and `degraded, and accepted` if
    a person accepted the degradation.
    """
    if result.is_accepted_loss:
        return "degraded, and accepted"
    return "new" if result.new else OUTCOME_TEXT[result.outcome]


def _pipeline(result: PipelineComparison, *, explain: bool) -> Iterator[str]:
    yield f"{result.title}: {verdict_text(result)}"
    if result.base is not None and result.head is not None and result.metrics:
        yield f"  {versions(result.base, result.head)}"
    if result.inputs and not explain:
        yield f"  changed: {changed_parts(result)}"
    if explain:
        yield from (f"  differs: {line}" for line in result.inputs or ("nothing",))
    yield from _changed_definitions(result)
    if result.metrics:
        yield from (
            f"  {line}" for line in align_columns([HEADER, *map(metric_cells, result.metrics)])
        )
    yield from (f"  {metric.name}: {metric.reason}" for metric in result.metrics if metric.reason)
    for name, cases in (("removed", result.removed), ("new", result.added)):
        if cases:
            yield f"  {counted(len(cases), f'{name} case')}, not in the gate: {listed(cases)}"
    for way, changes in (("worse", result.worse), ("better", result.better)):
        yield from (f"  {way}: {render_case(change)}" for change in changes[:SHOWN_CASES])
        yield from _more(len(changes), f"cases {way}")
    for metric in result.metrics:
        if metric.gated and metric.outcome == "inconclusive" and metric.detects is not None:
            least = f"drops of {metric.detects:.3f}"
            if metric.kind != "score":
                least = f"rises of {metric.detects:.1%}"
            yield f"  {metric.name}: {case_count(metric)} can detect {least} or more"
    yield from (f"  accepted: {line}" for line in result.accepted)
    yield from (f"  note: {note}" for note in result.notes)


def remarks(result: PipelineComparison) -> Iterator[str]:
    """Yield a line for each evaluation setting that differs, and for each changed limit.

    The evaluation settings are the evaluators, the quality gate and the expected fields.
    """
    for difference in result.differs:
        yield f"not comparable: {difference}"
    for difference in result.requestioned:
        yield f"evaluators differ, so the head's evaluators judge both sides: {difference}"
    yield from (f"changed limit: {line}" for line in result.looser)


def changed_parts(result: PipelineComparison) -> str:
    """Return the names of the files and settings that differ between the sides, as text."""
    return listed([line.partition(": ")[0] for line in result.inputs])


def _changed_definitions(result: PipelineComparison) -> Iterator[str]:
    """Yield the lines of `remarks`, and a line for each case that differs.

    A case differs if its input or its expected output is not the same on both sides.
    """
    yield from (f"  {line}" for line in remarks(result))
    for name in result.changed[:SHOWN_CASES]:
        yield f"  not comparable: case {name}: its input or expectation differs"
    yield from _more(len(result.changed), "such cases")


def counted(count: int, noun: str = "case") -> str:
    """Return a number and its noun, such as `1 case` or `1,500 cases`."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def case_count(metric: Metric) -> str:
    """Return the number of a metric's cases as text."""
    return counted(metric.cases)


def listed(names: Sequence[str]) -> str:
    """Return the first SHOWN_CASES names, and the number of the remaining names, as text."""
    more = f" and {len(names) - SHOWN_CASES:,} more" if len(names) > SHOWN_CASES else ""
    return f"{', '.join(names[:SHOWN_CASES])}{more}"


def _more(count: int, what: str) -> Iterator[str]:
    if count > SHOWN_CASES:
        yield f"    and {count - SHOWN_CASES:,} more {what}"


def versions(base: Side, head: Side) -> str:
    """Return the versions of the prompt, the model and the program on both sides, as text.

    An example is `prompt v2.3.0 -> v2.3.0+1.g1a2b3c4d, model gpt-4o-mini`.
    """
    parts = []
    for word, old, new in (
        ("prompt", base.prompt_version, head.prompt_version),
        ("model", base.model, head.model),
        ("program", base.program, head.program),
    ):
        if old or new:
            change = f"{old or 'none'} -> {new or 'none'}"
            parts.append(f"{word} {new if old == new else change}")
    return ", ".join(parts)


def render_case(change: CaseChange) -> str:
    """Return the scores of a case: `review 17  1.00 -> 0.00 (label 1.00 -> 0.00)`."""
    parts = ", ".join(
        f"{name} {before:.2f} -> {after:.2f}"
        for name, (before, after) in change.scores.items()
        if before != after
    )
    return f"{change.id}  {change.base:.2f} -> {change.head:.2f} ({parts})"


def metric_cells(metric: Metric) -> tuple[str, ...]:
    """Return the cells of a metric's row in the table of a comparison."""
    name = title(metric.name) if metric.kind == "score" else f"{metric.kind} a case"
    verdict = OUTCOME_TEXT[metric.outcome] if metric.gated else f"({OUTCOME_TEXT[metric.outcome]})"
    if metric.outcome == "not_comparable" or metric.delta is None:
        return (name, "-", "-", "-", "-", "-", "-", verdict)
    return (
        name,
        amount(metric, metric.base),
        amount(metric, metric.head),
        format_change(metric, metric.delta),
        f"[{format_change(metric, metric.low)}, {format_change(metric, metric.high)}]",
        f"{metric.cases:,}"
        + (f"x{metric.samples / metric.cases:.3g}" if metric.samples > metric.cases else ""),
        "-" if metric.p is None else f"{metric.p:.3f}",
        verdict,
    )


def amount(metric: Metric, value: float | None) -> str:
    """Return a metric's mean on one side as text: a score, a cost in USD or a latency."""
    if value is None:
        return "-"
    if metric.kind == "cost":
        return money(value)
    return (
        f"{value:.2f}s"
        if metric.kind == "latency" and value >= 0.1
        else (f"{value * 1000:.2g}ms" if metric.kind == "latency" else f"{value:.3f}")
    )


def format_change(metric: Metric, value: float | None) -> str:
    """Return a change as text: a difference for scores, a percentage for cost and latency."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:+.3f}" if metric.kind == "score" else f"{value:+.1%}"


def align_columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield each row as a line. Each column is as wide as its longest cell."""
    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    for line in rows:
        yield "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()


def document(comparison: Comparison, *, blocked: bool) -> JsonObject:
    """Return the comparison as a JSON object. Numbers that are not finite become null."""
    return {
        "schema_version": SCHEMA_VERSION,
        "outcome": comparison.outcome,
        "blocked": blocked,
        "missing_baseline": comparison.missing_baseline,
        "base": {"name": comparison.base.name, "commit": comparison.base.commit},
        "head": {"name": comparison.head.name, "commit": comparison.head.commit},
        "pipelines": [_object(pipeline) for pipeline in comparison.pipelines],
        "notes": list(comparison.notes),
    }


def _object(result: PipelineComparison) -> JsonObject:
    plain: JsonObject = to_plain(result)
    for name in ("worse", "better"):
        changes = getattr(result, name)
        plain[name] = [
            {
                "id": change.id,
                "base": change.base,
                "head": change.head,
                "delta": change.delta,
                "scores": {n: {"base": a, "head": b} for n, (a, b) in change.scores.items()},
            }
            for change in changes
        ]
    return plain
