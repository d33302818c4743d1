"""The table `_loom_state` of a PostgreSQL database: the progress of incremental pipelines."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from psycopg import errors

from loomgit.domain.watermarks import SourceProgress
from loomgit.rows.postgres_catalog import find_table
from loomgit.rows.postgres_connection import connect, qualified, translate_errors
from loomgit.rows.postgres_privileges import require_creatable, require_privileges
from loomgit.rows.stored_watermark import (
    PROGRESS_TABLE,
    decode_watermark,
    encode_watermark,
    other_sources,
    require_readable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from loomgit.domain.values import Json
    from loomgit.domain.watermarks import LoadedParts, Watermark
    from loomgit.rows.address import PostgresAddress
    from loomgit.rows.postgres_connection import Connection

_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")
# The full name of the destination, from which the address may leave out the schema.
_DESTINATION = """coalesce(
    (SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass(%s)),
    quote_ident(%s), quote_ident(current_schema())) || '.' || quote_ident(%s)
"""


class PostgresProgressTable:
    """The table `_loom_state` for a destination table.

    The row with an empty `run` contains the watermark. The other rows contain the records that a
    run has loaded with one part.
    """

    def __init__(self, address: PostgresAddress) -> None:
        assert address.table is not None  # `open_sink` reports an address without a table
        self.schema = address.loom_schema or address.schema
        self.sql = qualified(self.schema, PROGRESS_TABLE)
        self._statement = self.sql.replace("%", "%%")  # the statements have parameters
        destination = qualified(address.schema, address.table)
        self._destination = (destination, address.schema, address.table)

    def create(self, connection: Connection) -> None:
        """Create the table if it does not exist."""
        if find_table(connection, self.schema, PROGRESS_TABLE) is not None:
            return  # the statement below needs privileges even if it would change nothing
        with suppress(errors.UniqueViolation, errors.DuplicateTable):  # another run creates it now
            connection.execute(
                f"CREATE TABLE IF NOT EXISTS {self.sql} ("
                "pipeline text NOT NULL, target text NOT NULL, destination text NOT NULL, "
                "run text NOT NULL, part bigint NOT NULL, watermark text, done bytea NOT NULL, "
                "stored_at timestamptz NOT NULL DEFAULT now(), "
                "PRIMARY KEY (pipeline, target, destination, run, part))"
            )

    def store_part(
        self, connection: Connection, parts: LoadedParts, part: int, refused: Iterable[int]
    ) -> None:
        """Store the loaded records of a part, in the transaction that writes its rows.

        `refused` are the indexes of the rows that the database has refused.
        """
        done = parts.take(part, refused)
        if done:
            key = (parts.pipeline, parts.target)
            self.insert(connection, key, parts.run, part, None, done)

    def insert(
        self,
        connection: Connection,
        key: tuple[str, str],
        run: str,
        part: int,
        watermark: str | None,
        done: bytes,
    ) -> None:
        """Insert or replace a row. `key` is the pipeline and the target."""
        connection.execute(
            f"INSERT INTO {self._statement} "  # noqa: S608 - quoted
            "(pipeline, target, destination, run, part, watermark, done) "
            f"VALUES (%s, %s, {_DESTINATION}, %s, %s, %s, %s) "
            "ON CONFLICT (pipeline, target, destination, run, part) DO UPDATE "
            "SET watermark = excluded.watermark, done = excluded.done, stored_at = now()",
            (*key, *self._destination, run, part, watermark, done),
        )

    def rows(self, connection: Connection, key: tuple[str, str]) -> list[tuple[Json, ...]]:
        """Return the run, the watermark and the records of each row."""
        return connection.execute(
            f"SELECT run, watermark, done FROM {self._statement} WHERE pipeline = %s "  # noqa: S608
            f"AND target = %s AND destination = {_DESTINATION} ORDER BY run, part",
            (*key, *self._destination),
        ).fetchall()

    def marks(self, connection: Connection) -> list[tuple[Json, ...]]:
        """Return the pipeline, the target and the text of each watermark of the destination."""
        return connection.execute(
            f"SELECT pipeline, target, watermark FROM {self._statement} "  # noqa: S608 - quoted
            f"WHERE destination = {_DESTINATION} AND run = ''",
            self._destination,
        ).fetchall()

    def delete(self, connection: Connection, key: tuple[str, str], runs: list[str]) -> None:
        """Delete the parts of these runs."""
        connection.execute(
            f"DELETE FROM {self._statement} WHERE pipeline = %s AND target = %s "  # noqa: S608
            f"AND destination = {_DESTINATION} AND run = ANY (%s)",
            (*key, *self._destination, runs),
        )


class PostgresWatermarks:
    """The watermark of a pipeline in the database of its destination table."""

    stores_parts = True

    def __init__(self, address: PostgresAddress, pipeline: str, target: str) -> None:
        self._address = address
        self._shown = str(address)
        self._table = PostgresProgressTable(address)
        self._key = (pipeline, target)

    def has_published(self, state: Path) -> bool:
        """Return False: each part is stored with its records."""
        del state
        return False

    def check(self) -> None:
        """Raise UserError or WorldError if the role cannot write the table of watermarks."""
        table = self._table
        with connect(self._address) as connection, translate_errors(self._shown):
            found = find_table(connection, table.schema, PROGRESS_TABLE)
            if found is None:
                what = f"table '{PROGRESS_TABLE}'"
                require_creatable(connection, table.schema, what, self._shown)
            else:
                require_privileges(connection, found[0], table.sql, _PRIVILEGES, self._shown)

    def load(self) -> SourceProgress:
        """Return what is stored. Raises UserError or WorldError."""
        address, table = self._address, self._table
        assert address.table is not None
        with connect(address) as connection, translate_errors(self._shown):
            found = find_table(connection, address.schema, address.table)
            rows: list[tuple[Json, ...]] = []
            marks: list[tuple[Json, ...]] = []
            if find_table(connection, table.schema, PROGRESS_TABLE) is not None:
                rows = table.rows(connection, self._key)
                marks = table.marks(connection)
        watermark = None
        parts: dict[str, list[bytes]] = defaultdict(list)
        for run, text, done in rows:
            packed = bytes(done)  # type: ignore[arg-type]  # a bytea
            if run:
                parts[str(run)].append(packed)
            else:
                watermark = decode_watermark(str(text).encode(), self._shown, packed)
        require_readable((part for run in parts.values() for part in run), self._shown)
        others = other_sources(marks, self._key)
        return SourceProgress(watermark, parts, found is not None, others)

    def save(self, watermark: Watermark, runs: Iterable[str]) -> None:
        """Store the watermark, and remove the parts of these runs, in one transaction."""
        table = self._table
        with connect(self._address) as connection, translate_errors(self._shown):
            table.create(connection)
            with connection.transaction():
                text = encode_watermark(watermark).decode()
                table.insert(connection, self._key, "", 0, text, watermark.done)
                table.delete(connection, self._key, [run for run in runs if run])
