"""The keys that a run has loaded into a PostgreSQL table, in temporary tables of its connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.rows.postgres_connection import quote
from loomgit.rows.postgres_copy import NULL, copy_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.rows.postgres_connection import Connection

# Qualified, so that a table of the user with the same name is never used instead.
_SEEN = "pg_temp._loom_seen_keys"  # with an index
_COPIED = "pg_temp._loom_copied_keys"  # without an index; its keys belong to _SEEN
_SAMPLE = "pg_temp._loom_key_sample"
_SAMPLE_SIZE = 100  # keys of a batch


class LoadedKeys:
    """The keys of the batches that a run has loaded into the table `target`.

    `target` is the quoted name of the table, and `key` are its key columns. `texts` are the values
    of the key columns in a batch, from `copy_texts`. The keys belong to the transaction that adds
    them.
    """

    def __init__(self, target: str, key: Sequence[str]) -> None:
        self._target = target
        self._key = key
        self._columns = ", ".join(map(quote, key))
        self.is_created = False  # whether the temporary tables exist

    def create(self, connection: Connection) -> None:
        """Create the temporary tables if they do not exist, with the types of the table."""
        if self.is_created:
            return
        for name, on_commit in ((_SEEN, "PRESERVE"), (_COPIED, "PRESERVE"), (_SAMPLE, "DELETE")):
            connection.execute(
                f"CREATE TEMP TABLE {name.partition('.')[2]} ON COMMIT {on_commit} ROWS AS "  # noqa: S608 - quoted
                f"SELECT {self._columns} FROM {self._target} LIMIT 0"
            )
        connection.execute(f"ALTER TABLE {_SEEN} ADD PRIMARY KEY ({self._columns})")
        self.is_created = True

    def may_be_new(self, connection: Connection, texts: Sequence[Sequence[str]]) -> bool:
        """Whether no key of a sample of the batch is in the table, and all keys have values."""
        if any(NULL in column for column in texts):
            return False
        step = -(-len(texts[0]) // _SAMPLE_SIZE)
        copy_columns(connection, _SAMPLE, self._key, [column[::step] for column in texts])
        # Because of OFFSET, PostgreSQL looks up each key and never reads the whole table.
        found = connection.execute(
            f"SELECT 1 FROM {_SAMPLE} r WHERE EXISTS "  # noqa: S608 - quoted
            f"(SELECT 1 FROM {self._target} s WHERE {self._match} OFFSET 0) LIMIT 1"
        ).fetchone()
        return found is None

    def add_copied(self, connection: Connection, texts: Sequence[Sequence[str]]) -> None:
        """Add the keys of a batch that was copied into the table. `add` is slower."""
        copy_columns(connection, _COPIED, self._key, texts)

    def add(self, connection: Connection, incoming: str) -> int:
        """Add the keys of the batch in the table `incoming`. Return how many are new."""
        self._index_copied(connection)
        return connection.execute(
            f"INSERT INTO {_SEEN} SELECT {self._columns} FROM {incoming} ON CONFLICT DO NOTHING"  # noqa: S608
        ).rowcount

    def rows(self, connection: Connection, incoming: str, *, seen: bool) -> str:
        """Return a subquery: the rows of `incoming` whose keys were added, or all other rows.

        `incoming` is the temporary table that contains a batch.
        """
        self._index_copied(connection)
        exists = "EXISTS" if seen else "NOT EXISTS"
        return (
            f"(SELECT * FROM {incoming} r WHERE {exists} "  # noqa: S608 - quoted
            f"(SELECT 1 FROM {_SEEN} s WHERE {self._match})) batch"
        )

    @property
    def _match(self) -> str:
        return " AND ".join(f"s.{quote(name)} = r.{quote(name)}" for name in self._key)

    def _index_copied(self, connection: Connection) -> None:
        """Move the keys from _COPIED to _SEEN."""
        if connection.execute(f"SELECT 1 FROM {_COPIED} LIMIT 1").fetchone() is not None:  # noqa: S608 - constant
            connection.execute(
                f"INSERT INTO {_SEEN} SELECT * FROM {_COPIED} ON CONFLICT DO NOTHING"  # noqa: S608 - constant
            )
            connection.execute(f"TRUNCATE {_COPIED}")
