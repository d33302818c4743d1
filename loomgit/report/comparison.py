"""A comparison as people read it in a terminal, and as JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loomgit.domain.values import to_plain
from loomgit.report.text import BAD, OK, money, title

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
WORDS: dict[Outcome, str] = {
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
    """The whole comparison; with `explain` the inputs that differ."""
    return map(shown, _lines(comparison, explain=explain))


def shown(line: str) -> str:
    """A line that stays one, whatever stands in the data: no control character reaches a
    terminal."""
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
    """`merge base with main (1a2b3c4d)`."""
    return f"{which.name or 'none'} ({which.commit[:8]})" if which.commit else which.name or "none"


def sentence(comparison: Comparison) -> str:
    """The verdict in one line, with the pipelines that brought it about."""
    compared = [found for found in comparison.pipelines if not found.new]
    if not compared:
        new = ", ".join(found.pipeline for found in comparison.pipelines)
        return f"Nothing is compared{f': {new} is new' if new else ''}"
    count = f"{len(compared)} pipeline{'s' if len(compared) != 1 else ''}"
    if comparison.outcome == "unchanged":
        return f"Unchanged: nothing differs that matters in {count}"
    accepted = [found.pipeline for found in compared if found.is_accepted_loss]
    if accepted and comparison.outcome in ("no_worse", "improved"):
        return f"Degraded, and accepted: {', '.join(accepted)}"
    moved = any(metric.gated and metric.delta for found in compared for metric in found.metrics)
    if comparison.outcome == "no_worse" and not moved:
        return f"No worse: every case scores as before in {count}"
    names = [found.pipeline for found in compared if found.outcome == comparison.outcome]
    return f"{WORDS[comparison.outcome].capitalize()}: {', '.join(names)}"


def word(found: PipelineComparison) -> str:
    """The verdict on a pipeline, or that it is new; an accepted loss is still called one."""
    if found.is_accepted_loss:
        return "degraded, and accepted"
    return "new" if found.new else WORDS[found.outcome]


def _pipeline(found: PipelineComparison, *, explain: bool) -> Iterator[str]:
    yield f"{found.pipeline}: {word(found)}"
    if found.base is not None and found.head is not None and found.metrics:
        yield f"  {versions(found.base, found.head)}"
    if found.inputs and not explain:
        yield f"  changed: {changed_parts(found)}"
    if explain:
        yield from (f"  differs: {line}" for line in found.inputs or ("nothing",))
    yield from _changed(found)
    if found.metrics:
        yield from (f"  {line}" for line in aligned([HEADER, *map(row, found.metrics)]))
    yield from (f"  {metric.name}: {metric.reason}" for metric in found.metrics if metric.reason)
    for name, cases in (("removed", found.removed), ("new", found.added)):
        if cases:
            yield f"  {counted(len(cases), f'{name} case')}, not in the gate: {listed(cases)}"
    for way, changes in (("worse", found.worse), ("better", found.better)):
        yield from (f"  {way}: {case(change)}" for change in changes[:SHOWN_CASES])
        yield from _more(len(changes), f"cases {way}")
    for metric in found.metrics:
        if metric.gated and metric.outcome == "inconclusive" and metric.detects is not None:
            least = f"drops of {metric.detects:.3f}"
            if metric.kind != "score":
                least = f"rises of {metric.detects:.1%}"
            yield f"  {metric.name}: {len_of(metric)} would show {least} or more"
    yield from (f"  accepted: {line}" for line in found.accepted)
    yield from (f"  note: {note}" for note in found.notes)


def remarks(found: PipelineComparison) -> Iterator[str]:
    """How the change has changed the question and the limits, a line each."""
    for difference in found.differs:
        yield f"not comparable: {difference}"
    for difference in found.requestioned:
        yield f"evaluators differ, both sides are judged by the head's: {difference}"
    yield from (f"changed limit: {line}" for line in found.looser)


def changed_parts(found: PipelineComparison) -> str:
    """The files and settings that differ, by name: what a verdict may come from."""
    return listed([line.partition(": ")[0] for line in found.inputs])


def _changed(found: PipelineComparison) -> Iterator[str]:
    """How the change has changed the question, the limits and the cases."""
    yield from (f"  {line}" for line in remarks(found))
    for name in found.changed[:SHOWN_CASES]:
        yield f"  not comparable: case {name}: its input or what is expected of it differs"
    yield from _more(len(found.changed), "such cases")


def counted(count: int, noun: str = "case") -> str:
    """`1 case`, `1,500 cases`."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def len_of(metric: Metric) -> str:
    """The cases behind a metric."""
    return counted(metric.cases)


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - SHOWN_CASES:,} more" if len(names) > SHOWN_CASES else ""
    return f"{', '.join(names[:SHOWN_CASES])}{more}"


def _more(count: int, what: str) -> Iterator[str]:
    if count > SHOWN_CASES:
        yield f"    and {count - SHOWN_CASES:,} more {what}"


def versions(base: Side, head: Side) -> str:
    """What was compared with what: `prompt v2.3.0 -> v2.3.0+1.g1a2b3c4d, model gpt-4o-mini`."""
    prompt = f"prompt {base.prompt_version} -> {head.prompt_version}"
    if base.prompt_version == head.prompt_version:
        prompt = f"prompt {head.prompt_version}"
    model = (
        f"model {base.model} -> {head.model}" if base.model != head.model else f"model {head.model}"
    )
    return f"{prompt}, {model}"


def case(change: CaseChange) -> str:
    """`review 17  1.00 -> 0.00 (label 1.00 -> 0.00)`."""
    parts = ", ".join(
        f"{name} {one:.2f} -> {two:.2f}" for name, (one, two) in change.scores.items() if one != two
    )
    return f"{change.id}  {change.base:.2f} -> {change.head:.2f} ({parts})"


def row(metric: Metric) -> tuple[str, ...]:
    """A metric as the cells of its line."""
    name = title(metric.name) if metric.kind == "score" else f"{metric.kind} a case"
    verdict = WORDS[metric.outcome] if metric.gated else f"({WORDS[metric.outcome]})"
    if metric.outcome == "not_comparable" or metric.delta is None:
        return (name, "-", "-", "-", "-", "-", "-", verdict)
    return (
        name,
        amount(metric, metric.base),
        amount(metric, metric.head),
        shift(metric, metric.delta),
        f"[{shift(metric, metric.low)}, {shift(metric, metric.high)}]",
        f"{metric.cases:,}"
        + (f"x{metric.samples / metric.cases:.3g}" if metric.samples > metric.cases else ""),
        "-" if metric.p is None else f"{metric.p:.3f}",
        verdict,
    )


def amount(metric: Metric, value: float | None) -> str:
    """A side's mean with its unit."""
    if value is None:
        return "-"
    if metric.kind == "cost":
        return money(value)
    return (
        f"{value:.2f}s"
        if metric.kind == "latency" and value >= 0.1
        else (f"{value * 1000:.2g}ms" if metric.kind == "latency" else f"{value:.3f}")
    )


def shift(metric: Metric, value: float | None) -> str:
    """A difference of scores as points, of cost and latency as a share."""
    if value is None:
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:+.3f}" if metric.kind == "score" else f"{value:+.1%}"


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows as columns of equal width."""
    widths = [max(len(line[column]) for line in rows) for column in range(len(rows[0]))]
    for line in rows:
        yield "  ".join(
            cell.ljust(width) for cell, width in zip(line, widths, strict=True)
        ).rstrip()


def document(comparison: Comparison, *, blocked: bool) -> JsonObject:
    """The comparison as one JSON object; numbers that are not finite are null."""
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


def _object(found: PipelineComparison) -> JsonObject:
    plain: JsonObject = to_plain(found)
    for name in ("worse", "better"):
        changes = getattr(found, name)
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
