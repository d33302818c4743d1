"""A comparison as Markdown: for pull requests, job summaries, mails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loomgit.report.comparison import (
    HEADER,
    MARKS,
    case,
    changed_parts,
    counted,
    listed,
    remarks,
    revision,
    row,
    sentence,
    shift,
    shown,
    versions,
    word,
)
from loomgit.report.text import money, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.comparison import CaseChange, Comparison, Metric, PipelineComparison


MARKUP = re.compile(r"[\\`*_\[\]|#~!$]|^[-+](?=\s)")
NUMBER = re.compile(r"^(\d+)([.)])(?=\s)")
LINKED = re.compile(r"[@#](?=\S)|:(?=//|[a-z_+-][a-z0-9_+-]*:)|\b[wW]{3}(?=\.)")


def markdown(comparison: Comparison, *, cases: int = 20) -> str:
    """The whole comparison; of the cases that moved `cases` each way."""
    heading = f"## {MARKS[comparison.outcome]} Loom: {escape(sentence(comparison))}"
    return "\n".join([heading, "", *body(comparison, cases=cases)]) + "\n"


def body(comparison: Comparison, *, cases: int = 20) -> Iterator[str]:
    """The lines below the heading."""
    yield f"{escape(revision(comparison.base))} → {escape(revision(comparison.head))}"
    for pipeline in comparison.pipelines:
        yield ""
        yield from section(pipeline, cases)
    for note in comparison.notes:
        yield ""
        yield escape(note)


def section(found: PipelineComparison, cases: int) -> Iterator[str]:
    """One pipeline; of the cases that moved `cases` each way."""
    yield f"### {escape(found.pipeline)}: {word(found)}"
    if found.base is not None and found.head is not None and found.metrics:
        yield ""
        yield escape(versions(found.base, found.head))
    if found.inputs:
        yield ""
        yield escape(f"Changed: {changed_parts(found)}")
    if found.metrics:
        yield ""
        yield from grid([HEADER, *map(row, found.metrics)])
        yield from _per_thousand(found.metrics)
    notes = list(remarks(found))
    notes += [f"{m.name}: {m.reason}" for m in found.metrics if m.reason]
    for what, names in (
        ("not comparable, since their input or expectation differs", found.changed),
        ("removed", found.removed),
        ("new", found.added),
    ):
        if names:
            notes.append(f"{counted(len(names))} {what}: {listed(names)}")
    notes += [f"accepted: {line}" for line in found.accepted]
    notes += found.notes
    if notes:
        yield ""
        yield from (f"- {escape(note)}" for note in notes)
    for way, changes in (("worse", found.worse), ("better", found.better)):
        if changes:
            yield ""
            yield from details(f"{counted(len(changes))} got {way}", _cases(changes, cases))


def _per_thousand(metrics: Sequence[Metric]) -> Iterator[str]:
    """What 1,000 records cost and how long their calls take together, before and now."""
    parts = []
    for metric in metrics:
        if metric.kind == "score" or metric.base is None or metric.head is None:
            continue
        show = money if metric.kind == "cost" else seconds
        before, now = show(1000 * metric.base), show(1000 * metric.head)
        parts.append(f"{metric.kind} {before} → {now} ({shift(metric, metric.delta)})")
    if parts:
        yield ""
        yield escape(f"Per 1,000 records: {', '.join(parts)}")


def _cases(changes: Sequence[CaseChange], most: int) -> list[str]:
    lines = [f"- {escape(case(change))}" for change in changes[:most]]
    if len(changes) > most:
        lines.append(f"- and {len(changes) - most:,} more")
    return lines


def details(summary: str, lines: Sequence[str]) -> Iterator[str]:
    """A block that opens on a click."""
    yield f"<details><summary>{escape(summary)}</summary>"
    yield ""
    yield from lines
    yield ""
    yield "</details>"


def grid(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table; the first row is its head."""
    head, *body = rows
    yield f"| {' | '.join(escape(cell) for cell in head)} |"
    yield f"|{'---|' * len(head)}"
    for cells in body:
        yield f"| {' | '.join(escape(cell) for cell in cells)} |"


def escape(text: str) -> str:
    """Text that means itself: what comes from data must not become markup, a link or a mention."""
    plain = shown(" ".join(text.split()))
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    plain = NUMBER.sub(r"\1\\\2", MARKUP.sub(r"\\\g<0>", plain))
    # GitHub makes links of these even where a backslash stands before them.
    return LINKED.sub("\\g<0>\u200b", plain)
