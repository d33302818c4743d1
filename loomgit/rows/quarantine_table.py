"""The statements for a quarantine in a table, and the conversion of its rows.

A row contains one entry. The columns `record`, `output`, `scores` and `reasons` contain JSON text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import orjson
from msgspec import Struct

from loomgit.domain.quarantine import QuarantineEntry
from loomgit.domain.safe_text import hide_in
from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import UserError
from loomgit.rows.quarantine import (
    COLUMNS,
    JSON_COLUMNS,
    RESOLUTION_COLUMNS,
    TARGET_COLUMN,
    stored_values,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from loomgit.domain.quarantine import Resolution

ALL_COLUMNS = (*COLUMNS, *RESOLUTION_COLUMNS)
_REQUIRED = ("run_id", "pipeline", "record_key", "stage", "reason", "at", "record")


class QuarantineStatements(Struct, frozen=True):
    """The SQL statements for one table.

    `table` is the quoted name of the table, and `mark` the notation of a parameter.
    """

    table: str
    mark: Literal["?", "%s"]

    def create(self) -> str:
        """Return the statement that creates the table."""
        columns = [f"{name} text{' NOT NULL' if name in _REQUIRED else ''}" for name in ALL_COLUMNS]
        columns.append(f"{TARGET_COLUMN} text")
        return f"CREATE TABLE IF NOT EXISTS {self.table} ({', '.join(columns)})"

    def add_target(self) -> str:
        """Return the statement that adds the column that older versions did not create."""
        return f"ALTER TABLE {self.table} ADD COLUMN {TARGET_COLUMN} text"

    def insert(self, *, has_target: bool) -> str:
        """Return the statement that inserts the row of `entry_row`."""
        names = (*COLUMNS, TARGET_COLUMN) if has_target else COLUMNS
        marks = ", ".join([self.mark] * len(names))
        return f"INSERT INTO {self.table} ({', '.join(names)}) VALUES ({marks})"  # noqa: S608

    def _of_target(self, *, has_target: bool) -> str:
        """Return a condition for the entries of a target, with the target as both parameters."""
        parameter = f"CAST({self.mark} AS text)"
        column = TARGET_COLUMN if has_target else "NULL"
        return f"({column} IS NULL OR {parameter} IS NULL OR {column} = {parameter})"

    def resolve(self, *, has_target: bool) -> str:
        """Return the statement that resolves the entries of one record; see `resolution_row`."""
        values = ", ".join(f"{name} = {self.mark}" for name in RESOLUTION_COLUMNS)
        return (
            f"UPDATE {self.table} SET {values} "  # noqa: S608
            f"WHERE pipeline = {self.mark} AND record_key = {self.mark} AND resolved_at IS NULL "
            f"AND {self._of_target(has_target=has_target)}"
        )

    def open_keys(self, *, has_target: bool) -> str:
        """Return the statement that selects the keys of the open records of a pipeline.

        The parameters are the pipeline, and twice the target.
        """
        return (
            f"SELECT DISTINCT record_key FROM {self.table} "  # noqa: S608
            f"WHERE pipeline = {self.mark} AND resolved_at IS NULL "
            f"AND {self._of_target(has_target=has_target)}"
        )

    def heads(self, *, place: str, only_open: bool, order: str, has_target: bool) -> str:
        """Return the statement that selects the fields of `EntryHead`.

        `place` is an expression that identifies a row.
        """
        condition = " AND resolved_at IS NULL" if only_open else ""
        target = TARGET_COLUMN if has_target else "NULL"
        return (
            f"SELECT {place}, pipeline, record_key, stage, at, {target} FROM {self.table} "  # noqa: S608
            f"WHERE pipeline = {self.mark}{condition} ORDER BY {order}"
        )

    def read(self, *, condition: str, has_target: bool) -> str:
        """Return the statement that selects the entry in the row with this condition."""
        target = TARGET_COLUMN if has_target else "NULL"
        columns = ", ".join(ALL_COLUMNS)
        return f"SELECT {columns}, {target} FROM {self.table} WHERE {condition}"  # noqa: S608

    def select(self, *, only_open: bool, order: str, has_target: bool) -> str:
        """Return the statement that selects the entries of a pipeline, in the given order."""
        condition = " AND resolved_at IS NULL" if only_open else ""
        target = TARGET_COLUMN if has_target else "NULL"
        return (
            f"SELECT {', '.join(ALL_COLUMNS)}, {target} FROM {self.table} "  # noqa: S608
            f"WHERE pipeline = {self.mark}{condition} ORDER BY {order}"
        )


def require_quarantine_columns(present: Collection[str], table: str, shown: str) -> None:
    """Raise UserError if an existing table lacks a column of the quarantine."""
    for name in ALL_COLUMNS:
        if name not in present:
            raise UserError(
                f"{shown}: table '{table}' has no column '{name}', so it is not a quarantine",
                hint=did_you_mean(name, present)
                or "use the name of a table that does not exist; Loom creates it",
            )


def entry_row(entry: QuarantineEntry, *, has_target: bool) -> tuple[str | None, ...]:
    """Return the values of `COLUMNS` for an entry, and its target if the table has the column."""
    values = stored_values(entry)
    row = tuple(
        orjson.dumps(value).decode()
        if name in JSON_COLUMNS and value is not None
        else _as_text(value)
        for name, value in ((name, values[name]) for name in COLUMNS)
    )
    return (*row, entry.target) if has_target else row


def _as_text(value: object) -> str | None:
    return None if value is None else str(value)


def resolution_row(resolution: Resolution) -> tuple[str | None, ...]:
    """Return the parameters of the statement `resolve`."""
    return (
        resolution.resolved_at,
        resolution.resolved_by,
        hide_in(resolution.why),
        resolution.pipeline,
        resolution.record_key,
        resolution.target,
        resolution.target,
    )


def read_entry(row: Sequence[object]) -> QuarantineEntry | None:
    """Return the entry in a row with the values of `ALL_COLUMNS` and the target.

    The result is None if the row is damaged.
    """
    values: dict[str, object] = dict(zip((*ALL_COLUMNS, TARGET_COLUMN), row, strict=True))
    try:
        for name in JSON_COLUMNS:
            text = values[name]
            values[name] = orjson.loads(text) if isinstance(text, str) else None
        entry = msgspec.convert(values, _Row)
    except (orjson.JSONDecodeError, msgspec.ValidationError):
        return None
    return QuarantineEntry(
        **{
            **{name: getattr(entry, name) for name in (*ALL_COLUMNS, TARGET_COLUMN)},
            "scores": entry.scores or {},
            "reasons": entry.reasons or {},
        }
    )


class _Row(Struct):
    """The types of the columns."""

    run_id: str
    pipeline: str
    record_key: str
    stage: str
    reason: str
    at: str
    record: dict[str, object]
    scores: dict[str, float | None] | None
    reasons: dict[str, str | None] | None
    output: dict[str, object] | None
    error: str | None
    resolved_at: str | None
    resolved_by: str | None
    why: str | None
    target: str | None
