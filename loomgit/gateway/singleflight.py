"""Makes only one call if equal requests are made at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from loomgit.gateway.reply_codec import as_hit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from loomgit.domain.models import Completion


class SingleFlight:
    """The calls in flight, by key. All calls belong to one event loop."""

    def __init__(self) -> None:
        self._flights: dict[object, asyncio.Future[Completion]] = {}

    async def join(self, key: object, ask: Callable[[], Awaitable[Completion]]) -> Completion:
        """Return the reply for `key`.

        If a call for `key` is in flight, wait for it and return its reply as a cache hit. Otherwise
        make the call with `ask`. If the call fails, its error is raised in all waiting tasks too.
        If the task that makes the call is cancelled, a waiting task makes a new call.
        """
        while (flight := self._flights.get(key)) is not None:
            try:
                return as_hit(await asyncio.shield(flight))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not flight.cancelled() or (task is not None and task.cancelling()):
                    raise
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            completion = await ask()
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except BaseException as error:
            flight.set_exception(error)
            flight.exception()  # mark the error as read, because asyncio logs unread errors
            raise
        else:
            flight.set_result(completion)
            return completion
        finally:
            del self._flights[key]
