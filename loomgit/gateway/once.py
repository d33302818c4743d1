"""The gateway that makes one call of equal requests of several processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import orjson

from loomgit.gateway.kept import parse, render, request_key
from loomgit.gateway.routing import EMBEDDED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Collection

    from loomgit.domain.models import Completion, Purpose, Request
    from loomgit.domain.ports import Gateway

POLL = 0.01  # seconds between two looks at what another process was answered
ORPHAN_ROUNDS = 50  # looks after which one tries to take over from a process that may be gone


class Claims(Protocol):
    """Where processes agree who makes a call."""

    def claim_call(self, key: bytes) -> bool:
        """Whether the call is this process's: nobody makes it, or its process is gone."""
        ...

    def find_reply(self, key: bytes) -> bytes | None:
        """What was answered; None where nothing is yet. Raises KeyError for a call nobody makes."""
        ...

    def keep_reply(self, key: bytes, reply: bytes) -> None:
        """Give the reply to the others."""
        ...

    def drop_call(self, key: bytes) -> None:
        """Give the call up: it failed."""
        ...


class OnceGateway:
    """Asks for a process what no other asks, and takes their replies as hits.

    It stands behind a cache, for the `purposes` that one is used for: what is to be asked anew each
    time is. A call that fails fails for its own process alone; who waited for it asks itself.
    """

    def __init__(self, inner: Gateway, claims: Claims, purposes: Collection[Purpose]) -> None:
        self._inner = inner
        self._claims = claims
        self._purposes = frozenset(purposes)

    async def complete(self, request: Request) -> Completion:
        """Return the reply, whoever asked for it."""
        # What is to replace a reply that all of them know is each one's own.
        kept = request.cacheable and not request.fresh
        shared = kept and request.purpose in self._purposes
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
            self._claims.drop_call(key)
            raise
        self._claims.keep_reply(key, orjson.dumps(render(completion)))
        return completion

    async def close(self) -> None:
        """Close the gateway behind this one."""
        await self._inner.close()

    async def _wait(self, key: bytes) -> bytes | None:
        """The reply that another process waits for; None where one should try to make the call."""
        for _ in range(ORPHAN_ROUNDS):
            try:
                reply = self._claims.find_reply(key)
            except KeyError:
                return None
            if reply is not None:
                return reply
            await asyncio.sleep(POLL)
        return None
