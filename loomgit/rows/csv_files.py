"""CSV files: reads rows together with their original text, and writes lines."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, NamedTuple, TextIO

from loomgit.domain.suggestions import suggest_or_list
from loomgit.domain.values import as_text
from loomgit.errors import UserError
from loomgit.rows.paths import translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from loomgit.domain.values import Json, JsonObject

# Without a limit, an unclosed quote would read the rest of the file into memory as one field. The
# default limit of the csv module (128 KiB) is too small for long documents. The limit applies to
# the whole process.
LONGEST_FIELD = 64 * 1024 * 1024
csv.field_size_limit(LONGEST_FIELD)

_SPECIAL = re.compile(r'[,"\r\n]')
BOM = b"\xef\xbb\xbf"


class CsvRow(NamedTuple):
    """The fields of a row, and the text of the row's lines including the line ends."""

    fields: list[str]
    raw: str


class CsvFile:
    """A comma-separated file in UTF-8 with a header line.

    A byte order mark and all kinds of line ends are accepted. All values are text. Blank lines are
    skipped. Raises UserError with the line number for all other deviations: a row with more or
    fewer fields than the header, a missing or duplicate column name, another encoding.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

    def header(self) -> tuple[str, ...]:
        """Return the names of the columns."""
        for row in self._records():
            return self._column_names(row.fields)
        raise UserError(
            f"{self._shown}: is empty",
            hint="the first line of a CSV file contains the column names",
        )

    def rows(self) -> Iterator[JsonObject]:
        """Stream the rows as objects with the column names as keys."""
        names: tuple[str, ...] = ()
        for row in self._records():
            if names:
                yield dict(zip(names, row.fields, strict=True))
            else:
                names = self._column_names(row.fields)
        if not names:
            self.header()

    def records(self) -> Iterator[CsvRow]:
        """Stream all rows, including the header as the first row."""
        return self._records()

    def _records(self) -> Iterator[CsvRow]:
        with (
            translate_os_errors(self._shown),
            self._path.open(encoding="utf-8-sig", newline="") as file,
        ):
            lines: list[str] = []
            reader = csv.reader(self._lines(file, lines), strict=True)
            width = 0
            first_line = 1
            try:
                for fields in reader:
                    raw = "".join(lines)
                    lines.clear()
                    if fields:
                        if len(fields) != width:
                            if width:
                                raise self._field_count_error(first_line, len(fields), width)
                            width = len(fields)
                        yield CsvRow(fields, raw)
                    first_line = reader.line_num + 1
            except csv.Error as fault:
                raise self._syntax_error(first_line, fault) from fault
            except UnicodeDecodeError as fault:
                raise self._encoding_error() from fault

    def _lines(self, file: TextIO, lines: list[str]) -> Iterator[str]:
        """Stream the lines of `file` and collect them in `lines`, which the caller clears."""
        for number, line in enumerate(file, 1):
            if "\0" in line:
                raise UserError(
                    f"{self._shown}:{number}: the line contains a NUL byte",
                    hint="if the file is UTF-16, save it as UTF-8",
                )
            lines.append(line)
            yield line

    def _column_names(self, names: list[str]) -> tuple[str, ...]:
        for index, name in enumerate(names):
            if not name.strip():
                raise UserError(
                    f"{self._shown}:1: column {index + 1} has no name",
                    hint="name it in the first line (pandas: to_csv(..., index=False))",
                )
            if name in names[:index]:
                raise UserError(
                    f"{self._shown}:1: two columns are named '{name}'", hint="rename one of them"
                )
        return tuple(names)

    def _field_count_error(self, line: int, count: int, width: int) -> UserError:
        fields = "1 field" if count == 1 else f"{count} fields"
        return UserError(
            f"{self._shown}:{line}: {fields}, but the first line has {width}",
            hint='a comma inside a field needs quotes: "a, b"' if count > width else None,
        )

    def _syntax_error(self, line: int, fault: csv.Error) -> UserError:
        text = str(fault)
        if "unexpected end of data" in text:
            return UserError(f"{self._shown}:{line}: a quote is not closed")
        if "field larger than" in text:
            return UserError(
                f"{self._shown}:{line}: a field is larger than {LONGEST_FIELD >> 20} MiB",
                hint="check whether a quote is not closed",
            )
        return UserError(
            f"{self._shown}:{line}: {text}",
            hint='write a quote inside a field twice: "say ""hi"""',
        )

    def _encoding_error(self) -> UserError:
        """Return the error for the first byte that is not UTF-8.

        Reads the file again to find the byte.
        """
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
    """Render the value as a CSV field. Text is unchanged, null is empty, other values are JSON."""
    return "" if value is None else as_text(value)


class CsvWriter:
    """Renders rows as the lines of a CSV file; each line ends with `line_end`.

    The class does not use the writer of the csv module, because that writer does not quote a lone
    carriage return.
    """

    def __init__(self, names: Sequence[str], line_end: str, shown: str) -> None:
        self._names = tuple(names)
        self._end = line_end
        self._shown = shown

    def header(self) -> bytes:
        """Return the header line."""
        return self._line(self._names)

    def line(self, row: JsonObject) -> bytes:
        """Return the line of one row, in the order of the names. A missing field is empty."""
        return self._line([cell(row.get(name)) for name in self._names])

    def _line(self, fields: Sequence[str]) -> bytes:
        text = ",".join([_quoted(field) if _SPECIAL.search(field) else field for field in fields])
        if "\0" in text:
            raise UserError(f"{self._shown}: a CSV file cannot contain a NUL character")
        if not text:  # quoted, because readers would skip a blank line
            text = '""'
        return (text + self._end).encode()


def _quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


def require_names(fields: Iterable[str], names: Sequence[str], shown: str) -> None:
    """Raise UserError for the first field that is not a column of the file."""
    for field in fields:
        if field not in names:
            raise UserError(
                f"{shown}: has no column '{field}'",
                hint=suggest_or_list(field, names, "there are"),
            )
