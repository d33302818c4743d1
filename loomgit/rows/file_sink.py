"""File destinations: collects the rows of a run on disk, then replaces the file in one step."""

from __future__ import annotations

import hashlib
import os
import shutil
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.ports import LoadReceipt
from loomgit.domain.process_lock import ProcessLock
from loomgit.errors import LoomError, UserError, WorldError
from loomgit.rows.added_columns import case_clash, common_fields, with_evolve_hint
from loomgit.rows.csv_files import require_names
from loomgit.rows.layouts import CsvLayout, JsonArrayLayout, JsonLinesLayout
from loomgit.rows.parquet import ParquetLayout
from loomgit.rows.paths import make_folder, require_place, translate_os_errors
from loomgit.rows.publications import Publication, Publications
from loomgit.rows.sqlite import require_distinct
from loomgit.rows.stage import Stage, destination_id, find_key_text, key_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from loomgit.domain.definitions import LoadMode
    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.rows.address import FileAddress
    from loomgit.rows.layouts import FileLayout, RowWriter

LOCK_TIMEOUT = 60.0  # seconds to wait for another run that writes the same file


class FileSink:
    """A CSV, JSON, JSON lines or Parquet file as a destination.

    `load` stores the rows in a stage: a temporary database. `commit` merges the staged rows with
    the current rows of the file, so that concurrent runs do not lose rows. The existing rows keep
    their order, and new rows follow them. In mode `upsert`, a new row with an existing key updates
    only its own fields; the other fields of the existing row do not change. If no row changes,
    `commit` does not write the file.

    If `adds_columns` is true, `commit` adds the columns that an existing CSV or Parquet file lacks
    (`load.evolve: add`). The existing rows are empty in these columns.

    In mode `upsert`, `commit` counts the existing rows of rejected records, or deletes them if
    `deletes_rejected` is true.

    If the content of the existing file does not match the file's extension, the file stays
    unchanged, and an error is raised. Only mode `replace` replaces such a file.
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
        run: str,
        adds_columns: bool = False,
        deletes_rejected: bool = False,
    ) -> None:
        self._shown = str(address)
        # `commit` renames a new file to this path. The path is resolved, because the rename must
        # replace the target of a symbolic link, not the link.
        self._path = (root / address.path).resolve()
        self._mode = mode
        self._key = key if mode != "append" else ()
        self._examples = examples
        self._schema = schema
        self._adds_columns = adds_columns
        self._deletes_rejected = deletes_rejected
        self._layout = _layout(address, self._path, root=root, schema=schema)
        name = destination_id(self._path)
        self._lock_path = self._path.with_name(f".loom-{name}.lock")
        self._temporary = self._path.with_name(f".loom-{name}.part")
        self._stage = Stage(stage, name, keeps_rows=mode == "replace")
        self._publications = Publications(self._path.with_name(f".loom-{name}.json"), run)

    def check(self) -> None:
        """Raise UserError or WorldError if a load into the file would fail.

        A load fails if the file cannot be written, if its existing rows cannot be read, if it lacks
        a required column, or if none of the example rows can be stored exactly.
        """
        require_place(self._path, self._shown)
        self._require_loaded_file()
        names = common_fields(self._examples)
        if isinstance(self._layout, ParquetLayout):
            require_distinct(names, self._shown)
        self._require_columns((*self._key, *schema_fields(self._schema), *names))
        if self._mode != "replace" and not isinstance(self._layout, ParquetLayout):
            for _ in self._layout.held() if self._has_content() else ():
                pass  # the loop only reads, to find an invalid row before the run starts
        reasons = [self.refusal(example) for example in self._examples]
        if reasons and all(reasons):
            raise UserError(f"{self._shown}: {reasons[0]}")

    def _require_loaded_file(self) -> None:
        """Raise UserError if the file does not exist, although the run has loaded rows into it."""
        if self._mode != "replace" and not self._path.exists():
            receipt = self._stage.receipt()
            if receipt is not None and receipt.inserted + receipt.updated + receipt.unchanged:
                raise UserError(
                    f"{self._shown}: was removed since the run loaded rows into it",
                    hint="restore the file, or start a new run without --resume",
                )

    def refusal(self, row: JsonObject) -> str:
        """Return the reason why the file cannot store the row exactly, or "" if it can."""
        for name in row if self._columns else ():
            if name not in self._columns:
                if not self._adds_columns:
                    return f"the file has no column '{name}'"
                if clash := case_clash(name, self._columns):
                    return clash
        return self._layout.refusal(row, fresh=self._mode == "replace" or not self._has_content())

    def loaded_parts(self) -> frozenset[int]:
        """Return the numbers of the batches in the stage or in the file."""
        return self._stage.parts()

    def load(
        self, part: int, rows: Sequence[JsonObject], rejected: Sequence[JsonObject] = ()
    ) -> Mapping[int, str]:
        """Store one batch of rows in the stage until `commit`.

        `part` is the number of the batch. A batch whose number was stored before is ignored, even
        if it is already in the file. `rejected` are the keys of the rejected records.
        """
        keys = [self._key_text(row) if self._key else None for row in rows]
        self._require_columns(dict.fromkeys(name for row in rows for name in row))
        if self._stage.intended() is not None:  # an earlier attempt crashed while it published
            with self._lock_file():
                self._settle()
        upserts = bool(self._key) and self._mode == "upsert"
        self._stage.add(part, rows, keys, map(self._key_text, rejected if upserts else ()))
        return {}

    def _key_text(self, row: JsonObject) -> str:
        stored = {name: self._layout.key_value(row.get(name)) for name in self._key}
        return key_text(stored, self._key, self._shown)

    def commit(self) -> LoadReceipt:
        """Write the staged rows to the file, and return the receipt (the numbers of rows).

        The receipt includes the rows that earlier attempts of the run have written. If an attempt
        crashed after it had replaced the file, its rows are not written again, even if other runs
        have changed the file since.
        """
        make_folder(self._path.parent, self._shown)
        with self._lock_file():
            self._settle()
            receipt = self._stage.receipt()
            if receipt is None or self._stage.has_unpublished():
                self._publish()
                receipt = self._stage.receipt()
        self._stage.close()
        return receipt or LoadReceipt()

    def abort(self) -> None:
        """Delete the staged rows. The destination file stays unchanged."""
        is_settled = False
        with suppress(LoomError):
            if self._stage.intended() is not None:
                with self._lock_file():
                    self._settle()
            is_settled = True
        self._stage.discard()
        # If this file exists, a killed process left it, or another run has the lock and uses it.
        if is_settled and self._temporary.exists():
            with (
                suppress(WorldError),
                self._lock_file(seconds=0),
                translate_os_errors(self._shown),
            ):
                self._publications.answer_all(self._was_replaced)
                self._temporary.unlink(missing_ok=True)

    def _settle(self) -> None:
        """Find out whether an earlier attempt had replaced the file before it crashed.

        Any other run that replaces the file answers this question first, for all attempts that have
        crashed (`Publications`).
        """
        intended = self._stage.intended()
        if intended is not None:
            entry = self._publications.find() or Publication(intended)
            is_answered = entry.answer is not None
            published = entry.answer if is_answered else self._was_replaced(entry)
            self._stage.settle(published=bool(published))
        self._publications.remove()  # a killed attempt may have left an entry that is settled

    def _was_replaced(self, entry: Publication) -> bool:
        """Whether a killed attempt had replaced the file.

        If another program has changed the file since, its content does not show this. The temporary
        file does: the replacement renames it.
        """
        current = self._hash(self._path)
        if entry.before is None or current in (entry.sha256, entry.before):
            return current == entry.sha256
        return not self._temporary.exists()

    def _has_content(self) -> bool:
        return self._path.exists() and self._path.stat().st_size > 0

    @cached_property
    def _columns(self) -> tuple[str, ...]:
        """The columns of the existing file. Empty if each row of the file may have any fields."""
        if self._mode == "replace" or not self._has_content():
            return ()
        return self._layout.columns()

    def _require_columns(self, names: Iterable[str]) -> None:
        """Raise UserError if the file lacks a column that the load cannot add."""
        if not self._columns:
            return
        if self._adds_columns:
            self._missing_columns(self._columns, names)
            return
        try:
            require_names(names, self._columns, self._shown)
        except UserError as error:
            raise UserError(error.message, hint=with_evolve_hint(error.hint)) from error

    @contextmanager
    def _lock_file(self, seconds: float = LOCK_TIMEOUT) -> Iterator[None]:
        lock = ProcessLock(self._lock_path)
        with translate_os_errors(self._shown):
            is_locked = lock.acquire(seconds=seconds)
        if not is_locked:
            raise WorldError(
                f"{self._shown}: another run has locked this file for over {seconds:.0f} s "
                f"({lock.holder()})",
                hint="wait for that run to end",
            )
        with lock:
            yield

    def _publish(self) -> None:
        """Write the staged rows to the file, and store the receipt in the stage."""
        has_content = self._has_content()
        fresh = self._mode == "replace" or not has_content
        added = () if fresh else self._added_columns()
        fields = self._fields(has_content) if fresh else (*self._layout.columns(), *added)
        if fields is None:
            self._stage.finish(LoadReceipt())
            return
        self._publications.answer_all(self._was_replaced)
        is_intended = False
        try:
            with translate_os_errors(self._shown):
                self._temporary.unlink(missing_ok=True)
                with (
                    self._stage.matching(),
                    self._layout.writer(self._temporary, fields, fresh=fresh) as writer,
                ):
                    receipt = self._write(writer, added, fresh=fresh)
                sha256 = self._hash(self._temporary)
                current = self._hash(self._path)
                if fresh and has_content and current == sha256:
                    self._stage.finish(replace(receipt, inserted=0, unchanged=receipt.inserted))
                elif not (fresh or added or _changes_rows(receipt)):
                    self._stage.finish(receipt)
                else:
                    is_intended = True
                    self._stage.intend(sha256, receipt)
                    self._publications.add(sha256, current)
                    self._replace()
                    self._stage.settle(published=True)
                    self._publications.remove()
        finally:
            if not is_intended:  # otherwise, `_was_replaced` may need it
                self._temporary.unlink(missing_ok=True)

    def _added_columns(self) -> tuple[str, ...]:
        """Return the columns that the staged rows and the schema add to the existing file."""
        present = self._layout.columns()
        if not self._adds_columns or not present or not (staged := self._stage.fields()):
            return ()
        return self._missing_columns(present, (*staged, *schema_fields(self._schema)))

    def _missing_columns(self, present: Sequence[str], names: Iterable[str]) -> tuple[str, ...]:
        """Return the names that are not in `present`. Raises UserError for a clash of names."""
        missing: list[str] = []
        for name in dict.fromkeys(names):
            if name in present:
                continue
            if clash := case_clash(name, (*present, *missing)):
                raise UserError(f"{self._shown}: {clash}", hint="rename the field or the column")
            missing.append(name)
        return tuple(missing)

    def _fields(self, has_content: bool) -> tuple[str, ...] | None:
        """Return the columns of a new file.

        Returns None if no columns are known and the format requires at least one column.
        """
        staged = self._stage.fields() or self._expected_names()
        names = dict.fromkeys((*staged, *schema_fields(self._schema)))
        if not names and has_content:
            names = dict.fromkeys(self._layout.columns())
        if not names and not isinstance(self._layout, JsonLinesLayout | JsonArrayLayout):
            return None
        return tuple(names)

    def _expected_names(self) -> Iterable[str]:
        """Return the fields of the rows to expect, for a file without rows."""
        return dict.fromkeys((*self._key, *(name for row in self._examples for name in row)))

    def _write(self, writer: RowWriter, added: Sequence[str], *, fresh: bool) -> LoadReceipt:
        inserted = updated = unchanged = kept = deleted = 0
        if not fresh:
            has_rejected = self._stage.has_rejected()
            for stored in self._layout.held(added):
                key = find_key_text(stored.row, self._key) if self._key else None
                new = self._stage.find(key) if key is not None else None
                if new is None:
                    rejected = has_rejected and key is not None and self._stage.is_rejected(key)
                    if rejected and self._deletes_rejected:
                        deleted += 1
                        continue
                    writer.keep(stored)
                    kept += rejected
                    continue
                merged = self._layout.merged(stored.row, new)
                if merged is None:
                    writer.keep(stored)
                    unchanged += 1
                else:
                    writer.add(merged)
                    updated += 1
        for row in self._stage.unmatched() if self._key else self._stage.rows():
            writer.add(row)
            inserted += 1
        duplicates = self._stage.duplicates()
        return LoadReceipt(
            inserted, updated, unchanged, duplicates, kept_rows=kept, deleted=deleted
        )

    def _hash(self, path: Path) -> str:
        if not path.exists():
            return ""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _replace(self) -> None:
        if self._path.exists():
            shutil.copymode(self._path, self._temporary)
        with self._temporary.open("rb") as file:
            os.fsync(file.fileno())
        self._temporary.replace(self._path)
        if os.name == "posix":  # a crash can undo the rename until the folder is synced
            folder = os.open(self._path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _changes_rows(receipt: LoadReceipt) -> bool:
    return bool(receipt.inserted or receipt.updated or receipt.deleted)


def schema_fields(schema: JsonMapping | None) -> tuple[str, ...]:
    """Return the property names that a JSON Schema defines at its top level."""
    properties = (schema or {}).get("properties")
    return tuple(properties) if isinstance(properties, dict) else ()


def _layout(
    address: FileAddress, path: Path, *, root: Path, schema: JsonMapping | None
) -> FileLayout:
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
