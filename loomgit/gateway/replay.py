"""Gateway that replays recorded replies, and records new replies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.errors import Unrecorded
from loomgit.gateway.cassette import CassetteEntry, hash_request
from loomgit.gateway.reply_codec import as_hit, describe
from loomgit.gateway.singleflight import SingleFlight

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway
    from loomgit.domain.settings import Replay
    from loomgit.gateway.cassette import Cassette

HINT = "to record a reply, repeat the command with replay `auto` or `record` and a reachable model"


class CassetteGateway:
    """Replays recorded replies from a cassette, and records new replies.

    The `mode` is one of these:
    - `auto` replays recorded replies, and records missing replies.
    - `record` makes one call per request, and replaces the recorded reply.
    - `only` replays recorded replies, and raises Unrecorded if a reply is missing.
    - `off` passes all requests on.

    New entries contain `origin`, a hash of the prompt and the context. Concurrent equal requests
    share one call, so that all of them return the recorded reply. A `fresh` request replaces a
    reply that this gateway recorded, but not a reply from an earlier run. `close` writes the new
    recordings.
    """

    def __init__(self, inner: Gateway, cassette: Cassette, mode: Replay, *, origin: str) -> None:
        self._inner = inner
        self._cassette = cassette
        self._mode = mode
        self._origin = origin
        self._changed: dict[str, CassetteEntry] = {}
        self._called: set[str] = set()
        self._flights = SingleFlight()

    async def complete(self, request: Request) -> Completion:
        """Return the recorded reply as a cache hit, or a new reply.

        Raises Unrecorded if the mode is `only` and no reply is recorded.
        """
        if self._mode == "off":
            return await self._inner.complete(request)
        description = describe(request)
        key = hash_request(description)
        entry = self._find(key)
        if entry is not None and not (request.fresh and key in self._called):
            return entry.reply
        if self._mode == "only":
            raise Unrecorded(
                f"{request.model}: nothing is recorded for this request in {self._cassette.shown}",
                hint=HINT,
            )

        async def call() -> Completion:
            completion = await self._inner.complete(request)
            self._changed[key] = CassetteEntry(key, self._origin, description, as_hit(completion))
            self._called.add(key)
            return completion

        return await self._flights.join(key, call)

    async def close(self) -> None:
        """Write the new recordings, and close the inner gateway."""
        try:
            changed, self._changed = self._changed, {}
            self._cassette.save(changed.values())
        finally:
            await self._inner.close()

    def _find(self, key: str) -> CassetteEntry | None:
        entry = self._changed.get(key)
        if entry is not None or self._mode == "record":
            return entry
        entry = self._cassette.entries.get(key)
        if entry is None:
            return self._cassette.elsewhere.get(key)
        if entry.origin != self._origin and self._mode == "auto":
            entry = self._changed[key] = replace(entry, origin=self._origin)
        return entry
