"""Passages (pieces of documents that a retriever finds), and the text in which they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.values import as_text

if TYPE_CHECKING:
    from loomgit.domain.values import Json, JsonObject

RETRIEVED = "retrieved_documents"  # the record's field that contains the retrieved passages


class Passage(Struct, frozen=True):
    """A piece of a document.

    `document` is the path of the document in the project. `number` is the position of the piece in
    the document, starting at 1.
    """

    document: str
    number: int
    text: str

    def as_json(self) -> JsonObject:
        """Return the passage as the JSON object that prompts and evaluators receive in a record."""
        return {"document": self.document, "number": self.number, "text": self.text}


def show_document(value: Json) -> str:
    """Return the text of a document that a record contains.

    If the document is a passage, the text begins with its source, such as `[docs/a.md#2]`.
    """
    if isinstance(value, dict) and value.keys() == {"document", "number", "text"}:
        return f"[{as_text(value['document'])}#{as_text(value['number'])}] {as_text(value['text'])}"
    return as_text(value)
