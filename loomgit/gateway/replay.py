"""The gateway that replays what was recorded, and records what is asked anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.errors import Unrecorded
from loomgit.gateway.cassette import Entry, hash_request
from loomgit.gateway.flights import Flights
from loomgit.gateway.kept import as_hit, describe

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway
    from loomgit.domain.settings import Replay
    from loomgit.gateway.cassette import Cassette

HINT = "record it: the same with replay `auto` or `record`, where the model can be reached"


class CassetteGateway:
    """Replays, records, or both, as `mode` says; `origin` marks what is asked now.

    `auto` replays and records what is missing, `record` asks everything once and replaces it,
    `only` replays and raises Unrecorded where there is nothing, `off` does nothing. Equal requests
    at the same time are one call, so that each has the reply that is recorded. A `fresh` request
    replaces what was asked here, and never what was recorded before. What was recorded is written
    when the gateway is closed.
    """

    def __init__(self, inner: Gateway, cassette: Cassette, mode: Replay, *, origin: str) -> None:
        self._inner = inner
        self._cassette = cassette
        self._mode = mode
        self._origin = origin
        self._changed: dict[str, Entry] = {}
        self._asked: set[str] = set()
        self._flights = Flights()

    async def complete(self, request: Request) -> Completion:
        """Return the recorded reply, as a hit, or a new one."""
        if self._mode == "off":
            return await self._inner.complete(request)
        asked = describe(request)
        key = hash_request(asked)
        entry = self._find(key)
        if entry is not None and not (request.fresh and key in self._asked):
            return entry.reply
        if self._mode == "only":
            raise Unrecorded(
                f"{request.model}: nothing is recorded for this request in {self._cassette.shown}",
                hint=HINT,
            )

        async def ask() -> Completion:
            completion = await self._inner.complete(request)
            self._changed[key] = Entry(key, self._origin, asked, as_hit(completion))
            self._asked.add(key)
            return completion

        return await self._flights.join(key, ask)

    async def close(self) -> None:
        """Write what was recorded, and close the gateway behind this one."""
        try:
            changed, self._changed = self._changed, {}
            self._cassette.save(changed.values())
        finally:
            await self._inner.close()

    def _find(self, key: str) -> Entry | None:
        entry = self._changed.get(key)
        if entry is not None or self._mode == "record":
            return entry
        entry = self._cassette.entries.get(key)
        if entry is None:
            return self._cassette.elsewhere.get(key)
        if entry.origin != self._origin and self._mode == "auto":
            entry = self._changed[key] = replace(entry, origin=self._origin)
        return entry
