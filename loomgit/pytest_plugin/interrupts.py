"""Defers Ctrl-C during critical work in a pytest session, and makes pytest always report it."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


class InterruptHooks:
    """Makes pytest report every Ctrl-C.

    In CPython, some instructions have no line number. If Ctrl-C interrupts such an instruction,
    pytest crashes with a traceback and exits with code 1 instead of 2.
    """

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Cut off the traceback of a Ctrl-C at the first entry that has no line number."""
        try:
            return (yield)
        except KeyboardInterrupt as interrupt:
            raise interrupt.with_traceback(_with_lines(interrupt.__traceback__)) from None


def _with_lines(traceback: TracebackType | None) -> TracebackType | None:
    entries: list[TracebackType] = []
    while traceback is not None and traceback.tb_lineno is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    truncated = None
    for entry in reversed(entries):
        truncated = TracebackType(truncated, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return truncated


@contextmanager
def defer_sigint() -> Iterator[list[int]]:
    """Context in which Ctrl-C does not raise KeyboardInterrupt.

    Instead, each Ctrl-C adds an item to the list that the context yields. Has no effect outside the
    main thread, because only the main thread receives signals.
    """
    pressed: list[int] = []
    previous = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or previous is None:
        yield pressed
        return
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)


def is_ctrl_c(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether the user pressed Ctrl-C.

    pytest also calls the interrupt hook if it stops a session itself, for example after an error
    during collection.
    """
    return not isinstance(excinfo.value, pytest.Session.Interrupted)
