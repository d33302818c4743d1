"""Render a comparison as Markdown for pull requests, job summaries and mails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loomgit.report.comparison import (
    HEADER,
    MARKS,
    changed_parts,
    counted,
    escape_control_characters,
    format_change,
    listed,
    metric_cells,
    remarks,
    render_case,
    revision,
    sentence,
    verdict_text,
    versions,
)
from loomgit.report.text import money, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.comparison import CaseChange, Comparison, Metric, PipelineComparison


MARKUP = re.compile(r"[\\`*_\[\]|#~!$]|^[-+](?=\s)")
NUMBER = re.compile(r"^(\d+)([.)])(?=\s)")
LINKED = re.compile(r"[@#](?=\S)|:(?=//|[a-z_+-][a-z0-9_+-]*:)|\b[wW]{3}(?=\.)")


def markdown(comparison: Comparison, *, cases: int = 20) -> str:
    """Return the whole comparison as Markdown.

    For each pipeline, the list of cases that got worse has at most `cases` items. The list of cases
    that got better has the same limit.
    """
    heading = f"## {MARKS[comparison.outcome]} Loom: {escape(sentence(comparison))}"
    return "\n".join([heading, "", *body(comparison, cases=cases)]) + "\n"


def body(comparison: Comparison, *, cases: int = 20) -> Iterator[str]:
    """Yield the Markdown lines of a comparison, without the heading."""
    yield f"{escape(revision(comparison.base))} → {escape(revision(comparison.head))}"
    for pipeline in comparison.pipelines:
        yield ""
        yield from section(pipeline, cases)
    for note in comparison.notes:
        yield ""
        yield escape(note)


def section(result: PipelineComparison, cases: int) -> Iterator[str]:
    """Yield the Markdown lines of one pipeline. `cases` has the same meaning as in `markdown`."""
    yield f"### {escape(result.title)}: {verdict_text(result)}"
    if result.base is not None and result.head is not None and result.metrics:
        yield ""
        yield escape(versions(result.base, result.head))
    if result.inputs:
        yield ""
        yield escape(f"Changed: {changed_parts(result)}")
    if result.metrics:
        yield ""
        yield from render_table([HEADER, *map(metric_cells, result.metrics)])
        yield from _per_thousand(result.metrics)
    notes = list(remarks(result))
    notes += [f"{m.name}: {m.reason}" for m in result.metrics if m.reason]
    for what, names in (
        ("not comparable, since their input or expectation differs", result.changed),
        ("removed", result.removed),
        ("new", result.added),
    ):
        if names:
            notes.append(f"{counted(len(names))} {what}: {listed(names)}")
    notes += [f"accepted: {line}" for line in result.accepted]
    notes += result.notes
    if notes:
        yield ""
        yield from (f"- {escape(note)}" for note in notes)
    for way, changes in (("worse", result.worse), ("better", result.better)):
        if changes:
            yield ""
            yield from details(f"{counted(len(changes))} got {way}", _cases(changes, cases))


def _per_thousand(metrics: Sequence[Metric]) -> Iterator[str]:
    """Yield a line with the cost and the total latency of 1,000 records on both sides."""
    parts = []
    for metric in metrics:
        if metric.kind == "score" or metric.base is None or metric.head is None:
            continue
        show = money if metric.kind == "cost" else seconds
        before, now = show(1000 * metric.base), show(1000 * metric.head)
        parts.append(f"{metric.kind} {before} → {now} ({format_change(metric, metric.delta)})")
    if parts:
        yield ""
        yield escape(f"Per 1,000 records: {', '.join(parts)}")


def _cases(changes: Sequence[CaseChange], most: int) -> list[str]:
    lines = [f"- {escape(render_case(change))}" for change in changes[:most]]
    if len(changes) > most:
        lines.append(f"- and {len(changes) - most:,} more")
    return lines


def details(summary: str, lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines of a collapsed block, which a click opens."""
    yield f"<details><summary>{escape(summary)}</summary>"
    yield ""
    yield from lines
    yield ""
    yield "</details>"


def render_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table. The first row is the header."""
    head, *body = rows
    yield f"| {' | '.join(escape(cell) for cell in head)} |"
    yield f"|{'---|' * len(head)}"
    for cells in body:
        yield f"| {' | '.join(escape(cell) for cell in cells)} |"


def escape(text: str) -> str:
    """Return the text with escapes, so that data cannot become markup, a link or a mention."""
    plain = escape_control_characters(" ".join(text.split()))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = NUMBER.sub(r"\1\\\2", MARKUP.sub(r"\\\g<0>", plain))
    # GitHub creates a link from these characters and the text after them. A backslash does not
    # prevent this, so add an invisible space after the characters.
    return LINKED.sub("\\g<0>\u200b", plain)
