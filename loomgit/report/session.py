"""A session of prompt tests as people read it: tables for pytest, the mission's lines for
`loom test`, JSON, Markdown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.comparison import Metric
from loomgit.domain.samples import Check, Verdict
from loomgit.domain.values import to_plain
from loomgit.report.comparison import WORDS, aligned, shift
from loomgit.report.markdown import escape, grid
from loomgit.report.text import BAD, OK, money, named, title

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


HEADER = ("SCORE", "MEAN", "90% INTERVAL", "n", "Δ BASELINE", "VERDICT")
MARKS: dict[Verdict, str] = {
    "pass": OK,
    "fail": BAD,
    "error": BAD,
    "inconclusive": "⚠️",
    "unverified": "⚠️",
}
TITLES = {
    "unit": "Unit Tests",
    "distributional": "Distributional Tests",
    "integration": "Integration Tests",
    "python": "Python Tests",
}


class Score(Struct, frozen=True):
    """One evaluator's mean over all samples with its 90 % interval, and how it moved."""

    name: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    moved: Metric | None = None


class Line(Struct, frozen=True):
    """What a report shows of one test; `blocks` says that it makes the session fail."""

    kind: str
    name: str
    verdict: Verdict
    score: float | None = None
    message: str = ""
    checks: tuple[Check, ...] = ()
    blocks: bool = False


class PipelineTable(Struct, frozen=True):
    """One pipeline's tests and scores in a session. `reused` samples came from earlier runs,
    `cached` replies from the cache; `cost` in USD, None where a price is unknown. `unanswered`
    calls had no reply, and may have been charged."""

    pipeline: str
    version: str | None
    lines: tuple[Line, ...]
    scores: tuple[Score, ...]
    note: str = ""
    calls: int = 0
    reused: int = 0
    cached: int = 0
    cost: float | None = 0.0
    unanswered: int = 0


def session_lines(tables: Sequence[PipelineTable]) -> Iterator[str]:
    """The tables that close a session."""
    for number, table in enumerate(tables):
        if number:
            yield ""
        yield f"{named(table.pipeline, table.version)}: {counts(table)}"
        if table.scores:
            yield from (f"  {line}" for line in aligned([HEADER, *map(_row, table.scores)]))
        yield f"  {spent(table)}"
        if table.note:
            yield f"  {table.note}"
        for line in table.lines:
            if line.verdict in ("unverified", "inconclusive") and line.message:
                yield f"  {line.verdict}: {line.kind}::{line.name}: {_first(line.message)}"
            for check in line.checks:
                if check.warns:
                    note = check.note.removeprefix("warning: ")
                    yield f"  warning: {line.kind}::{line.name}: {check.text}: {note}"


def counts(table: PipelineTable) -> str:
    """`7 tests, 6 pass, 1 fail`."""
    found: dict[str, int] = {}
    for line in table.lines:
        found[line.verdict] = found.get(line.verdict, 0) + 1
    total = len(table.lines)
    parts = ", ".join(f"{count} {verdict}" for verdict, count in found.items())
    return f"{total} test{'s' if total != 1 else ''}, {parts}"


def spent(table: PipelineTable) -> str:
    """`cost $0.02, 120 calls, 30 replies cached, 150 samples of earlier runs`."""
    parts = [f"cost {money(table.cost)}", f"{table.calls:,} model calls"]
    if table.unanswered:
        parts.append(f"{table.unanswered:,} calls without a reply (they may have been charged)")
    if table.cached:
        parts.append(f"{table.cached:,} replies from the cache")
    if table.reused:
        parts.append(f"{table.reused:,} samples of earlier runs")
    return ", ".join(parts)


def _row(score: Score) -> tuple[str, ...]:
    mean = "-" if score.mean is None else f"{score.mean:.3f}"
    interval = "-" if score.low is None else f"[{score.low:.3f}, {score.high:.3f}]"
    moved = score.moved
    if moved is None or moved.delta is None:
        verdict = WORDS[moved.outcome] if moved is not None else "-"
        return (title(score.name), mean, interval, f"{score.n:,}", "-", verdict)
    return (
        title(score.name),
        mean,
        interval,
        f"{score.n:,}",
        shift(moved, moved.delta),
        WORDS[moved.outcome],
    )


def mission_lines(tables: Sequence[PipelineTable], stopped: str = "") -> Iterator[str]:
    """The lines of `loom test`: one an assertion, the closing count counts them; `stopped` says
    what of the tests did not run."""
    found: list[tuple[Verdict, bool]] = []
    for table in tables:
        yield f"Running tests for: {named(table.pipeline, table.version)}"
        for kind, heading in TITLES.items():
            lines = [line for line in table.lines if line.kind == kind]
            if not lines:
                continue
            yield ""
            yield f"{heading}:"
            for line in lines:
                for mark, text, verdict in _assertions(line):
                    yield f"  {mark} {text}"
                    found.append((verdict, line.blocks))
        yield ""
    yield _closing(found, whole=not stopped) + (f"; {stopped}" if stopped else "")


def _closing(found: Sequence[tuple[Verdict, bool]], *, whole: bool) -> str:
    """`All tests passed (7/7)`, or how many did not, and in which way."""
    verdicts = [verdict for verdict, _ in found]
    total, good = len(verdicts), verdicts.count("pass")
    if good == total and whole:
        return f"All tests passed ({good}/{total})" if total else "No tests"
    failed = sum(verdict != "pass" and blocks for verdict, blocks in found)
    open_ = [v for v, blocks in found if not blocks and v != "pass"]
    rest = "".join(f", {open_.count(v)} {v}" for v in dict.fromkeys(open_))
    head = f"{failed} of {total} tests failed" if failed else "No test failed"
    return f"{head} ({good}/{total} passed{rest})"


def _assertions(line: Line) -> Iterator[tuple[str, str, Verdict]]:
    """A test's lines: a unit or integration test is one, a distributional one has its checks."""
    if line.kind != "distributional" or not line.checks:
        passed = line.verdict == "pass"
        score = (
            ""
            if line.score is None or line.kind == "integration"
            else f" (score: {line.score:.2f})"
        )
        why = "" if passed else f": {_why(line)}"
        yield MARKS[line.verdict], f"{line.name}{score}{why}", line.verdict
        return
    for check in line.checks:
        actual = f" (actual: {check.actual})" if check.actual else ""
        weak = f" [weak {check.verdict}]" if check.weak else ""
        passed = check.verdict == "pass"
        note = f": {check.note}" if check.note and not passed else ""
        mark = "⚠️" if check.warns and passed else MARKS[check.verdict]
        yield mark, f"{check.text}{actual}{weak}{note}", check.verdict


def _why(line: Line) -> str:
    bad = [check for check in line.checks if check.verdict != "pass"]
    found = [f"{check.text}{f' (actual: {check.actual})' if check.actual else ''}" for check in bad]
    return _first(line.message) or "; ".join(found) or line.verdict


def _first(message: str) -> str:
    return message.partition("\n")[0]


def as_object(tables: Sequence[PipelineTable]) -> str:
    """The session as JSON."""
    document = {"schema_version": 1, "pipelines": [to_plain(table) for table in tables]}
    return json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n"


def as_markdown(tables: Sequence[PipelineTable]) -> str:
    """The session as Markdown."""
    lines: list[str] = []
    for table in tables:
        lines += [f"## {escape(named(table.pipeline, table.version))}: {counts(table)}", ""]
        if table.scores:
            lines += [*grid([HEADER, *map(_row, table.scores)]), ""]
        lines += [escape(spent(table)), ""]
        if table.note:
            lines += [escape(table.note), ""]
        for line in table.lines:
            why = "" if line.verdict == "pass" else f": {_why(line)}"
            lines.append(f"- {MARKS[line.verdict]} {escape(f'{line.kind}::{line.name}{why}')}")
        lines.append("")
    return "\n".join(lines)
