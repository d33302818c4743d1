"""The gateway that asks nobody: it takes the size of each request, and makes up the reply."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.models import Completion, Request
from loomgit.gateway.kept import request_key
from loomgit.gateway.routing import EMBEDDED_PREFIX
from loomgit.gateway.size import likely_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from loomgit.domain.definitions import CacheRule
    from loomgit.domain.models import Purpose


class Probed(Struct, frozen=True):
    """A request that was not made; `key` is None where no kept reply could answer it."""

    request: Request
    tokens: int
    key: bytes | None


class ProbeGateway:
    """Replies with what `reply` makes up for a request, and notes it; `rules` say what is cached.

    A request to repair a reply is not noted: it answers what was made up.
    """

    def __init__(self, rules: Mapping[Purpose, CacheRule], reply: Callable[[Request], str]) -> None:
        self._rules = rules
        self._reply = reply
        self.probed: list[Probed] = []

    async def complete(self, request: Request) -> Completion:
        """Return a made-up reply that cost nothing."""
        if all(message.role != "assistant" for message in request.messages):
            rule = self._rules.get(request.purpose)
            kept = rule is not None and rule.enabled and request.cacheable
            kept = kept and not request.model.startswith(EMBEDDED_PREFIX)
            key = request_key(request) if kept else None
            self.probed.append(Probed(request, likely_tokens(request), key))
        return Completion(self._reply(request), request.model, cost=0.0)

    async def close(self) -> None:
        """There is nothing to close."""


def find_kept(path: Path, keys: Mapping[bytes, float]) -> frozenset[bytes]:
    """Those of the keys that the store of replies at `path` has, made at the time given or later.

    It is only read: no reply counts as used. One that cannot be read has none.
    """
    found: set[bytes] = set()
    if not path.exists():
        return frozenset()
    with (
        suppress(sqlite3.Error),
        closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database,
    ):
        for key, since in keys.items():
            row = database.execute("SELECT created FROM replies WHERE key = ?", (key,)).fetchone()
            if row is not None and row[0] >= since:
                found.add(key)
    return frozenset(found)
