"""The gateway that asks nothing twice: kept replies first, and one call for equal requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from loomgit.gateway.flights import Flights
from loomgit.gateway.kept import request_key
from loomgit.gateway.routing import EMBEDDED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.definitions import CacheRule
    from loomgit.domain.models import Completion, Purpose, Request
    from loomgit.domain.ports import Gateway
    from loomgit.gateway.call_locks import CallLocks
    from loomgit.gateway.reply_store import ReplyStore

POLL = 0.02  # seconds between two looks for a reply that another process waits for


class CacheGateway:
    """Returns stored replies, and makes one call for equal concurrent requests.

    `rules` set for each purpose whether, and for how long, a reply is reused. With `locks`, one
    process makes the call and the others wait for its reply. With `refresh`, only replies of this
    gateway are reused. A request that waits counts as a hit, and fails if the call fails. A `fresh`
    request always calls and replaces the stored reply. The embedded model is always called: it is
    as quick, costs nothing, and must not push out replies that were paid for.
    """

    def __init__(
        self,
        inner: Gateway,
        store: ReplyStore,
        rules: Mapping[Purpose, CacheRule],
        *,
        locks: CallLocks | None = None,
        refresh: bool = False,
    ) -> None:
        self._inner = inner
        self._store = store
        self._rules = {purpose: rule for purpose, rule in rules.items() if rule.enabled}
        self._fresh: set[bytes] | None = set() if refresh else None
        self._locks = locks
        self._flights = Flights()

    async def complete(self, request: Request) -> Completion:
        """Return the kept reply, or the one that is under way, or a new one."""
        rule = self._rules.get(request.purpose)
        if rule is None or not request.cacheable or request.model.startswith(EMBEDDED_PREFIX):
            return await self._inner.complete(request)
        key = request_key(request)

        async def ask() -> Completion:
            if request.fresh or (self._fresh is not None and key not in self._fresh):
                return await self._call(key, request)
            return self._store.find(key, ttl=rule.ttl) or await self._find_or_call(
                key, request, rule.ttl
            )

        return await self._flights.join(key, ask)

    async def _find_or_call(self, key: bytes, request: Request, ttl: float | None) -> Completion:
        """Call, or wait for the reply where another process makes the call."""
        locks = self._locks
        if locks is None:
            return await self._call(key, request)
        try:
            while not locks.acquire(key):
                await asyncio.sleep(POLL)
                found = self._store.find(key, ttl=ttl)
                if found is not None:
                    return found
        except OSError:  # the folder cannot be written: the store has the same fault and says so
            return await self._call(key, request)
        try:
            found = self._store.find(key, ttl=ttl)  # another process may have had the lock
            if found is None:
                return await self._call(key, request, on_disk=lambda: locks.release(key))
        except BaseException:
            locks.release(key)
            raise
        locks.release(key)
        return found

    async def _call(
        self, key: bytes, request: Request, *, on_disk: Callable[[], None] = lambda: None
    ) -> Completion:
        completion = await self._inner.complete(request)
        self._store.put(key, completion, on_disk=on_disk)
        if self._fresh is not None:
            self._fresh.add(key)
        return completion

    async def close(self) -> None:
        """Write what is not written yet, and close the gateway behind this one."""
        try:
            await asyncio.to_thread(self._store.close)
        finally:
            await self._inner.close()
