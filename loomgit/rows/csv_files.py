"""CSV as text: rows of an existing file with the very bytes they stand in, and how cells are
written."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, NamedTuple, TextIO

from loomgit.domain.values import as_text
from loomgit.domain.words import one_of
from loomgit.errors import UserError
from loomgit.rows.paths import disk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from loomgit.domain.values import Json, JsonObject

# A field of an unclosed quote would swallow the rest of the file into memory; the csv module's own
# limit of 128 KiB is less than a document that someone wants summarized. It is one per process.
LONGEST_FIELD = 64 * 1024 * 1024
csv.field_size_limit(LONGEST_FIELD)

_SPECIAL = re.compile(r'[,"\r\n]')
BOM = b"\xef\xbb\xbf"


class CsvRow(NamedTuple):
    """A row's fields and the text of its lines, line ends included."""

    fields: list[str]
    raw: str


class CsvFile:
    """A comma-separated file in UTF-8 with a header line; a BOM and any line ends are fine.

    All values are text. Blank lines are not rows. Raises UserError with the line for whatever else
    is not a table: rows of another length than the header, names missing or twice, other encodings.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

    def header(self) -> tuple[str, ...]:
        """The names of the columns."""
        for row in self._records():
            return self._named(row.fields)
        raise UserError(f"{self._shown}: is empty", hint="a CSV file starts with a line of names")

    def rows(self) -> Iterator[JsonObject]:
        """Stream the rows by column name."""
        names: tuple[str, ...] = ()
        for row in self._records():
            if names:
                yield dict(zip(names, row.fields, strict=True))
            else:
                names = self._named(row.fields)
        if not names:
            self.header()

    def records(self) -> Iterator[CsvRow]:
        """Stream all rows, the header first."""
        return self._records()

    def _records(self) -> Iterator[CsvRow]:
        with disk(self._shown), self._path.open(encoding="utf-8-sig", newline="") as file:
            lines: list[str] = []
            reader = csv.reader(self._lines(file, lines), strict=True)
            width = 0
            began = 1
            try:
                for fields in reader:
                    raw = "".join(lines)
                    lines.clear()
                    if fields:
                        if len(fields) != width:
                            if width:
                                raise self._ragged(began, len(fields), width)
                            width = len(fields)
                        yield CsvRow(fields, raw)
                    began = reader.line_num + 1
            except csv.Error as fault:
                raise self._malformed(began, fault) from fault
            except UnicodeDecodeError as fault:
                raise self._undecodable() from fault

    def _lines(self, file: TextIO, lines: list[str]) -> Iterator[str]:
        """Hand the lines on and keep them in `lines`, until the reader has made a row of them."""
        for number, line in enumerate(file, 1):
            if "\0" in line:
                raise UserError(
                    f"{self._shown}:{number}: a NUL byte", hint="is this UTF-16? save it as UTF-8"
                )
            lines.append(line)
            yield line

    def _named(self, names: list[str]) -> tuple[str, ...]:
        for index, name in enumerate(names):
            if not name.strip():
                raise UserError(
                    f"{self._shown}:1: column {index + 1} has no name",
                    hint="name it in the first line (pandas: to_csv(..., index=False))",
                )
            if name in names[:index]:
                raise UserError(
                    f"{self._shown}:1: two columns named '{name}'", hint="rename one of them"
                )
        return tuple(names)

    def _ragged(self, line: int, count: int, width: int) -> UserError:
        fields = "1 field" if count == 1 else f"{count} fields"
        return UserError(
            f"{self._shown}:{line}: {fields} where the first line has {width}",
            hint='a comma inside a field needs quotes: "a, b"' if count > width else None,
        )

    def _malformed(self, line: int, fault: csv.Error) -> UserError:
        text = str(fault)
        if "unexpected end of data" in text:
            return UserError(f"{self._shown}:{line}: a quote is never closed")
        if "field larger than" in text:
            return UserError(
                f"{self._shown}:{line}: a field of more than {LONGEST_FIELD >> 20} MiB",
                hint="is a quote never closed?",
            )
        return UserError(
            f"{self._shown}:{line}: {text}", hint='a quote inside a field is doubled: "say ""hi"""'
        )

    def _undecodable(self) -> UserError:
        """Where the first bytes are that are not UTF-8; reads the file once more."""
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    line.decode()
                except UnicodeDecodeError as fault:
                    return UserError(
                        f"{self._shown}:{number}: byte {fault.start + 1} of the line "
                        f"(0x{line[fault.start]:02x}) is not UTF-8",
                        hint="save the file as UTF-8 (it looks like Latin-1 or Windows-1252)",
                    )
        return UserError(f"{self._shown}: is not UTF-8", hint="save the file as UTF-8")


def cell(value: Json) -> str:
    """A value as a CSV field: text as it is, null as nothing, anything else as JSON."""
    return "" if value is None else as_text(value)


class CsvWriter:
    """Makes the lines of a destination; `line_end` as the file has it.

    The csv module's writer is not used: it leaves a lone carriage return without quotes.
    """

    def __init__(self, names: Sequence[str], line_end: str, shown: str) -> None:
        self._names = tuple(names)
        self._end = line_end
        self._shown = shown

    def header(self) -> bytes:
        """The first line."""
        return self._line(self._names)

    def line(self, row: JsonObject) -> bytes:
        """One row, in the order of the names; a field that the row lacks is empty."""
        return self._line([cell(row.get(name)) for name in self._names])

    def _line(self, fields: Sequence[str]) -> bytes:
        text = ",".join([_quoted(field) if _SPECIAL.search(field) else field for field in fields])
        if "\0" in text:
            raise UserError(f"{self._shown}: a NUL character cannot stand in a CSV file")
        if not text:  # one empty field, which must not look like a blank line
            text = '""'
        return (text + self._end).encode()


def _quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


def require_names(fields: Iterable[str], names: Sequence[str], shown: str) -> None:
    """Raise UserError for the first field that the file has no column for."""
    for field in fields:
        if field not in names:
            raise UserError(
                f"{shown}: has no column '{field}'",
                hint=one_of(field, names, "there are"),
            )
