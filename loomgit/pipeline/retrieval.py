"""Retrieval: finds passages for a record that has no documents, and adds them to the record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.passages import show_document
from loomgit.domain.values import Json, as_text
from loomgit.errors import WorldError

if TYPE_CHECKING:
    from loomgit.domain.ports import Retriever
    from loomgit.domain.records import Record


class RetrievalFailure(Exception):
    """Retrieval could not find documents for a record. The text is the reason in one line.

    `infrastructure` is true if the retriever failed, and false if the record caused the error.
    """

    def __init__(self, reason: str, *, infrastructure: bool = False) -> None:
        super().__init__(reason)
        self.infrastructure = infrastructure


class Documents(list[Json]):
    """The documents of a record. In a prompt, each document is shown with its source."""

    def __str__(self) -> str:
        return "\n\n".join(map(show_document, self))


class Retrieval:
    """Searches for passages, and stores them in the record.

    `query_field` is the name of the field with the query. `field` is the name of the field for the
    passages. `count` is the maximum number of passages.
    """

    def __init__(self, retriever: Retriever, *, field: str, query_field: str, count: int) -> None:
        self._retriever = retriever
        self._field = field
        self._query_field = query_field
        self._count = count

    async def supply(self, record: Record) -> Record:
        """Return the record with documents. A record that already has documents is not changed.

        Raises RetrievalFailure if the record lacks the query field or the retriever fails.
        """
        if record.input.get(self._field) not in (None, "", []):
            return record
        if self._query_field not in record.input:
            raise RetrievalFailure(
                f"transform.retrieve: the record has no field '{self._query_field}' to search by"
            )
        value = record.input[self._query_field]
        query = "" if value is None else as_text(value)
        try:
            passages = await self._retriever.retrieve(query, self._count)
        except WorldError as error:
            raise RetrievalFailure(error.message, infrastructure=True) from error
        documents = Documents(passage.as_json() for passage in passages)
        return replace(record, input={**record.input, self._field: documents})
