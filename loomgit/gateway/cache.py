"""The gateway that asks nothing twice: kept replies first, and one call for equal requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from loomgit.gateway.flights import Flights
from loomgit.gateway.kept import request_key
from loomgit.gateway.routing import EMBEDDED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.definitions import CacheRule
    from loomgit.domain.models import Completion, Purpose, Request
    from loomgit.domain.ports import Gateway
    from loomgit.gateway.reply_store import ReplyStore


class CacheGateway:
    """Answers from `store` what was answered before, and calls once where equals ask at once.

    `rules` say for each purpose whether, and for how long, a reply may be used again. With
    `refresh` only replies of this gateway's own calls are. A request that waited for an equal one
    is a hit, and fails with it. A `fresh` request is asked anew, and its reply replaces the kept
    one. The embedded model is always asked: it is as quick, costs nothing and must not push out
    what was paid for.
    """

    def __init__(
        self,
        inner: Gateway,
        store: ReplyStore,
        rules: Mapping[Purpose, CacheRule],
        *,
        refresh: bool = False,
    ) -> None:
        self._inner = inner
        self._store = store
        self._rules = {purpose: rule for purpose, rule in rules.items() if rule.enabled}
        self._fresh: set[bytes] | None = set() if refresh else None
        self._flights = Flights()

    async def complete(self, request: Request) -> Completion:
        """Return the kept reply, or the one that is under way, or a new one."""
        rule = self._rules.get(request.purpose)
        if rule is None or not request.cacheable or request.model.startswith(EMBEDDED_PREFIX):
            return await self._inner.complete(request)
        key = request_key(request)

        async def ask() -> Completion:
            if not request.fresh and (self._fresh is None or key in self._fresh):
                found = self._store.find(key, ttl=rule.ttl)
                if found is not None:
                    return found
            completion = await self._inner.complete(request)
            self._store.put(key, completion)
            if self._fresh is not None:
                self._fresh.add(key)
            return completion

        return await self._flights.join(key, ask)

    async def close(self) -> None:
        """Write what is not written yet, and close the gateway behind this one."""
        try:
            await asyncio.to_thread(self._store.close)
        finally:
            await self._inner.close()
