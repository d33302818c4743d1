"""Ctrl-C in a pytest session: held back while work must not be cut short, and always reported."""

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
    """Let pytest report every Ctrl-C. It fails with a traceback of its own (exit code 1, not 2)
    where an instruction without a line number was interrupted; CPython has such instructions."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Cut the traceback of an interrupt before the first place without a line number."""
        try:
            return (yield)
        except KeyboardInterrupt as interrupt:
            raise interrupt.with_traceback(_with_lines(interrupt.__traceback__)) from None


def _with_lines(traceback: TracebackType | None) -> TracebackType | None:
    known: list[TracebackType] = []
    while traceback is not None and traceback.tb_lineno is not None:
        known.append(traceback)
        traceback = traceback.tb_next
    cut = None
    for entry in reversed(known):
        cut = TracebackType(cut, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return cut


@contextmanager
def held_back() -> Iterator[list[int]]:
    """Ctrl-C interrupts nothing inside of this; what is yielded then is no longer empty.

    Outside of the main thread, which alone hears of signals, this does nothing.
    """
    pressed: list[int] = []
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is None:
        yield pressed
        return
    signal.signal(signal.SIGINT, lambda number, _: pressed.append(number))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, usual)


def is_ctrl_c(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """Whether somebody pressed Ctrl-C. pytest reports its own ends of a session, such as an error
    during collection, in the same way."""
    return not isinstance(excinfo.value, pytest.Session.Interrupted)
