"""Find the parts of a printed line that a terminal shows in color.

The other modules of this package render plain text. This module recognizes what a part of a line
means by the sign, the label or the verdict that the line contains. A color therefore never adds
information, and each kind of terminal chooses its own colors for the tones.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from loomgit.report.signs import BAD, OK, SKIPPED

if TYPE_CHECKING:
    from collections.abc import Iterator

Tone: TypeAlias = Literal["", "success", "failure", "warning", "secondary"]

SIGNS: dict[str, Tone] = {OK: "success", BAD: "failure", SKIPPED: "warning"}
LABELS: dict[str, Tone] = {
    "error": "failure",
    "failed": "failure",
    "worse": "failure",
    "better": "success",
    "warning": "warning",
    "unverified": "warning",
    "inconclusive": "warning",
    "not comparable": "warning",
    "changed limit": "warning",
    "accepted": "warning",
    "note": "secondary",
}
VERDICTS: dict[str, Tone] = {
    "pass": "success",
    "success": "success",
    "improved": "success",
    "no worse": "success",
    "unchanged": "success",
    "fail": "failure",
    "failed": "failure",
    "error": "failure",
    "degraded": "failure",
    "budget_exceeded": "failure",
    "partial": "warning",
    "inconclusive": "warning",
    "unverified": "warning",
    "not comparable": "warning",
    "degraded, and accepted": "warning",
}
LAST_LINES: dict[str, Tone] = {  # the beginnings of the last line of `loom test`
    r"All tests passed \(": "success",
    r"\d+ of \d+ tests failed \(": "failure",
    r"No test failed \(": "warning",
}


def _any_of(texts: dict[str, Tone]) -> str:
    return "|".join(map(re.escape, sorted(texts, key=len, reverse=True)))


# `  ✅ text (details)`, `Extract:   ✅ text (details)`
_SIGN_FIRST = re.compile(rf"\s*(?:[A-Z][a-z]+: +)?(?P<text>(?P<sign>{_any_of(SIGNS)}) .*)")
_DETAILS = re.compile(r" \([^()]*\)$")
_SIGN_LAST = re.compile(rf"\S.* (?P<sign>{_any_of(SIGNS)})")  # `Pipeline is valid ✅`
_LABEL = re.compile(rf"\s*(?P<label>{_any_of(LABELS)}): ")
_CELL_GAP = re.compile(r"\s{2,}")
# A verdict is a cell of a table (with two spaces on both sides), the end of `pipeline: verdict`, or
# a number of verdicts in a list such as `7 tests, 6 pass, 1 fail`.
_VERDICT = re.compile(
    rf"(?:(?<=\s\s)|(?<=: ))(?P<open>\(?)(?P<verdict>{_any_of(VERDICTS)})\)?(?=\s\s|$)"
    r"|(?<=, )[1-9][\d,]* (?P<counted>pass|fail|error|inconclusive|unverified)(?=, |$)"
)


class TonedText(NamedTuple):
    """A part of a line. The tone is empty if the part has no color."""

    text: str
    tone: Tone


def split_tones(line: str) -> Iterator[TonedText]:
    """Yield the parts of one line from left to right. Joined, their texts are the line."""
    position = 0
    for start, end, tone in _spans(line):
        if position < start:
            yield TonedText(line[position:start], "")
        yield TonedText(line[start:end], tone)
        position = end
    if position < len(line):
        yield TonedText(line[position:], "")


def _spans(line: str) -> Iterator[tuple[int, int, Tone]]:
    """Yield the start, the end and the tone of each part that has a tone."""
    if match := _SIGN_FIRST.fullmatch(line):
        start, end = match.span("text")
        tone = SIGNS[match["sign"]]
        details = _DETAILS.search(line, start) if tone == "success" else None
        yield start, details.start() if details else end, tone
        if details:
            yield *details.span(), "secondary"
    elif match := _SIGN_LAST.fullmatch(line):
        yield 0, len(line), SIGNS[match["sign"]]
    elif match := _LABEL.match(line):
        yield match.start("label"), match.end("label") + 1, LABELS[match["label"]]
    elif line == "Status: Running..." or line.startswith("hint: ") or _is_header(line):
        yield 0, len(line), "secondary"
    elif tones := [tone for start, tone in LAST_LINES.items() if re.match(start, line)]:
        yield 0, len(line), tones[0]
    else:
        for match in _VERDICT.finditer(line):
            tone = VERDICTS[match["verdict"] or match["counted"]]
            yield *match.span(), "secondary" if match["open"] else tone


def _is_header(line: str) -> bool:
    """Whether the line contains the headings of a table's columns, such as `RUN  STATUS  COST`."""
    first, *others = _CELL_GAP.split(line.strip())
    is_heading = len(first) > 1 and first.isupper() and len(others) > 1
    return is_heading and all(cell.isupper() or len(cell) == 1 for cell in others)
