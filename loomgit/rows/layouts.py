"""File layouts: each layout reads and writes the destination files of one format."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

import orjson

from loomgit.errors import UserError
from loomgit.rows.csv_files import BOM, CsvFile, CsvWriter, cell, quote_field, require_names
from loomgit.rows.json_files import is_same_data, read_array, read_lines, require_exact
from loomgit.rows.paths import translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    from loomgit.domain.values import Json, JsonObject


class StoredRow(NamedTuple):
    """A row of the existing file. `raw` contains the bytes of the row in the file.

    If a load does not change the row, the same bytes are written to the new file. `raw` is empty
    for Parquet, which has no bytes per row.
    """

    row: JsonObject
    raw: bytes


class RowWriter(Protocol):
    """Writes the rows of the new file, which then replaces the existing file."""

    def keep(self, stored: StoredRow) -> None:
        """Write an existing row unchanged."""
        ...

    def add(self, row: JsonObject) -> None:
        """Write a new or changed row."""
        ...


class FileLayout(Protocol):
    """Access to one destination file. Callers treat an empty file as a missing file."""

    def columns(self) -> tuple[str, ...]:
        """Return the columns of the existing file, or () if its rows may have any fields."""
        ...

    def held(self, added: Sequence[str] = ()) -> Iterator[StoredRow]:
        """Yield the rows of the existing file, extended with empty values in the columns `added`.

        Raises UserError if its content is invalid.
        """
        ...

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """Return `old` updated with the fields of `new`, or None if the update changes nothing."""
        ...

    def refusal(self, row: JsonObject, *, fresh: bool) -> str:
        """Return the reason why the file cannot store the row exactly, or "" if it can.

        If `fresh` is true, the existing file is ignored, because a new file will replace it.
        """
        ...

    def key_value(self, value: Json) -> Json:
        """Return a key value as the file stores it. For example, a CSV file stores only text."""
        ...

    def writer(
        self, temporary: Path, fields: Sequence[str], *, fresh: bool
    ) -> AbstractContextManager[RowWriter]:
        """Create the file `temporary`, and give the `with` block a writer for its rows.

        The columns of the new file are `fields`. If `fresh` is false, they begin with the columns
        of the existing file. JSON files ignore both arguments.
        """
        ...


class JsonLinesLayout:
    """A JSON lines file: one object per line. The lines of unchanged rows keep their bytes."""

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

    def columns(self) -> tuple[str, ...]:
        """Return an empty tuple, because each row may have any fields."""
        return ()

    def held(self, added: Sequence[str] = ()) -> Iterator[StoredRow]:
        """Yield the rows. Raises UserError if Loom cannot represent a line exactly."""
        del added  # a JSON file has no columns
        for line in read_lines(self._path, self._shown):
            yield StoredRow(require_exact(line.row), line.raw)

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """Return `old` updated with `new`, or None if no data changes. 1 and 1.0 are the same."""
        return merge_json(old, new)

    def refusal(self, row: JsonObject, *, fresh: bool) -> str:
        """Return an empty text, because JSON can represent any row."""
        del row, fresh
        return ""

    def key_value(self, value: Json) -> Json:
        """Return the value, unchanged."""
        return value

    @contextmanager
    def writer(self, temporary: Path, fields: Sequence[str], *, fresh: bool) -> Iterator[RowWriter]:
        """Create the file, and yield a writer that adds one line per row."""
        del fields, fresh
        with temporary.open("xb") as file:
            yield _JsonLinesWriter(file)


def merge_json(old: JsonObject, new: JsonObject) -> JsonObject | None:
    """Return `old` updated with the fields of `new`, or None if this changes no data.

    Equal data can have different notations: 1 and 1.0 are equal.
    """
    merged = old | new
    return None if is_same_data(old, merged) else merged


class _JsonLinesWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def keep(self, stored: StoredRow) -> None:
        self._file.write(stored.raw + b"\n")

    def add(self, row: JsonObject) -> None:
        self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


class JsonArrayLayout:
    """A JSON file with an array of objects, written as one object per line.

    The existing file is read into memory.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

    def columns(self) -> tuple[str, ...]:
        """Return an empty tuple, because each object may have any fields."""
        return ()

    def held(self, added: Sequence[str] = ()) -> Iterator[StoredRow]:
        """Yield the objects. Raises UserError if Loom cannot represent an object exactly."""
        del added  # a JSON file has no columns
        for row in read_array(self._path, self._shown, one=False):
            yield StoredRow(require_exact(row), orjson.dumps(row))

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """Return `old` updated with `new`, or None if no data changes. 1 and 1.0 are the same."""
        return merge_json(old, new)

    def refusal(self, row: JsonObject, *, fresh: bool) -> str:
        """Return an empty text, because JSON can represent any row."""
        del row, fresh
        return ""

    def key_value(self, value: Json) -> Json:
        """Return the value, unchanged."""
        return value

    @contextmanager
    def writer(self, temporary: Path, fields: Sequence[str], *, fresh: bool) -> Iterator[RowWriter]:
        """Create the file, and yield a writer that adds objects to the array."""
        del fields, fresh
        with temporary.open("xb") as file:
            items = _JsonArrayWriter(file)
            yield items
            file.write(b"\n]\n" if items.has_rows else b"[]\n")


class _JsonArrayWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.has_rows = False

    def keep(self, stored: StoredRow) -> None:
        self._file.write((b",\n" if self.has_rows else b"[\n") + stored.raw)
        self.has_rows = True

    def add(self, row: JsonObject) -> None:
        self.keep(StoredRow(row, orjson.dumps(row)))


class CsvLayout:
    """A CSV file (comma-separated values). Two values are equal if they have the same text.

    A load changes neither the bytes of unchanged rows nor the byte order mark. If columns are
    added, the rows and the header line keep their bytes, and are extended before their line end.
    New and changed rows get the line end of the header line. In a new file, each line ends with
    `\\n`.
    """

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown
        self._file = CsvFile(path, shown)

    def columns(self) -> tuple[str, ...]:
        """Return the names in the header line."""
        return self._file.header()

    def held(self, added: Sequence[str] = ()) -> Iterator[StoredRow]:
        """Yield the rows. All values are text, and empty in the columns `added`."""
        records = self._file.records()
        names = (*self.columns(), *added)
        empty = [""] * len(added)
        next(records)
        for record in records:
            row: JsonObject = dict(zip(names, [*record.fields, *empty], strict=True))
            yield StoredRow(row, _extend_line(record.raw, empty).encode())

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """Return `old` updated with `new`, or None if the texts of all values stay the same.

        Raises UserError if the file has no column for a field of `new`.
        """
        require_names(new, tuple(old), self._shown)
        updated = old | {name: cell(value) for name, value in new.items()}
        return None if updated == old else updated

    def refusal(self, row: JsonObject, *, fresh: bool) -> str:
        """Return an error text if a name is blank or if a name or a value contains a NUL character.

        Otherwise, return empty text.
        """
        del fresh
        for name, value in row.items():
            if not name.strip():
                return "a column without a name, which a CSV file cannot have"
            if "\0" in name or (value is not None and "\0" in cell(value)):
                return f"column '{name}': a NUL character, which a CSV file cannot hold"
        return ""

    def key_value(self, value: Json) -> Json:
        """Return the value as text, or None for null. The keys 7 and 7.0 have different texts."""
        return None if value is None else cell(value)

    @contextmanager
    def writer(self, temporary: Path, fields: Sequence[str], *, fresh: bool) -> Iterator[RowWriter]:
        """Create the file with its header line, and yield a writer that adds rows."""
        if not fresh:
            with translate_os_errors(self._shown), self._path.open("rb") as existing:
                header = existing.readline()
        else:
            header = b"\n"
        end = "\r\n" if header.endswith(b"\r\n") else "\n"
        with temporary.open("xb") as file:
            rows = _CsvRowWriter(file, fields, end, self._shown)
            if not fresh and header.startswith(BOM):
                file.write(BOM)
            file.write(
                CsvWriter(fields, end, self._shown).header()
                if fresh
                else self._header_line(fields[len(self.columns()) :])
            )
            yield rows

    def _header_line(self, added: Sequence[str]) -> bytes:
        raw = _extend_line(next(self._file.records()).raw, [*map(quote_field, added)]).encode()
        return raw if raw.endswith((b"\n", b"\r")) else raw + b"\n"


def _extend_line(line: str, fields: Sequence[str]) -> str:
    """Return the line of a CSV file with more fields before its line end. `fields` are quoted."""
    content = line.rstrip("\r\n")
    return "".join([content, *(f",{field}" for field in fields), line[len(content) :]])


class _CsvRowWriter:
    def __init__(self, file: BinaryIO, names: Sequence[str], end: str, shown: str) -> None:
        self._file = file
        self._names = frozenset(names)
        self._writer = CsvWriter(names, end, shown)
        self._end = end.encode()
        self._shown = shown

    def keep(self, stored: StoredRow) -> None:
        raw = stored.raw if stored.raw.endswith((b"\n", b"\r")) else stored.raw + self._end
        self._file.write(raw)

    def add(self, row: JsonObject) -> None:
        if not row.keys() <= self._names:
            raise UserError(f"{self._shown}: has no column '{min(row.keys() - self._names)}'")
        self._file.write(self._writer.line(row))
