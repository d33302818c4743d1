"""Gateway that returns stored replies, and makes one call for equal concurrent requests."""

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
    """Returns stored replies, and makes one call for equal concurrent requests.

    `rules` define for each purpose whether, and for how long, a reply is reused. If `locks` are
    given, one process makes the call, and the other processes wait for the reply. If `refresh` is
    True, only replies that this gateway stored are reused. A request that waits for another
    request's call counts as a hit, and fails if the call fails. A `fresh` request always makes a
    call and replaces the stored reply. Calls to the embedded model bypass the cache, because they
    are as fast as the cache, cost nothing, and must not evict replies that were paid for.
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
        """Return the stored reply, the reply of an equal call in flight, or a new reply."""
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
        """Make the call. If another process makes the call already, wait for the reply."""
        locks = self._locks
        if locks is None:
            return await self._call(key, request)
        try:
            while not locks.acquire(key):
                await asyncio.sleep(POLL)
                stored = self._store.find(key, ttl=ttl)
                if stored is not None:
                    return stored
        except OSError:  # the folder cannot be written: the store warns about this too
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
