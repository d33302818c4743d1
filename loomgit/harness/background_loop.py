"""An event loop in a background thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from loomgit.errors import LoomError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence


class BackgroundLoop:
    """Runs tasks in an event loop in a daemon thread, from `start` until `finish`.

    The loop calls `began` as soon as it accepts tasks. It calls `changed` after each function that
    was passed to `call`. After the last task, it awaits the functions in `closing`. When the
    thread ends, it calls `ended` with the exception that stopped the loop, or with None.
    """

    def __init__(
        self,
        *,
        began: Callable[[], None],
        changed: Callable[[], None],
        ended: Callable[[BaseException | None], None],
        closing: Sequence[Callable[[], Awaitable[None]]] = (),
    ) -> None:
        self._began = began
        self._changed = changed
        self._ended = ended
        self._closing = closing
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._group: asyncio.TaskGroup | None = None
        self._finished: asyncio.Event | None = None
        self._ready = threading.Event()
        self._fault: LoomError | None = None

    @property
    def is_started(self) -> bool:
        """Whether the thread was started. The thread may have ended since then."""
        return self._thread is not None

    @property
    def accepts_tasks(self) -> bool:
        """Whether `spawn` can start a task. False before the loop runs and after it has ended."""
        return self._group is not None

    def start(self) -> None:
        """Start the thread if necessary, and wait until the loop runs."""
        if self._thread is not None:
            return
        # The tasks run in a copy of the caller's context. Their calls are thus charged to the bills
        # that the caller has opened.
        self._context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=self._context.copy().run, args=(self._run,), name="loom-samples", daemon=True
        )
        self._thread.start()
        self._ready.wait()

    def call(self, change: Callable[[], object]) -> None:
        """Schedule `change` in the loop's thread, or call it now if no loop is running."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop ended after the check
                self._loop.call_soon_threadsafe(self._apply, change, context=self._context)
                return
        change()

    def spawn(self, task: Coroutine[Any, Any, None]) -> None:
        """Start a task. Call this method only in the loop's thread, while the loop accepts
        tasks."""
        assert self._group is not None
        self._group.create_task(task)

    def finish(self) -> None:
        """End the loop after its current tasks. Call this method only in the loop's thread."""
        assert self._finished is not None
        self._finished.set()

    def join(self) -> None:
        """Wait for the end of the thread."""
        if self._thread is not None:
            self._thread.join()

    def raise_fault(self) -> None:
        """If a function in `closing` raised a LoomError, raise this error, but only once."""
        if self._fault is not None:
            fault, self._fault = self._fault, None
            raise fault

    def _apply(self, change: Callable[[], object]) -> None:
        change()
        self._changed()

    def _run(self) -> None:
        broken: BaseException | None = None
        try:
            asyncio.run(self._work())
        except BaseException as error:  # noqa: BLE001 - `ended` passes it to the waiting threads
            broken = error
        finally:
            self._ready.set()
            self._ended(broken)

    async def _work(self) -> None:
        self._finished = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.TaskGroup() as self._group:
                self._began()
                self._ready.set()
                await self._finished.wait()
        finally:
            self._group = None
            for close in self._closing:
                try:
                    await close()
                except LoomError as error:
                    self._fault = error
