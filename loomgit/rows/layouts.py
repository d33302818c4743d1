"""How rows lie in a destination's file: what is there already, and how more is written."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

import orjson

from loomgit.errors import UserError
from loomgit.rows.csv_files import BOM, CsvFile, CsvWriter, cell, require_names
from loomgit.rows.json_files import read_array, read_lines, require_exact, same
from loomgit.rows.paths import disk

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import BinaryIO

    from loomgit.domain.values import Json, JsonObject


class Held(NamedTuple):
    """A row that the destination holds, and its bytes there, to be kept as they are."""

    row: JsonObject
    raw: bytes


class RowWriter(Protocol):
    """Writes the rows of a destination's next state, in order."""

    def keep(self, held: Held) -> None:
        """A row of the present state, unchanged."""
        ...

    def add(self, row: JsonObject) -> None:
        """A new or changed row."""
        ...


class Layout(Protocol):
    """One destination file in one format. An empty file is as good as none."""

    def columns(self) -> tuple[str, ...]:
        """The columns of the file as it is; none where rows may have any fields."""
        ...

    def held(self) -> Iterator[Held]:
        """Stream the rows of the file as it is; raises UserError where it is not of the format."""
        ...

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """`old` with the fields of `new`, None where that changes nothing."""
        ...

    def refusal(self, row: JsonObject, *, fresh: bool) -> str:
        """Why the format, or the file as it is, cannot hold the row; empty where it can."""
        ...

    def key_value(self, value: Json) -> Json:
        """A value of a key as the file will hold it."""
        ...

    def writer(
        self, aside: Path, fields: Sequence[str], *, fresh: bool
    ) -> AbstractContextManager[RowWriter]:
        """Write a file at `aside`; `fresh` takes nothing over from the file as it is.

        `fields` are the columns of a fresh file.
        """
        ...


class JsonLinesLayout:
    """One object a line; lines that do not change keep their bytes."""

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

    def columns(self) -> tuple[str, ...]:
        """None: a line may have any fields."""
        return ()

    def held(self) -> Iterator[Held]:
        """Stream the lines."""
        for line in read_lines(self._path, self._shown):
            yield Held(require_exact(line.row), line.raw)

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """Compare as data, so that 1 and 1.0 are the same and white space is none."""
        return merged_json(old, new)

    def refusal(self, row: JsonObject, *, fresh: bool) -> str:
        """JSON holds any row."""
        del row, fresh
        return ""

    def key_value(self, value: Json) -> Json:
        """The value itself."""
        return value

    @contextmanager
    def writer(self, aside: Path, fields: Sequence[str], *, fresh: bool) -> Iterator[RowWriter]:
        """Write the lines."""
        del fields, fresh
        with aside.open("xb") as file:
            yield _Lines(file)


def merged_json(old: JsonObject, new: JsonObject) -> JsonObject | None:
    """`old` with the fields of `new`, None where both are the same data."""
    whole = old | new
    return None if same(old, whole) else whole


class _Lines:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def keep(self, held: Held) -> None:
        self._file.write(held.raw + b"\n")

    def add(self, row: JsonObject) -> None:
        self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


class JsonArrayLayout:
    """An array with one object a line. The file as it is is read whole and rewritten that way."""

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown

    def columns(self) -> tuple[str, ...]:
        """None: an object may have any fields."""
        return ()

    def held(self) -> Iterator[Held]:
        """The objects of the array."""
        for row in read_array(self._path, self._shown, one=False):
            yield Held(require_exact(row), orjson.dumps(row))

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """Compare as data."""
        return merged_json(old, new)

    def refusal(self, row: JsonObject, *, fresh: bool) -> str:
        """JSON holds any row."""
        del row, fresh
        return ""

    def key_value(self, value: Json) -> Json:
        """The value itself."""
        return value

    @contextmanager
    def writer(self, aside: Path, fields: Sequence[str], *, fresh: bool) -> Iterator[RowWriter]:
        """Write the array."""
        del fields, fresh
        with aside.open("xb") as file:
            items = _Items(file)
            yield items
            file.write(b"\n]\n" if items.any else b"[]\n")


class _Items:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.any = False

    def keep(self, held: Held) -> None:
        self._file.write((b",\n" if self.any else b"[\n") + held.raw)
        self.any = True

    def add(self, row: JsonObject) -> None:
        self.keep(Held(row, orjson.dumps(row)))


class CsvLayout:
    """Comma-separated text; rows that do not change keep their bytes, the file its BOM and its line
    ends. A new file has `\\n`. Values are compared by their text."""

    def __init__(self, path: Path, shown: str) -> None:
        self._path = path
        self._shown = shown
        self._file = CsvFile(path, shown)

    def columns(self) -> tuple[str, ...]:
        """The names in the first line."""
        return self._file.header()

    def held(self) -> Iterator[Held]:
        """Stream the rows, their values text."""
        records = self._file.records()
        names = self.columns()
        next(records)
        for record in records:
            yield Held(dict(zip(names, record.fields, strict=True)), record.raw.encode())

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """Compare by text."""
        require_names(new, tuple(old), self._shown)
        whole = old | {name: cell(value) for name, value in new.items()}
        return None if whole == old else whole

    def refusal(self, row: JsonObject, *, fresh: bool) -> str:
        """A NUL cannot stand in a CSV file."""
        del fresh
        for name, value in row.items():
            if "\0" in name or (value is not None and "\0" in cell(value)):
                return f"column '{name}': a NUL character, which a CSV file cannot hold"
        return ""

    def key_value(self, value: Json) -> Json:
        """The text of the value: 7.0 is another key than 7."""
        return None if value is None else cell(value)

    @contextmanager
    def writer(self, aside: Path, fields: Sequence[str], *, fresh: bool) -> Iterator[RowWriter]:
        """Write the first line and the rows."""
        if not fresh:
            fields = self.columns()
            with disk(self._shown), self._path.open("rb") as present:
                start = present.readline()
        else:
            start = b"\n"
        end = "\r\n" if start.endswith(b"\r\n") else "\n"
        with aside.open("xb") as file:
            rows = _Cells(file, fields, end, self._shown)
            if not fresh and start.startswith(BOM):
                file.write(BOM)
            file.write(CsvWriter(fields, end, self._shown).header() if fresh else self._first())
            yield rows

    def _first(self) -> bytes:
        raw = next(self._file.records()).raw.encode()
        return raw if raw.endswith((b"\n", b"\r")) else raw + b"\n"


class _Cells:
    def __init__(self, file: BinaryIO, names: Sequence[str], end: str, shown: str) -> None:
        self._file = file
        self._names = frozenset(names)
        self._writer = CsvWriter(names, end, shown)
        self._end = end.encode()
        self._shown = shown

    def keep(self, held: Held) -> None:
        raw = held.raw if held.raw.endswith((b"\n", b"\r")) else held.raw + self._end
        self._file.write(raw)

    def add(self, row: JsonObject) -> None:
        if not row.keys() <= self._names:
            raise UserError(f"{self._shown}: has no column '{min(row.keys() - self._names)}'")
        self._file.write(self._writer.line(row))
