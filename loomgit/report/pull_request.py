"""Render the report of a pull request with a maximum length. The verdicts come first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.comparison import WORST_FIRST, Comparison
from loomgit.report.comparison import (
    MARKS,
    OUTCOME_TEXT,
    escape_control_characters,
    revision,
    sentence,
    verdict_text,
)
from loomgit.report.markdown import body, details, escape
from loomgit.report.signs import BAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNKNOWN = "⚠️"
SHOWN_NAMES = 20  # maximum number of pipelines in a heading
LINE_WIDTH = 500  # maximum length of a line of the diff
CUT = "\n\n(cut: too long)\n"


class PullRequestFindings(Struct, frozen=True):
    """The results of the checks of a pull request.

    These fields have one line of text for each item:
    - `failures`: failed tests
    - `accepted`: failed tests whose failure a person accepted
    - `unverified`: tests without a verdict
    - `unread`: pipelines that cannot be read at the head
    - `faults`: problems in the project's files
    - `lost`: tests and cases that the change removes

    If no comparison could be made, `unmeasured` is the reason. `diff` is the diff of the prompts.
    `blocked` is true if the gate blocks the change.
    """

    comparison: Comparison
    blocked: bool = False
    failures: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    unverified: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    unmeasured: str = ""
    diff: str = ""
    notes: tuple[str, ...] = ()


class _Size(Struct, frozen=True):
    """The maximum sizes of the parts of a report.

    `cases` is the maximum number of worse cases, and also of better cases, that the report shows
    for each pipeline. `diff` is the maximum number of lines of the diff. `tests` is the maximum
    number of lines in each list of tests. `tables` is true if the report has tables.
    """

    cases: int
    diff: int
    tests: int
    tables: bool = True


SIZES = (
    _Size(20, 400, 50),
    _Size(5, 100, 20),
    _Size(1, 20, 10),
    _Size(0, 0, 5),
    _Size(0, 0, 5, tables=False),
)


def report(findings: PullRequestFindings, *, limit: int) -> str:
    """Return the report as Markdown with at most `limit` characters.

    If the report is too long, it is shortened step by step, but keeps all verdicts: first it shows
    fewer cases and a shorter diff, then no tables, then only the names of the pipelines by verdict.
    If even this is too long, the text is cut off.
    """
    text = ""
    for size in SIZES:
        text = _render(findings, size)
        if len(text) <= limit:
            return text
    text = _render_names(findings)
    return text if len(text) <= limit else text[: limit - len(CUT)] + CUT


def heading(findings: PullRequestFindings) -> str:
    """Return the verdict in one line without markup: failures first, then unverified parts."""
    comparison = findings.comparison
    bad = []
    if comparison.outcome == "degraded":
        bad.append(f"degraded: {_names(comparison, 'degraded')}")
    if findings.failures:
        bad.append(f"{_count(len(findings.failures), 'test')} failed")
    if findings.faults:
        bad.append(f"{_count(len(findings.faults), 'problem')} in the project's files")
    unknown = []
    if findings.unmeasured:
        unknown.append("the comparison could not be made")
    if findings.unverified:
        unknown.append(f"{_count(len(findings.unverified), 'test')} unverified")
    if findings.unread:
        unknown.append(f"{_count(len(findings.unread), 'pipeline')} cannot be read")
    if findings.lost:
        unknown.append("tests or cases are gone")
    if not bad and not unknown:
        mark = BAD if findings.blocked else MARKS[comparison.outcome]
        return f"{mark} Loom: {_calm_heading(comparison)}"
    summary = "; ".join([*bad, *unknown])
    mark = BAD if bad or findings.blocked else UNKNOWN
    return f"{mark} Loom: {summary[0].upper()}{summary[1:]}"


def _calm_heading(comparison: Comparison) -> str:
    if comparison.pipelines:
        return sentence(comparison)
    if comparison.missing_baseline:
        return "No baseline to compare with"
    return "Nothing that is tested has changed"


def _names(comparison: Comparison, outcome: str) -> str:
    names = [result.title for result in comparison.pipelines if result.outcome == outcome]
    more = f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _render(findings: PullRequestFindings, size: _Size) -> str:
    parts = [f"## {escape(heading(findings))}", ""]
    if size.tables:
        parts += body(findings.comparison, cases=size.cases)
    else:
        parts += _verdicts(findings.comparison)
    for title, lines in _sections(findings):
        parts += ["", f"### {title}", "", *_bullets(lines, size.tests)]
    if findings.diff and size.diff:
        parts += ["", *details("Prompt diff", _diff(findings.diff, size.diff))]
    if findings.notes:
        parts += ["", *(f"<sub>{escape(note)}</sub>" for note in findings.notes)]
    return "\n".join(parts) + "\n"


def _sections(findings: PullRequestFindings) -> Iterator[tuple[str, Sequence[str]]]:
    if findings.faults:
        yield "Faults", findings.faults
    if findings.failures:
        yield "Failed tests", findings.failures
    if findings.lost:
        yield "Tests and cases that the change removes", findings.lost
    if findings.accepted:
        yield "Accepted", findings.accepted
    unmeasured = [findings.unmeasured] if findings.unmeasured else []
    unknown = [*unmeasured, *findings.unread, *findings.unverified]
    if unknown:
        yield "Unverified", unknown


def _bullets(lines: Sequence[str], most: int) -> Iterator[str]:
    yield from (f"- {escape(line[:1000])}" for line in lines[:most])
    if len(lines) > most:
        yield f"- and {len(lines) - most:,} more"


def _verdicts(comparison: Comparison) -> Iterator[str]:
    """Yield a line for each pipeline, worst verdict first."""
    yield f"{escape(revision(comparison.base))} → {escape(revision(comparison.head))}"
    yield ""
    for result in sorted(comparison.pipelines, key=lambda r: WORST_FIRST.index(r.outcome)):
        yield f"- {escape(result.title)}: {verdict_text(result)}"


def _render_names(findings: PullRequestFindings) -> str:
    """Return a short report: a list of the pipelines' names for each verdict."""
    parts = [f"## {escape(heading(findings))}", ""]
    for outcome in WORST_FIRST:
        names = [p.title for p in findings.comparison.pipelines if p.outcome == outcome]
        if names:
            parts.append(f"- {OUTCOME_TEXT[outcome]} ({len(names):,}): {escape(', '.join(names))}")
    parts += [f"- {title.lower()}: {len(lines):,}" for title, lines in _sections(findings)]
    return "\n".join(parts) + "\n"


def _diff(diff: str, most: int) -> list[str]:
    """Return the diff as a Markdown code block.

    The fence of the block is so long that no line of the diff can close the block.
    """
    lines = diff.split("\n")
    shown_lines = [
        "\t".join(map(escape_control_characters, line[:LINE_WIDTH].split("\t")))
        for line in lines[:most]
    ]
    if len(lines) > most:
        shown_lines.append(f"... {len(lines) - most:,} more lines")
    longest = max(3, *(1 + _longest_run(line) for line in shown_lines))
    fence = "`" * longest
    return [f"{fence}diff", *shown_lines, fence]


def _longest_run(line: str) -> int:
    """Return the length of the longest sequence of backticks in the line."""
    longest = run = 0
    for character in line:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest
