"""Render quarantine entries as text for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.values import as_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loomgit.domain.quarantine import QuarantineEntry
    from loomgit.domain.values import Json

_LONGEST_KEY, _LONGEST_REASON = 40, 100  # characters in the table


def entry_list(entries: Sequence[QuarantineEntry], count: int, *, every: bool) -> Iterator[str]:
    """Yield the lines of a table of entries.

    `count` is the number of all entries, which may be more than those to show. `every` is true if
    the table also has resolved entries; each line then shows the state of its entry.
    """
    if not entries:
        yield "The quarantine has no entries." if every else "The quarantine has no open entries."
        return
    state = ("STATE",) if every else ()
    has_targets = any(entry.target for entry in entries)
    target = ("TARGET",) if has_targets else ()
    table = [("KEY", "PIPELINE", *target, "STAGE", "RUN", "TIME", *state, "REASON")]
    for entry in entries:
        target = (entry.target or "-",) if has_targets else ()
        state = ("open" if entry.is_open else "resolved",) if every else ()
        table.append(
            (
                _shorten(entry.record_key, _LONGEST_KEY),
                entry.pipeline,
                *target,
                entry.stage,
                entry.run_id,
                _minute(entry.at),
                *state,
                _shorten(entry.reason, _LONGEST_REASON),
            )
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    for line in table:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()
    if more := count - len(entries):
        yield f"{more:,} more; --limit {count} shows all"


def entry_details(history: Sequence[QuarantineEntry]) -> Iterator[str]:
    """Yield the lines about one record: its newest entry in full, then its history.

    `history` are all entries of the record, newest first, at least one.
    """
    entry = history[0]
    yield f"Record:    {entry.record_key}"
    yield f"Pipeline:  {entry.pipeline}"
    if entry.target:
        yield f"Target:    {entry.target}"
    yield f"State:     {_state(entry)}"
    yield f"Run:       {entry.run_id}"
    yield f"Time:      {entry.at}"
    yield f"Stage:     {entry.stage}"
    yield f"Reason:    {entry.reason}"
    if entry.error and entry.error != entry.reason:
        yield f"Error:     {entry.error}"
    if entry.scores or entry.reasons:
        yield ""
        yield "Scores:"
        for name in dict.fromkeys((*entry.scores, *entry.reasons)):
            value, reason = entry.scores.get(name), entry.reasons.get(name)
            score = "no score" if value is None else f"{value:.2f}"
            yield f"  {name}: {score}{f' ({reason})' if reason else ''}"
    yield from _fields("Record", entry.record)
    if entry.output is not None:
        yield from _fields("Output", entry.output)
    yield ""
    yield "History:"
    for each in history:
        target = f"  {each.target}" if each.target else ""
        yield f"  {_minute(each.at)}  {each.run_id}{target}  {each.stage}: {_line(each.reason)}"
        yield f"    {_state(each)}"


def _state(entry: QuarantineEntry) -> str:
    if entry.is_open:
        return "open"
    return f"resolved at {entry.resolved_at} by {entry.resolved_by}: {entry.why}"


def _fields(title: str, values: Mapping[str, Json]) -> Iterator[str]:
    yield ""
    yield f"{title}:"
    for name, value in values.items():
        first, *rest = as_text(value).splitlines() or [""]
        yield f"  {name}: {first}"
        yield from (f"    {line}" for line in rest)


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _line(text: str) -> str:
    return " ".join(text.split())


def _shorten(text: str, length: int) -> str:
    line = _line(text)
    return line if len(line) <= length else f"{line[: length - 3]}..."
