"""Gateway that makes one call for equal requests from several processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import orjson

from loomgit.gateway.reply_codec import parse, render, request_key
from loomgit.gateway.routing import EMBEDDED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection

    from loomgit.domain.models import Completion, Purpose, Request
    from loomgit.domain.ports import Gateway

POLL = 0.01  # seconds between two checks for the reply of another process
# After this many checks, a waiting process tries to claim the call, because the process that makes
# the call may have ended.
ORPHAN_ROUNDS = 50


class CallClaims(Protocol):
    """Decides which of several processes makes a call. `key` identifies equal calls."""

    def claim_call(self, key: bytes) -> bool:
        """Try to claim the call, and return whether this process must make the call.

        The result is False while another running process makes the call.
        """
        ...

    def find_reply(self, key: bytes) -> bytes | None:
        """Return the published reply, or None if the call is in flight.

        Raises KeyError if no process makes the call.
        """
        ...

    def publish_reply(self, key: bytes, reply: bytes) -> None:
        """Publish the reply for the other processes."""
        ...

    def release_call(self, key: bytes) -> None:
        """Release the claim after a failed call."""
        ...


class SharedCallGateway:
    """Makes one call for equal requests from several processes.

    The other processes wait for the reply, and return it as a cache hit. The cache gateway wraps
    this gateway. `purposes` are the purposes (`transform`, `evaluate`) for which the cache is
    enabled. Each process makes its own call for a request with another purpose, for a fresh or
    uncacheable request, and for a request to the embedded model.

    If a call fails, its error is raised only in the process that made the call. A process that
    waited for the reply then makes the call itself.
    """

    def __init__(self, inner: Gateway, claims: CallClaims, purposes: Collection[Purpose]) -> None:
        self._inner = inner
        self._claims = claims
        self._purposes = frozenset(purposes)

    async def complete(self, request: Request) -> Completion:
        """Return the reply. Another process may have made the call."""
        # A `fresh` request needs a new reply, so its call is never shared.
        shareable = request.cacheable and not request.fresh
        shared = shareable and request.purpose in self._purposes
        if not shared or request.model.startswith(EMBEDDED_PREFIX):
            return await self._inner.complete(request)
        key = request_key(request)
        while not self._claims.claim_call(key):
            reply = await self._wait(key)
            if reply is not None:
                return parse(orjson.loads(reply))
        try:
            completion = await self._inner.complete(request)
        except BaseException:
            self._claims.release_call(key)
            raise
        self._claims.publish_reply(key, orjson.dumps(render(completion)))
        return completion

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()

    async def _wait(self, key: bytes) -> bytes | None:
        """Return the reply of another process, or None if this process should claim the call."""
        for _ in range(ORPHAN_ROUNDS):
            try:
                reply = self._claims.find_reply(key)
            except KeyError:
                return None
            if reply is not None:
                return reply
            await asyncio.sleep(POLL)
        return None
