"""The report of a pull request: as much as fits, verdicts first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.comparison import WORST_FIRST, Comparison
from loomgit.report.comparison import MARKS, WORDS, revision, sentence, shown, word
from loomgit.report.markdown import body, details, escape
from loomgit.report.text import BAD

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

UNKNOWN = "⚠️"
NAMES = 20  # that a heading holds
WIDTH = 500  # characters of a line of the diff
CUT = "\n\n(cut: too long)\n"


class Found(Struct, frozen=True):
    """What is known of a change. `failures`, `accepted` (failed, and accepted) and `unverified` are
    lines about tests, `unread` about pipelines that cannot be read at the head, `faults` those of
    files with faults, `lost` about tests and cases that the change takes away; `unmeasured` says
    why the comparison could not be made, `diff` is that of the prompts, `blocked` the gate's
    answer."""

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


class _Room(Struct, frozen=True):
    """How much is shown: of the cases that moved, of the diff's lines, of the lines about tests;
    whether each pipeline has its table."""

    cases: int
    diff: int
    tests: int
    tables: bool = True


ROOMS = (
    _Room(20, 400, 50),
    _Room(5, 100, 20),
    _Room(1, 20, 10),
    _Room(0, 0, 5),
    _Room(0, 0, 5, tables=False),
)


def report(found: Found, *, limit: int) -> str:
    """The Markdown, at most `limit` characters: cases, diff and tables give way, verdicts never."""
    text = ""
    for room in ROOMS:
        text = _whole(found, room)
        if len(text) <= limit:
            return text
    text = _tightest(found)
    return text if len(text) <= limit else text[: limit - len(CUT)] + CUT


def heading(found: Found) -> str:
    """The verdict in one line, without markup: what is wrong, then what nobody knows."""
    comparison = found.comparison
    bad = []
    if comparison.outcome == "degraded":
        bad.append(f"degraded: {_names(comparison, 'degraded')}")
    if found.failures:
        bad.append(f"{_count(len(found.failures), 'test')} failed")
    if found.faults:
        bad.append(f"{_count(len(found.faults), 'fault')} in what should be tested")
    unknown = []
    if found.unmeasured:
        unknown.append("the comparison could not be made")
    if found.unverified:
        unknown.append(f"{_count(len(found.unverified), 'test')} unverified")
    if found.unread:
        unknown.append(f"{_count(len(found.unread), 'pipeline')} unverified")
    if found.lost:
        unknown.append("tests or cases are gone")
    if not bad and not unknown:
        return f"{BAD if found.blocked else MARKS[comparison.outcome]} Loom: {_calm(comparison)}"
    said = "; ".join([*bad, *unknown])
    mark = BAD if bad or found.blocked else UNKNOWN
    return f"{mark} Loom: {said[0].upper()}{said[1:]}"


def _calm(comparison: Comparison) -> str:
    if comparison.pipelines:
        return sentence(comparison)
    if comparison.missing_baseline:
        return "Nothing to compare with"
    return "Nothing that is tested has changed"


def _names(comparison: Comparison, outcome: str) -> str:
    names = [found.pipeline for found in comparison.pipelines if found.outcome == outcome]
    more = f" and {len(names) - NAMES:,} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def _whole(found: Found, room: _Room) -> str:
    parts = [f"## {escape(heading(found))}", ""]
    if room.tables:
        parts += body(found.comparison, cases=room.cases)
    else:
        parts += _verdicts(found.comparison)
    for title, lines in _lists(found):
        parts += ["", f"### {title}", "", *_some(lines, room.tests)]
    if found.diff and room.diff:
        parts += ["", *details("Prompt diff", _diff(found.diff, room.diff))]
    if found.notes:
        parts += ["", *(f"<sub>{escape(note)}</sub>" for note in found.notes)]
    return "\n".join(parts) + "\n"


def _lists(found: Found) -> Iterator[tuple[str, Sequence[str]]]:
    if found.faults:
        yield "Faults", found.faults
    if found.failures:
        yield "Failed tests", found.failures
    if found.lost:
        yield "Tests and cases that the change takes away", found.lost
    if found.accepted:
        yield "Accepted", found.accepted
    unmeasured = [found.unmeasured] if found.unmeasured else []
    unknown = [*unmeasured, *found.unread, *found.unverified]
    if unknown:
        yield "Unverified", unknown


def _some(lines: Sequence[str], most: int) -> Iterator[str]:
    yield from (f"- {escape(line[:1000])}" for line in lines[:most])
    if len(lines) > most:
        yield f"- and {len(lines) - most:,} more"


def _verdicts(comparison: Comparison) -> Iterator[str]:
    """A line for each pipeline, the worst first."""
    yield f"{escape(revision(comparison.base))} → {escape(revision(comparison.head))}"
    yield ""
    found = sorted(comparison.pipelines, key=lambda each: WORST_FIRST.index(each.outcome))
    for each in found:
        yield f"- {escape(each.pipeline)}: {word(each)}"


def _tightest(found: Found) -> str:
    """The names of the pipelines by verdict."""
    parts = [f"## {escape(heading(found))}", ""]
    for outcome in WORST_FIRST:
        names = [p.pipeline for p in found.comparison.pipelines if p.outcome == outcome]
        if names:
            parts.append(f"- {WORDS[outcome]} ({len(names):,}): {escape(', '.join(names))}")
    parts += [f"- {title.lower()}: {len(lines):,}" for title, lines in _lists(found)]
    return "\n".join(parts) + "\n"


def _diff(diff: str, most: int) -> list[str]:
    """A patch in a block that none of its lines can close."""
    lines = diff.split("\n")
    some = ["\t".join(map(shown, line[:WIDTH].split("\t"))) for line in lines[:most]]
    if len(lines) > most:
        some.append(f"... {len(lines) - most:,} lines more")
    longest = max(3, *(1 + _longest_run(line) for line in some))
    fence = "`" * longest
    return [f"{fence}diff", *some, fence]


def _longest_run(line: str) -> int:
    """The most backticks in a row."""
    longest = run = 0
    for character in line:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    return longest
