"""Estimates the number of tokens in a request, and computes an upper bound for this number.

Neither function needs the model's tokenizer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.keys import canonical
from loomgit.gateway.wire import INSTRUCTION

if TYPE_CHECKING:
    from loomgit.domain.models import Request

FRAME = 16  # upper bound for the tokens that a provider adds to each message
BYTES_PER_TOKEN = 4  # average in English text


def max_tokens_bound(request: Request) -> int:
    """Return an upper bound for the number of tokens in the request.

    No tokenizer produces more tokens than the text has bytes in UTF-8.
    """
    texts = sum(len(message.content.encode()) + FRAME for message in request.messages)
    if request.params:
        texts += len(canonical(dict(request.params)))
    if request.schema is None:
        return texts
    return texts + len(canonical(request.schema)) + len(INSTRUCTION) + FRAME


def estimate_tokens(request: Request) -> int:
    """Return an estimate of the number of tokens in the request, for English text."""
    return max_tokens_bound(request) // BYTES_PER_TOKEN
