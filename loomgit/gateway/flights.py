"""One call for equal requests that are made at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from loomgit.gateway.kept import as_hit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from loomgit.domain.models import Completion


class Flights:
    """The calls under way, by key; they belong to one event loop."""

    def __init__(self) -> None:
        self._flights: dict[object, asyncio.Future[Completion]] = {}

    async def join(self, key: object, ask: Callable[[], Awaitable[Completion]]) -> Completion:
        """The reply to the call under way for `key`, as a hit, else that of a new call by `ask`.

        All fail together; where the one who asks is cancelled, another asks in its place.
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
            flight.exception()  # if nobody waits, nobody need be told
            raise
        else:
            flight.set_result(completion)
            return completion
        finally:
            del self._flights[key]
