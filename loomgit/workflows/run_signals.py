"""Stops a run after SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loomgit.pipeline.runner import Runner


@contextmanager
def handle_signals(runner: Runner, on_signal: Callable[[], None]) -> Iterator[None]:
    """Handle SIGINT and SIGTERM while the runner works in the current task.

    After the first signal, the runner finishes the current calls and stops. The second signal
    cancels the task and raises KeyboardInterrupt. `on_signal` is called for each signal, first.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    signals = 0

    def interrupt() -> None:
        nonlocal signals
        signals += 1
        on_signal()
        if signals == 1:
            runner.stop()
        else:
            task.cancel()

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupt)
    except (NotImplementedError, RuntimeError, ValueError):
        yield  # handlers are not available on Windows and outside the main thread
        return
    try:
        yield
    except asyncio.CancelledError:
        if signals > 1:
            raise KeyboardInterrupt from None
        raise
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
