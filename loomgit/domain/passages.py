"""Passages of documents: what a question is answered from, and how it is shown with its source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.values import as_text

if TYPE_CHECKING:
    from loomgit.domain.values import Json, JsonObject

RETRIEVED = "retrieved_documents"  # the record's field that passages go to where none is named


class Passage(Struct, frozen=True):
    """A piece of a document: the document's path in the project, its number there (from 1), its
    text."""

    document: str
    number: int
    text: str

    def as_json(self) -> JsonObject:
        """The passage as prompts and evaluators see it in a record."""
        return {"document": self.document, "number": self.number, "text": self.text}


def show_document(value: Json) -> str:
    """A document of a record as text; a passage with its source before it: `[docs/a.md#2] ...`."""
    if isinstance(value, dict) and value.keys() == {"document", "number", "text"}:
        return f"[{as_text(value['document'])}#{as_text(value['number'])}] {as_text(value['text'])}"
    return as_text(value)
