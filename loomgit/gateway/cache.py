"""Gateway that returns stored replies, and makes only one call for concurrent equal requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from loomgit.gateway.reply_codec import request_key
from loomgit.gateway.routing import EMBEDDED_PREFIX
from loomgit.gateway.singleflight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.definitions import CacheRule
    from loomgit.domain.models import Completion, Purpose, Request
    from loomgit.domain.ports import Gateway
    from loomgit.gateway.call_locks import CallLocks
    from loomgit.gateway.reply_store import ReplyStore

POLL = 0.02  # seconds between two checks for the reply of another process


class CacheGateway:
    """Returns stored replies, and makes only one call for concurrent equal requests.

    `rules` maps a purpose (`transform`, `evaluate`) to its rule: whether stored replies are reused,
    and for how many seconds. If `locks` is given, only one process makes a call for equal requests,
    and the other processes wait for the stored reply. If `refresh` is true, only replies that this
    gateway stored itself are reused.

    A request that waits for the call of an equal request gets the reply as a cache hit. If the call
    fails, the waiting request fails too. A `fresh` request ignores the stored reply, and the new
    reply replaces it. Calls to the embedded model bypass the cache, because they are as fast as
    the cache and cost nothing. Their stored replies could evict replies that cost money.
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
        self._flights = SingleFlight()

    async def complete(self, request: Request) -> Completion:
        """Return the stored reply, the reply of an equal call in progress, or a new reply."""
        rule = self._rules.get(request.purpose)
        if rule is None or not request.cacheable or request.model.startswith(EMBEDDED_PREFIX):
            return await self._inner.complete(request)
        key = request_key(request)

        async def get_reply() -> Completion:
            if request.fresh or (self._fresh is not None and key not in self._fresh):
                return await self._call(key, request)
            return self._store.find(key, ttl=rule.ttl) or await self._find_or_call(
                key, request, rule.ttl
            )

        return await self._flights.join(key, get_reply)

    async def _find_or_call(self, key: bytes, request: Request, ttl: float | None) -> Completion:
        """Make the call and return its reply.

        If another process is already making an equal call, wait for the reply of that call instead.
        """
        locks = self._locks
        if locks is None:
            return await self._call(key, request)
        try:
            while not locks.acquire(key):
                await asyncio.sleep(POLL)
                stored = self._store.find(key, ttl=ttl)
                if stored is not None:
                    return stored
        except OSError:  # the lock file cannot be created; the store warns about the folder
            return await self._call(key, request)
        try:
            # Another process may have stored the reply before this process acquired the lock.
            stored = self._store.find(key, ttl=ttl)
            if stored is None:
                return await self._call(key, request, on_disk=lambda: locks.release(key))
        except BaseException:
            locks.release(key)
            raise
        locks.release(key)
        return stored

    async def _call(
        self, key: bytes, request: Request, *, on_disk: Callable[[], None] = lambda: None
    ) -> Completion:
        completion = await self._inner.complete(request)
        self._store.put(key, completion, on_disk=on_disk)
        if self._fresh is not None:
            self._fresh.add(key)
        return completion

    async def close(self) -> None:
        """Write the pending replies, and close the inner gateway."""
        try:
            await asyncio.to_thread(self._store.close)
        finally:
            await self._inner.close()
