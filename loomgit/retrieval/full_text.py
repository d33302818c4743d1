"""Full-text search in documents with SQLite's FTS5. BM25 ranks the matching passages.

An index is a file; its name is a hash of the documents. The first process that needs an index
builds it in a temporary file, and then renames this file. After that, the index never changes.
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

FORMAT = 1  # increase this number if you change how documents are cut or indexed
MAX_INDEXES = 8  # the number of indexes to keep; the least recently used are removed
MOST_TERMS = 200  # maximum number of words in a search; later words of a question help little
_WORD = re.compile(r"[^\W_]+")
_TABLE = (
    "CREATE VIRTUAL TABLE passages USING fts5(document UNINDEXED, number UNINDEXED, text, "
    "tokenize = 'unicode61 remove_diacritics 2')"
)
# bm25() is lower for better matches. Equal matches keep the order of the documents.
_SEARCH = (
    "SELECT document, number, text FROM passages WHERE passages MATCH ? "
    "ORDER BY round(bm25(passages), 9), rowid LIMIT ?"
)


class FullText:
    """Searches documents for passages that contain at least one word of a text (the question).

    `documents` maps the paths of the documents to their Git ids. `read` returns the texts of the
    documents by path; it is called only if the index does not exist. `folder` contains the indexes.
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
        """Build the index if it does not exist.

        Raises WorldError if the index cannot be written. Passes on errors that `read` raises.
        """
        try:
            if self._path.is_file():
                with contextlib.suppress(OSError):
                    os.utime(self._path)  # mark the index as recently used
                return
            self._build()
        except (sqlite3.Error, OSError) as error:
            raise WorldError(f"the index of documents cannot be written: {error}") from error

    async def retrieve(self, question: str, count: int) -> Sequence[Passage]:
        """Return up to `count` passages, best first. The result is empty if no word matches."""
        return await asyncio.to_thread(self.search, question, count)

    def search(self, question: str, count: int) -> list[Passage]:
        """Return the same result as `retrieve`, but block until the search ends.

        Raises WorldError if the index cannot be read.
        """
        query = render_query(question)
        if not query:
            return []
        try:
            return self._query(query, count)
        except sqlite3.DatabaseError:
            # The index is damaged, or another process has removed it. Build it again below.
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
        try:
            self._build()
            return self._query(query, count)
        except (sqlite3.Error, OSError) as error:
            raise WorldError(f"the index of documents cannot be read: {error}") from error

    def _query(self, query: str, count: int) -> list[Passage]:
        # An index never changes, so a lock is unnecessary.
        address = f"{self._path.absolute().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(address, uri=True)) as database:
            return [Passage(*row) for row in database.execute(_SEARCH, (query, count))]

    def _build(self) -> None:
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{uuid4().hex}.tmp"
        rows = (
            (passage.document, passage.number, passage.text)
            for document, text in sorted(self._read().items())
            for passage in cut(document, text)
        )
        try:
            # Begin the transaction explicitly. Before Python 3.13, the sqlite3 module does not
            # start one in a Turkish locale.
            with closing(sqlite3.connect(temporary, isolation_level=None)) as database:
                database.execute("PRAGMA journal_mode = OFF")
                database.execute("PRAGMA synchronous = OFF")
                database.execute("BEGIN")
                database.execute(_TABLE)
                database.executemany("INSERT INTO passages VALUES (?, ?, ?)", rows)
                database.execute("INSERT INTO passages(passages) VALUES ('optimize')")
                database.execute("COMMIT")
            temporary.replace(self._path)
        finally:
            temporary.unlink(missing_ok=True)
        self._evict()

    def _evict(self) -> None:
        """Remove the least recently used indexes, and the temporary files of killed processes."""
        with contextlib.suppress(OSError):  # another process may remove the same files
            indexes = sorted(
                self._path.parent.glob("*.sqlite"), key=lambda file: file.stat().st_mtime
            )
            for old in indexes[:-MAX_INDEXES]:
                if old != self._path:
                    old.unlink(missing_ok=True)
            newest = self._path.stat().st_mtime
            for temporary in self._path.parent.glob(".*.tmp"):
                if temporary.stat().st_mtime < newest - 3600:
                    temporary.unlink(missing_ok=True)


def render_query(question: str) -> str:
    """Return the FTS5 query for passages that contain any word of a question.

    Each word is in quotes, so that FTS5 does not treat it as an operator.
    """
    words = _WORD.findall(unicodedata.normalize("NFC", question))
    words = list(dict.fromkeys(words))[:MOST_TERMS]
    return " OR ".join(f'"{word}"' for word in words)
