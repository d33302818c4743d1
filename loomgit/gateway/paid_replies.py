"""Gateway that stores the paid replies of a run, and returns those of its earlier attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from loomgit.domain.record_calls import record_of_call
from loomgit.gateway.reply_codec import parse, render, request_key

if TYPE_CHECKING:
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Gateway
    from loomgit.domain.values import JsonObject


class ReplyLog(Protocol):
    """The place where the paid replies of a run are stored."""

    def take_reply(self, index: int, key: str) -> JsonObject | None:
        """Return a reply of an earlier attempt to this request for a record, or None.

        A reply is returned once. If a request was made several times, its replies are returned in
        their order. `index` is the index of the record, and `key` identifies the request.
        """
        ...

    def add_reply(self, index: int, key: str, reply: JsonObject) -> None:
        """Store a reply to a request for a record."""
        ...


class PaidReplyGateway:
    """Passes calls on, and stores the replies that cost money, or whose price is unknown.

    If an attempt of the run has lost a record to an outage, or was killed, the replies that the
    record had received are not paid again. They are returned as cache hits. A `fresh` request gets
    a new reply. `log` is None until the run has started; the replies are then not stored.
    """

    def __init__(self, inner: Gateway) -> None:
        self._inner = inner
        self.log: ReplyLog | None = None

    async def complete(self, request: Request) -> Completion:
        """Return the reply of an earlier attempt, or a new reply."""
        index, log = record_of_call(), self.log
        if index is None or log is None:
            return await self._inner.complete(request)
        key = request_key(request).hex()
        earlier = None if request.fresh else log.take_reply(index, key)
        if earlier is not None:
            return parse(earlier)
        completion = await self._inner.complete(request)
        if not completion.cached and completion.cost != 0.0:
            log.add_reply(index, key, render(completion))
        return completion

    async def close(self) -> None:
        """Close the inner gateway."""
        await self._inner.close()
