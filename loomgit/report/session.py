"""Render the results of prompt tests: tables for pytest, lines for `loom test`, JSON, Markdown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.comparison import Metric
from loomgit.domain.samples import CheckResult, Verdict
from loomgit.domain.values import to_plain
from loomgit.report.comparison import OUTCOME_TEXT, align_columns, format_change
from loomgit.report.markdown import escape, render_table
from loomgit.report.signs import BAD, OK
from loomgit.report.text import money, named, title

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


class ScoreRow(Struct, frozen=True):
    """The mean score of one evaluator over all samples.

    `low` and `high` are the ends of the mean's 90 % interval, and `n` is the number of scores.
    `moved` is the change from the baseline, None if no comparison was made.
    """

    name: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    moved: Metric | None = None


class TestLine(Struct, frozen=True):
    """The result of one test in a report.

    `kind` is a key of TITLES. If `blocks` is true, the result makes the session fail.
    """

    kind: str
    name: str
    verdict: Verdict
    score: float | None = None
    message: str = ""
    checks: tuple[CheckResult, ...] = ()
    blocks: bool = False


class PipelineTable(Struct, frozen=True):
    """The tests and scores of one pipeline in a session.

    `reused` is the number of samples from earlier runs, and `cached` the number of replies from the
    cache. `cost` is in USD, None if a price is unknown. `unanswered` is the number of calls without
    a reply; the provider may have charged for them.
    """

    pipeline: str
    version: str | None
    lines: tuple[TestLine, ...]
    scores: tuple[ScoreRow, ...]
    note: str = ""
    calls: int = 0
    reused: int = 0
    cached: int = 0
    cost: float | None = 0.0
    unanswered: int = 0


def session_lines(tables: Sequence[PipelineTable]) -> Iterator[str]:
    """Yield the lines of the tables that pytest prints at the end of a session."""
    for number, table in enumerate(tables):
        if number:
            yield ""
        yield f"{named(table.pipeline, table.version)}: {counts(table)}"
        if table.scores:
            yield from (f"  {line}" for line in align_columns([HEADER, *map(_row, table.scores)]))
        yield f"  {cost_text(table)}"
        if table.note:
            yield f"  {table.note}"
        for line in table.lines:
            if line.verdict in ("unverified", "inconclusive") and line.message:
                yield f"  {line.verdict}: {line.kind}::{line.name}: {_first_line(line.message)}"
            for check in line.checks:
                if check.warns:
                    note = check.note.removeprefix("warning: ")
                    yield f"  warning: {line.kind}::{line.name}: {check.text}: {note}"


def counts(table: PipelineTable) -> str:
    """Return the number of tests by verdict: `7 tests, 6 pass, 1 fail`."""
    by_verdict: dict[str, int] = {}
    for line in table.lines:
        by_verdict[line.verdict] = by_verdict.get(line.verdict, 0) + 1
    total = len(table.lines)
    parts = ", ".join(f"{count} {verdict}" for verdict, count in by_verdict.items())
    return f"{total} test{'s' if total != 1 else ''}, {parts}"


def cost_text(table: PipelineTable) -> str:
    """Return the cost of a pipeline's tests as text.

    An example is `cost $0.02, 120 model calls, 30 replies from the cache`.
    """
    parts = [f"cost {money(table.cost)}", f"{table.calls:,} model calls"]
    if table.unanswered:
        parts.append(f"{table.unanswered:,} calls without a reply (they may have been charged)")
    if table.cached:
        parts.append(f"{table.cached:,} replies from the cache")
    if table.reused:
        parts.append(f"{table.reused:,} samples of earlier runs")
    return ", ".join(parts)


def _row(score: ScoreRow) -> tuple[str, ...]:
    mean = "-" if score.mean is None else f"{score.mean:.3f}"
    interval = "-" if score.low is None else f"[{score.low:.3f}, {score.high:.3f}]"
    moved = score.moved
    if moved is None or moved.delta is None:
        verdict = OUTCOME_TEXT[moved.outcome] if moved is not None else "-"
        return (title(score.name), mean, interval, f"{score.n:,}", "-", verdict)
    return (
        title(score.name),
        mean,
        interval,
        f"{score.n:,}",
        format_change(moved, moved.delta),
        OUTCOME_TEXT[moved.outcome],
    )


def assertion_lines(
    tables: Sequence[PipelineTable], unfinished: str = "", *, only_problems: bool = False
) -> Iterator[str]:
    """Yield the lines of `loom test`: one line for each assertion, then the total.

    `unfinished` describes the tests that did not run because the session was stopped. If
    `only_problems` is true, yield no line for an assertion that passed, and nothing if there are
    no other lines.
    """
    verdicts: list[tuple[Verdict, bool]] = []
    problems = bool(unfinished)
    for table in tables:
        lines = list(_table_lines(table, verdicts, only_problems=only_problems))
        if lines or not only_problems:
            yield f"Running tests for: {named(table.pipeline, table.version)}"
            yield from lines
            yield ""
        problems |= bool(lines)
    if problems or not only_problems:
        closing = _closing(verdicts, complete=not unfinished)
        yield closing + (f"; {unfinished}" if unfinished else "")


def _table_lines(
    table: PipelineTable, verdicts: list[tuple[Verdict, bool]], *, only_problems: bool
) -> Iterator[str]:
    """Yield the lines of one pipeline.

    For each assertion, add its verdict to `verdicts`, and whether it makes the session fail.
    """
    for kind, heading in TITLES.items():
        texts: list[str] = []
        for line in table.lines:
            if line.kind != kind:
                continue
            for mark, text, verdict in _assertions(line):
                verdicts.append((verdict, line.blocks))
                if not (only_problems and mark == OK):
                    texts.append(f"  {mark} {text}")
        if texts:
            yield ""
            yield f"{heading}:"
            yield from texts


def _closing(verdicts: Sequence[tuple[Verdict, bool]], *, complete: bool) -> str:
    """Return the last line of `loom test`.

    The line is `All tests passed (7/7)`, or the numbers of failed, passed and other tests.
    """
    total = len(verdicts)
    passed = sum(verdict == "pass" for verdict, _ in verdicts)
    if passed == total and complete:
        return f"All tests passed ({passed}/{total})" if total else "No tests"
    failed = sum(verdict != "pass" and blocks for verdict, blocks in verdicts)
    others = [verdict for verdict, blocks in verdicts if not blocks and verdict != "pass"]
    rest = "".join(f", {others.count(v)} {v}" for v in dict.fromkeys(others))
    head = f"{failed} of {total} tests failed" if failed else "No test failed"
    return f"{head} ({passed}/{total} passed{rest})"


def _assertions(line: TestLine) -> Iterator[tuple[str, str, Verdict]]:
    """Yield (symbol, text, verdict) for each line of a test.

    A distributional test has a line for each check. Other tests have one line.
    """
    if line.kind != "distributional" or not line.checks:
        passed = line.verdict == "pass"
        score = (
            ""
            if line.score is None or line.kind == "integration"
            else f" (score: {line.score:.2f})"
        )
        reason = "" if passed else f": {_reason(line)}"
        yield MARKS[line.verdict], f"{line.name}{score}{reason}", line.verdict
        return
    for check in line.checks:
        actual = f" (actual: {check.actual})" if check.actual else ""
        weak = f" [weak {check.verdict}]" if check.weak else ""
        passed = check.verdict == "pass"
        note = f": {check.note}" if check.note and not passed else ""
        mark = "⚠️" if check.warns and passed else MARKS[check.verdict]
        yield mark, f"{check.text}{actual}{weak}{note}", check.verdict


def _reason(line: TestLine) -> str:
    """Return the reason why a test did not pass: the first line of its message.

    If the test has no message, return the checks that did not pass. If all checks passed, return
    the verdict.
    """
    failed = [check for check in line.checks if check.verdict != "pass"]
    texts = [
        f"{check.text}{f' (actual: {check.actual})' if check.actual else ''}" for check in failed
    ]
    return _first_line(line.message) or "; ".join(texts) or line.verdict


def _first_line(message: str) -> str:
    return message.partition("\n")[0]


def render_json(tables: Sequence[PipelineTable]) -> str:
    """Return the session as JSON."""
    document = {"schema_version": 1, "pipelines": [to_plain(table) for table in tables]}
    return json.dumps(document, indent=2, ensure_ascii=False, default=str) + "\n"


def render_markdown(tables: Sequence[PipelineTable]) -> str:
    """Return the session as Markdown."""
    lines: list[str] = []
    for table in tables:
        lines += [f"## {escape(named(table.pipeline, table.version))}: {counts(table)}", ""]
        if table.scores:
            lines += [*render_table([HEADER, *map(_row, table.scores)]), ""]
        lines += [escape(cost_text(table)), ""]
        if table.note:
            lines += [escape(table.note), ""]
        for line in table.lines:
            reason = "" if line.verdict == "pass" else f": {_reason(line)}"
            lines.append(f"- {MARKS[line.verdict]} {escape(f'{line.kind}::{line.name}{reason}')}")
        lines.append("")
    return "\n".join(lines)
