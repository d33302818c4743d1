"""Parquet as a destination: rows pass through JSON lines, DuckDB writes the file."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import orjson

from loomgit.errors import UserError
from loomgit.rows.csv_files import require_names
from loomgit.rows.duck import connect, json_lines_reader, literal, parquet_reader, select
from loomgit.rows.json_files import require_exact, same
from loomgit.rows.layouts import Held
from loomgit.rows.parquet_types import COMPARED, LONG, common_type, keeps, kind_of, moment
from loomgit.rows.query import BoundQuery

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from loomgit.domain.values import Json, JsonMapping, JsonObject
    from loomgit.rows.layouts import RowWriter

_OF_SCHEMA = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "object": "JSON",
    "array": "JSON",
}


class ParquetLayout:
    """A Parquet file. Column types are those of the file as it is, else of `load.schema`, else as
    all of the rows need: BOOLEAN, BIGINT, UBIGINT, DECIMAL(20,0), DOUBLE, VARCHAR, lists of these,
    JSON for the rest. A value that its column cannot hold exactly is refused.
    """

    def __init__(self, path: Path, shown: str, *, root: Path, schema: JsonMapping | None) -> None:
        self._path = path
        self._shown = shown
        self._root = root
        self._schema = schema
        self._present: dict[str, str] | None = None  # the types, as `refusal` saw them first

    def columns(self) -> tuple[str, ...]:
        """The file's columns."""
        return tuple(self._types())

    def _types(self) -> dict[str, str]:
        with connect(self._root, self._shown) as connection:
            found = connection.execute(
                f"DESCRIBE SELECT * FROM {parquet_reader(self._path)}"  # noqa: S608
            ).fetchall()
            return {str(row[0]): str(row[1]) for row in found}

    def held(self) -> Iterator[Held]:
        """Stream the rows as JSON values."""
        with connect(self._root, self._shown) as connection:
            query = BoundQuery(f"FROM {parquet_reader(self._path)}")
            for row in select(connection, query, self._shown):
                yield Held(require_exact(row), b"")

    def merged(self, old: JsonObject, new: JsonObject) -> JsonObject | None:
        """Compare as data of the columns: two spellings of one moment are the same."""
        require_names(new, tuple(old), self._shown)
        types = self._present or self._types()
        self._present = types
        if all(_same_data(old[name], value, types.get(name, "")) for name, value in new.items()):
            return None
        return old | new

    def refusal(self, row: JsonObject, *, fresh: bool) -> str:
        """The column of the file, or of `load.schema`, that cannot hold its value exactly."""
        if self._present is None:
            self._present = _schema_types(self._schema) if fresh else self._types()
        for name, value in row.items():
            given = self._present.get(name)
            if value is not None and given is not None and not keeps(value, given):
                return f"column '{name}' is {given} and cannot hold {_shown(value)}"
        return ""

    def key_value(self, value: Json) -> Json:
        """The value itself."""
        return value

    @contextmanager
    def writer(self, aside: Path, fields: Sequence[str], *, fresh: bool) -> Iterator[RowWriter]:
        """Write the rows beside `aside` as JSON lines and then, as a whole, as Parquet."""
        types = _schema_types(self._schema) if fresh else self._types()
        lines = aside.with_suffix(".jsonl")
        try:
            with lines.open("xb") as file:
                rows = _Typed(file, types, fields if fresh else tuple(types), self._shown)
                yield rows
            found = rows.types()
            self._convert(lines, aside, found)
            self._compare(lines, aside, [n for n, kind in found.items() if _is_compared(kind)])
        finally:
            lines.unlink(missing_ok=True)

    def _convert(self, lines: Path, aside: Path, types: Mapping[str, str]) -> None:
        with connect(self._root, self._shown) as connection:
            connection.execute(
                f"COPY (FROM {json_lines_reader(lines, types)}) "
                f"TO {literal(str(aside))} (FORMAT parquet)"
            )

    def _compare(self, lines: Path, aside: Path, names: Sequence[str]) -> None:
        """Raise UserError where a column of a type that converts values holds another one."""
        if not names:
            return
        with connect(self._root, self._shown) as connection, lines.open("rb") as expected:
            query = BoundQuery(f"FROM {parquet_reader(aside)}")
            for line, row in zip(expected, select(connection, query, self._shown), strict=True):
                wanted = orjson.loads(line)
                for name in names:
                    held = require_exact(row).get(name)
                    if not _same_data(wanted.get(name), held):
                        raise UserError(
                            f"{self._shown}: column '{name}' cannot hold "
                            f"{_shown(wanted.get(name))}: it would become {_shown(held)}"
                        )


def _schema_types(schema: JsonMapping | None) -> dict[str, str]:
    properties = (schema or {}).get("properties")
    if not isinstance(properties, dict):
        return {}
    kinds = {name: _schema_type(kind) for name, kind in properties.items()}
    return {name: kind for name, kind in kinds.items() if kind}


def _schema_type(schema: Json) -> str | None:
    if not isinstance(schema, dict):
        return None
    kind = schema.get("type")
    if isinstance(kind, list):
        named = [name for name in kind if name != "null"]
        kind = named[0] if len(named) == 1 else None
    if not isinstance(kind, str):
        return None
    if kind == "array":
        item = _schema_type(schema.get("items"))
        return f"{item}[]" if item and item != "JSON" else "JSON"
    return _OF_SCHEMA.get(kind)


class _Typed:
    """Writes the lines and watches what the values are."""

    def __init__(
        self, file: BinaryIO, types: Mapping[str, str], fields: Sequence[str], shown: str
    ) -> None:
        self._file = file
        self._given = types
        self._found: dict[str, set[str]] = {name: set() for name in fields}
        self._shown = shown

    def keep(self, held: Held) -> None:
        self._file.write(orjson.dumps(held.row, option=orjson.OPT_APPEND_NEWLINE))

    def add(self, row: JsonObject) -> None:
        for name, value in row.items():
            if value is None:
                continue
            kind = kind_of(value)
            given = self._given.get(name)
            if given is not None and not keeps(value, given):
                raise UserError(
                    f"{self._shown}: column '{name}' is {given} and cannot hold {_shown(value)}"
                )
            if name not in self._found:
                raise UserError(f"{self._shown}: has no column '{name}'")
            self._found[name].add(kind)
        self.keep(Held(row, b""))

    def types(self) -> dict[str, str]:
        """The type of each column."""
        return {
            name: self._given.get(name) or common_type(kinds).replace(LONG, "BIGINT")
            for name, kinds in self._found.items()
        }


def _shown(value: Json) -> str:
    return orjson.dumps(value).decode()[:60]


def _is_compared(kind: str) -> bool:
    return kind.startswith(COMPARED)


def _same_data(old: Json, new: Json, kind: str = "") -> bool:
    """Whether two values are the same data, where a field that is missing equals null, and a text
    in a column of dates and times is a moment."""
    if isinstance(old, dict) and isinstance(new, dict):
        return all(_same_data(old.get(name), new.get(name)) for name in old | new)
    if isinstance(old, list) and isinstance(new, list):
        inner = kind.removesuffix("[]")
        return len(old) == len(new) and all(
            _same_data(one, other, inner) for one, other in zip(old, new, strict=True)
        )
    if isinstance(old, str) and isinstance(new, str) and old != new:
        return moment(old, kind) == moment(new, kind) != ""
    return same(old, new)
