"""Full-text search with SQLite's FTS5: an index of passages on disk, ranked by BM25.

An index is named by the hash of what it holds, so it is built once, by whoever comes first, and
never changed: written aside and put in place whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sqlite3
import unicodedata
from contextlib import closing
from typing import TYPE_CHECKING
from uuid import uuid4

from loomgit.domain.keys import digest
from loomgit.domain.passages import Passage
from loomgit.errors import WorldError
from loomgit.retrieval.passages import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

FORMAT = 1  # raised when the same documents would be cut, or searched, differently
KEPT = 8  # indexes that stay, the last used
MOST_TERMS = 200  # of a question; those that come later say little more
_WORD = re.compile(r"[^\W_]+")
_TABLE = (
    "CREATE VIRTUAL TABLE passages USING fts5(document UNINDEXED, number UNINDEXED, text, "
    "tokenize = 'unicode61 remove_diacritics 2')"
)
# SQLite gives the better the lower number; what is equal keeps the documents' order.
_SEARCH = (
    "SELECT document, number, text FROM passages WHERE passages MATCH ? "
    "ORDER BY round(bm25(passages), 9), rowid LIMIT ?"
)


class FullText:
    """Searches documents by the words of a question; it need not hold all of them.

    `documents` are Git's ids by path, `read` gives their texts and is asked only where the index is
    not there; `folder` holds the indexes.
    """

    def __init__(
        self,
        documents: Mapping[str, str],
        read: Callable[[], Mapping[str, str]],
        folder: Path,
    ) -> None:
        self._read = read
        self._path = folder / f"{digest([FORMAT, sorted(documents.items())])}.sqlite"

    def prepare(self) -> None:
        """Build the index where there is none. Raises what `read` raises, or WorldError."""
        try:
            if self._path.is_file():
                with contextlib.suppress(OSError):
                    os.utime(self._path)  # the last used stay
                return
            self._build()
        except (sqlite3.Error, OSError) as error:
            raise WorldError(f"the index of documents cannot be written: {error}") from error

    async def retrieve(self, question: str, count: int) -> Sequence[Passage]:
        """The `count` passages that answer best, best first; none where no word is found."""
        return await asyncio.to_thread(self.search, question, count)

    def search(self, question: str, count: int) -> list[Passage]:
        """As `retrieve`, blocking."""
        query = query_of(question)
        if not query:
            return []
        try:
            return self._ask(query, count)
        except sqlite3.DatabaseError:
            # Taken away by another process, or damaged: it is made of what is there, so once more.
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        try:
            self._build()
            return self._ask(query, count)
        except (sqlite3.Error, OSError) as error:
            raise WorldError(f"the index of documents cannot be read: {error}") from error

    def _ask(self, query: str, count: int) -> list[Passage]:
        # An index never changes, so that nobody need lock it.
        address = f"{self._path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as database:
            return [Passage(*row) for row in database.execute(_SEARCH, (query, count))]

    def _build(self) -> None:
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{uuid4().hex}.tmp"
        rows = (
            (passage.document, passage.number, passage.text)
            for document, text in sorted(self._read().items())
            for passage in cut(document, text)
        )
        try:
            # In a Turkish locale, sqlite3 does not begin a transaction by itself (Python < 3.13).
            with closing(sqlite3.connect(aside, isolation_level=None)) as database:
                database.execute("PRAGMA journal_mode = OFF")
                database.execute("PRAGMA synchronous = OFF")
                database.execute("BEGIN")
                database.execute(_TABLE)
                database.executemany("INSERT INTO passages VALUES (?, ?, ?)", rows)
                database.execute("INSERT INTO passages(passages) VALUES ('optimize')")
                database.execute("COMMIT")
            aside.replace(self._path)
        finally:
            aside.unlink(missing_ok=True)
        self._forget()

    def _forget(self) -> None:
        """Take away the indexes that were not used for longest, and what a killed build left."""
        with contextlib.suppress(OSError):  # another process may be at it
            found = sorted(
                self._path.parent.glob("*.sqlite"), key=lambda file: file.stat().st_mtime
            )
            for old in found[:-KEPT]:
                if old != self._path:
                    old.unlink(missing_ok=True)
            newest = self._path.stat().st_mtime
            for left in self._path.parent.glob(".*.tmp"):
                if left.stat().st_mtime < newest - 3600:
                    left.unlink(missing_ok=True)


def query_of(question: str) -> str:
    """A question as FTS5 asks it: any of its words, each in quotes, so that none is an operator."""
    words = _WORD.findall(unicodedata.normalize("NFC", question))
    words = list(dict.fromkeys(words))[:MOST_TERMS]
    return " OR ".join(f'"{word}"' for word in words)
