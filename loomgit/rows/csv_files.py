"""CSV files: reads rows together with their original text, and renders rows as lines."""

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

# The maximum length of a CSV field. A limit is needed, because a field with an unclosed quote
# extends to the end of the file and could fill the memory. The default limit of the csv module
# (128 KiB) is too small for long documents. The csv module has only one limit, which applies to the
# whole process.
LONGEST_FIELD = 64 * 1024 * 1024
csv.field_size_limit(LONGEST_FIELD)

_SPECIAL = re.compile(r'[,"\r\n]')
BOM = b"\xef\xbb\xbf"


class CsvRow(NamedTuple):
    """The fields of a row, and `raw`: the original text of the row, with its line ends."""

    fields: list[str]
    raw: str


class CsvFile:
    """A CSV file in UTF-8 with a header line. All values are text.

    The file may start with a byte order mark, and its lines may end with `\\n`, `\\r\\n` or `\\r`.
    Blank lines are skipped. The methods raise UserError if a row has more or fewer fields than the
    header, if a column name is empty or occurs twice, if quotes are invalid, or if the encoding is
    not UTF-8. The message contains the line number.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

    def header(self) -> tuple[str, ...]:
        """Return the column names. Raises UserError if the file is empty."""
        for row in self._records():
            return self._column_names(row.fields)
        raise UserError(
            f"{self._shown}: is empty",
            hint="the first line of a CSV file contains the column names",
        )

    def rows(self) -> Iterator[JsonObject]:
        """Yield each row as an object whose keys are the column names."""
        names: tuple[str, ...] = ()
        for row in self._records():
            if names:
                yield dict(zip(names, row.fields, strict=True))
            else:
                names = self._column_names(row.fields)
        if not names:
            self.header()

    def records(self) -> Iterator[CsvRow]:
        """Yield all rows with their original text. The first row is the header."""
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
        """Yield each line of `file`, and also append it to `lines`.

        The caller clears `lines` after each row, so that `lines` contains the text of one row.
        """
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
        """Return an error with the position of the first byte that is not UTF-8.

        To find this byte, the method reads the file again.
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
    """Return the value as it is written to a CSV field.

    Text is written unchanged, null as empty text, and all other values as JSON.
    """
    return "" if value is None else as_text(value)


class CsvWriter:
    """Renders rows as lines of a CSV file. Each line ends with `line_end`.

    The writer of the csv module is not used, because it does not quote a field that contains `\\r`
    without `\\n`.
    """

    def __init__(self, names: Sequence[str], line_end: str, shown: str) -> None:
        self._names = tuple(names)
        self._end = line_end
        self._shown = shown

    def header(self) -> bytes:
        """Return the header line."""
        return self._line(self._names)

    def line(self, row: JsonObject) -> bytes:
        """Return the line of one row, with the fields in column order. A missing field is empty."""
        return self._line([cell(row.get(name)) for name in self._names])

    def _line(self, fields: Sequence[str]) -> bytes:
        text = ",".join(map(quote_field, fields))
        if "\0" in text:
            raise UserError(f"{self._shown}: a CSV file cannot contain a NUL character")
        if not text:  # a single empty field is written as "", because readers skip blank lines
            text = '""'
        return (text + self._end).encode()


def quote_field(field: str) -> str:
    """Return the text of a field in a CSV file: in quotes if its content requires them."""
    return '"' + field.replace('"', '""') + '"' if _SPECIAL.search(field) else field


def require_names(fields: Iterable[str], names: Sequence[str], shown: str) -> None:
    """Raise UserError for the first name in `fields` that is not a column name in `names`."""
    for field in fields:
        if field not in names:
            raise UserError(
                f"{shown}: has no column '{field}'",
                hint=suggest_or_list(field, names, "there are"),
            )
