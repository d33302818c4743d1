"""Calls of functions that block, from a task that may be cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


async def finish_in_thread(
    function: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Return the result of a function that runs in a thread.

    If the task is cancelled, CancelledError is raised after the function has ended, and its result
    is lost. With `asyncio.to_thread`, the function would still run while the task closes what the
    function uses, for example its connection to a database.
    """
    call = asyncio.create_task(asyncio.to_thread(function, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not call.done():
        try:
            await asyncio.wait([call])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        call.exception()  # asyncio prints an error that is not read
        raise cancelled
    return call.result()
