"""Retrieval: a record that brings no documents gets the passages that answer its question."""

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
    """A record can have no documents; the text is the one-line reason.

    `infrastructure` says that the retriever failed and not the record.
    """

    def __init__(self, reason: str, *, infrastructure: bool = False) -> None:
        super().__init__(reason)
        self.infrastructure = infrastructure


class Documents(list[Json]):
    """The documents of a record; written into a prompt as they are, each stands with its source."""

    def __str__(self) -> str:
        return "\n\n".join(map(show_document, self))


class Retrieval:
    """Gives records `count` passages under the name `field`, searched by their `query_field`."""

    def __init__(self, retriever: Retriever, *, field: str, query_field: str, count: int) -> None:
        self._retriever = retriever
        self._field = field
        self._query_field = query_field
        self._count = count

    async def supply(self, record: Record) -> Record:
        """The record with its documents; one that brings its own is left as it is.

        Raises RetrievalFailure.
        """
        if record.input.get(self._field) not in (None, "", []):
            return record
        if self._query_field not in record.input:
            raise RetrievalFailure(
                f"transform.retrieve: the record has no field '{self._query_field}' to search by"
            )
        value = record.input[self._query_field]
        question = "" if value is None else as_text(value)
        try:
            found = await self._retriever.retrieve(question, self._count)
        except WorldError as error:
            raise RetrievalFailure(error.message, infrastructure=True) from error
        documents = Documents(passage.as_json() for passage in found)
        return replace(record, input={**record.input, self._field: documents})
