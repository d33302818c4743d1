"""Files as destinations: staged row by row, published whole by one rename."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.ports import LoadReceipt
from loomgit.errors import UserError, WorldError
from loomgit.rows.csv_files import require_names
from loomgit.rows.layouts import CsvLayout, JsonArrayLayout, JsonLinesLayout
from loomgit.rows.parquet import ParquetLayout
from loomgit.rows.paths import disk, make_folder, require_place
from loomgit.rows.sqlite import require_distinct
from loomgit.rows.stage import Stage, find_key_text, key_text, place_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from loomgit.domain.definitions import LoadMode
    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.rows.address import FileAddress
    from loomgit.rows.layouts import Layout, RowWriter

PATIENCE = 60.0  # seconds to wait for another run that publishes to the same file


class FileSink:
    """A CSV, JSON, JSON lines or Parquet file.

    Nothing is visible before `commit`, which merges the staged rows with the file as it is then, so
    two runs at once lose nothing. Rows keep their order, new ones follow; where nothing differs the
    file is not touched. `upsert` writes the fields that a row has and leaves the others as they
    are. A file that is not of its format is an error and stays, but for `replace`.
    """

    def __init__(
        self,
        address: FileAddress,
        *,
        mode: LoadMode,
        key: tuple[str, ...],
        examples: Sequence[JsonObject],
        schema: JsonMapping | None,
        root: Path,
        stage: Path,
    ) -> None:
        self._shown = str(address)
        # Behind a symbolic link: the link stays one.
        self._path = (root / address.path).resolve()
        self._mode = mode
        self._key = key if mode != "append" else ()
        self._examples = examples
        self._schema = schema
        self._layout = _layout(address, self._path, root=root, schema=schema)
        name = place_name(self._path)
        self._lock = root / ".loom" / "state" / "locks" / f"{name}.lock"
        self._aside = self._path.with_name(f".loom-{name}.part")
        self._stage = Stage(stage, name)

    def check(self) -> None:
        """Raise where the file cannot be written, cannot be read to be merged, lacks a column that
        is to be loaded, or can hold none of the examples."""
        require_place(self._path, self._shown)
        names = dict.fromkeys(name for example in self._examples for name in example)
        if isinstance(self._layout, ParquetLayout):
            require_distinct(names, self._shown)
        self._require_columns((*self._key, *schema_fields(self._schema), *names))
        if self._mode != "replace" and not isinstance(self._layout, ParquetLayout):
            for _ in self._layout.held() if self._there() else ():
                pass  # the end of the run would be too late for an error
        reasons = [self.refusal(example) for example in self._examples]
        if reasons and all(reasons):
            raise UserError(f"{self._shown}: {reasons[0]}")

    def refusal(self, row: JsonObject) -> str:
        """Why the file cannot hold the row as it is; empty where it can."""
        for name in row if self._columns else ():
            if name not in self._columns:
                return f"the file has no column '{name}'"
        return self._layout.refusal(row, fresh=self._mode == "replace" or not self._there())

    def load(self, part: int, rows: Sequence[JsonObject]) -> None:
        """Stage one batch; a part that was staged before is not taken again."""
        if self._stage.finished() is not None:
            return
        keys: list[str | None] = [None] * len(rows)
        if self._key:
            value = self._layout.key_value
            keyed = ({name: value(row.get(name)) for name in self._key} for row in rows)
            keys = [key_text(row, self._key, self._shown) for row in keyed]
        self._require_columns(dict.fromkeys(name for row in rows for name in row))
        self._stage.add(part, rows, keys)

    def commit(self) -> LoadReceipt:
        """Publish; where an earlier process got that far, return what it did."""
        receipt = self._stage.finished()
        if receipt is not None:
            return receipt
        make_folder(self._path.parent, self._shown)
        with self._locked():
            intended = self._stage.intended()
            if intended is not None and self._hash(self._path) == intended[0]:
                receipt = intended[1]
            else:
                receipt = self._publish()
        self._stage.finish(receipt)
        return receipt

    def abort(self) -> None:
        """Drop what was staged; the file stays as it is."""
        self._stage.close()
        if self._stage.finished() is None:
            self._stage.discard()
        if self._aside.exists():  # an earlier process died while it wrote, or another one writes
            with suppress(WorldError), self._locked(patience=0), disk(self._shown):
                self._aside.unlink(missing_ok=True)

    def _there(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > 0

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        """Those of the file as it was first seen; `commit` looks anew."""
        if self._mode == "replace" or not self._there():
            return ()
        return self._layout.columns()

    def _require_columns(self, wanted: Iterable[str]) -> None:
        if self._columns:
            require_names(wanted, self._columns, self._shown)

    @contextmanager
    def _locked(self, patience: float = PATIENCE) -> Iterator[None]:
        from filelock import FileLock, Timeout  # noqa: PLC0415 - 200 ms, for who writes files

        make_folder(self._lock.parent, self._shown)
        try:
            with FileLock(self._lock, timeout=patience):
                yield
        except Timeout as fault:
            raise WorldError(
                f"{self._shown}: another run has been writing it for more than {PATIENCE:.0f} s",
                hint="wait for that run to end",
            ) from fault

    def _publish(self) -> LoadReceipt:
        there = self._there()
        fresh = self._mode == "replace" or not there
        fields = self._fields(there)
        if fields is None:
            return LoadReceipt()
        try:
            with disk(self._shown):
                self._aside.unlink(missing_ok=True)
                with (
                    self._stage.matching(),
                    self._layout.writer(self._aside, fields, fresh=fresh) as writer,
                ):
                    receipt = self._write(writer, fresh=fresh)
                sha256 = self._hash(self._aside)
                if fresh and there and self._hash(self._path) == sha256:
                    return replace(receipt, inserted=0, unchanged=receipt.inserted)
                if not fresh and not receipt.inserted and not receipt.updated:
                    return receipt
                self._stage.intend(sha256, receipt)
                self._replace()
        finally:
            self._aside.unlink(missing_ok=True)
        return receipt

    def _fields(self, there: bool) -> tuple[str, ...] | None:
        """The columns of a fresh file; None where there is nothing to write and no column."""
        named = dict.fromkeys((*(self._stage.fields() or self._key), *schema_fields(self._schema)))
        if not named and there:
            named = dict.fromkeys(self._layout.columns())
        if not named and not isinstance(self._layout, JsonLinesLayout | JsonArrayLayout):
            return None
        return tuple(named)

    def _write(self, writer: RowWriter, *, fresh: bool) -> LoadReceipt:
        inserted = updated = unchanged = 0
        if not fresh:
            for held in self._layout.held():
                key = find_key_text(held.row, self._key) if self._key else None
                new = self._stage.find(key) if key is not None else None
                if new is None:
                    writer.keep(held)
                    continue
                merged = self._layout.merged(held.row, new)
                if merged is None:
                    writer.keep(held)
                    unchanged += 1
                else:
                    writer.add(merged)
                    updated += 1
        for row in self._stage.unmatched() if self._key else self._stage.rows():
            writer.add(row)
            inserted += 1
        return LoadReceipt(inserted, updated, unchanged, self._stage.duplicates())

    def _hash(self, path: Path) -> str:
        if not path.exists():
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _replace(self) -> None:
        if self._path.exists():
            shutil.copymode(self._path, self._aside)
        with self._aside.open("rb") as file:
            os.fsync(file.fileno())
        self._aside.replace(self._path)
        if os.name == "posix":  # the rename itself is on disk only with its folder
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def schema_fields(schema: JsonMapping | None) -> tuple[str, ...]:
    """The fields that a JSON Schema names."""
    properties = (schema or {}).get("properties")
    return tuple(properties) if isinstance(properties, dict) else ()


def _layout(address: FileAddress, path: Path, *, root: Path, schema: JsonMapping | None) -> Layout:
    shown = str(address)
    match address.format:
        case "csv":
            return CsvLayout(path, shown)
        case "json":
            return JsonArrayLayout(path, shown)
        case "jsonl":
            return JsonLinesLayout(path, shown)
        case "parquet":
            return ParquetLayout(path, shown, root=root, schema=schema)
