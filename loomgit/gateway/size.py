"""How many tokens a request has, without the model's tokenizer: at most, and likely."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.keys import canonical
from loomgit.gateway.wire import INSTRUCTION

if TYPE_CHECKING:
    from loomgit.domain.models import Request

FRAME = 16  # tokens that a provider counts around a message, generously
BYTES_PER_TOKEN = 4  # of English text


def most_tokens(request: Request) -> int:
    """No tokenizer makes more tokens than there are bytes of UTF-8."""
    texts = sum(len(message.content.encode()) + FRAME for message in request.messages)
    if request.params:
        texts += len(canonical(dict(request.params)))
    if request.schema is None:
        return texts
    return texts + len(canonical(request.schema)) + len(INSTRUCTION) + FRAME


def likely_tokens(request: Request) -> int:
    """About as many as a tokenizer finds in English text."""
    return most_tokens(request) // BYTES_PER_TOKEN
