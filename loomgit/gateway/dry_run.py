"""Gateway for dry runs: estimates the tokens of each request, and returns a made-up reply."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.models import Completion, Request
from loomgit.gateway.reply_codec import request_key
from loomgit.gateway.routing import EMBEDDED_PREFIX
from loomgit.gateway.token_estimate import estimate_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from loomgit.domain.definitions import CacheRule
    from loomgit.domain.models import Purpose


class SizedRequest(Struct, frozen=True):
    """A request that a dry run recorded instead of sending it.

    `tokens` is the estimated number of tokens in the request. `key` is the cache key, or None if
    the cache does not apply to the request.
    """

    request: Request
    tokens: int
    key: bytes | None


class DryRunGateway:
    """Returns made-up replies, and records the requests in `probed`.

    The function `reply` creates the replies. `rules` maps each purpose (`transform`, `evaluate`) to
    its cache rule. A request that asks the model to repair a reply is not recorded, because it was
    caused by a made-up reply.
    """

    def __init__(self, rules: Mapping[Purpose, CacheRule], reply: Callable[[Request], str]) -> None:
        self._rules = rules
        self._reply = reply
        self.probed: list[SizedRequest] = []

    async def complete(self, request: Request) -> Completion:
        """Return a made-up reply with cost 0."""
        if all(message.role != "assistant" for message in request.messages):
            rule = self._rules.get(request.purpose)
            cached = rule is not None and rule.enabled and request.cacheable
            cached = cached and not request.model.startswith(EMBEDDED_PREFIX)
            key = request_key(request) if cached else None
            self.probed.append(SizedRequest(request, estimate_tokens(request), key))
        return Completion(self._reply(request), request.model, cost=0.0)

    async def close(self) -> None:
        """Do nothing, because no resource is open."""


def find_stored_keys(path: Path, keys: Mapping[bytes, float]) -> frozenset[bytes]:
    """Return the keys whose reply is in the store at `path` and is recent enough.

    `keys` maps each key to the earliest accepted creation time of its reply, in seconds since the
    epoch. The function does not update the times at which replies were last used. If the store is
    unreadable, the result is empty.
    """
    stored: set[bytes] = set()
    if not path.exists():
        return frozenset()
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database,
    ):
        for key, since in keys.items():
            row = database.execute("SELECT created FROM replies WHERE key = ?", (key,)).fetchone()
            if row is not None and row[0] >= since:
                stored.add(key)
    return frozenset(stored)
