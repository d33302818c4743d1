"""Bills: what model calls cost, added up for each part of Loom that opened a bill.

A bill counts every call that a provider charged, also if its reply was of no use, if the call was
repeated, or if the work that asked for it ended with an error.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.domain.models import Purpose, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator


class Charge(Struct, frozen=True):
    """One call to a provider: `cost` in USD, None if its price is unknown. `answered` is false for
    a call that was sent and had no reply: nobody knows whether it was charged, and `cost` is 0."""

    purpose: Purpose
    usage: Usage
    cost: float | None
    answered: bool = True


class Payer(Protocol):
    """Receives charges, from several threads."""

    def add(self, charge: Charge) -> None:
        """Count a charge."""
        ...


class Bill:
    """The sum of charges; several threads may add to it.

    `known` is in USD, `unpriced` counts the calls whose price is unknown, `unanswered` those that
    were sent and had no reply.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls = 0
        self.known = 0.0
        self.unpriced = 0
        self.unanswered = 0
        self.usage = Usage()
        self.judging = 0.0  # USD of `known` that evaluators spent

    @property
    def cost(self) -> float | None:
        """USD; None if the price of a call is unknown."""
        return None if self.unpriced else self.known

    @property
    def is_free(self) -> bool:
        """Whether the calls cost nothing for certain."""
        return not (self.known or self.unpriced or self.unanswered)

    def add(self, charge: Charge) -> None:
        """Count a charge."""
        with self._lock:
            self.unanswered += not charge.answered
            if not charge.answered:
                return
            self.calls += 1
            self.usage += charge.usage
            self.unpriced += charge.cost is None
            self.known += charge.cost or 0.0
            if charge.purpose == "evaluate":
                self.judging += charge.cost or 0.0

    def include(self, other: Bill) -> None:
        """Add the charges of another bill."""
        with self._lock:
            self.calls += other.calls
            self.known += other.known
            self.unpriced += other.unpriced
            self.unanswered += other.unanswered
            self.usage += other.usage
            self.judging += other.judging


_open: ContextVar[tuple[Payer, ...]] = ContextVar("_open", default=())


@contextmanager
def billed_to(payer: Payer) -> Iterator[None]:
    """Add what is charged meanwhile, by this task, its subtasks and the threads that copy its
    context, to the payer's bill; and to the bills that are open already."""
    token = _open.set((*_open.get(), payer))
    try:
        yield
    finally:
        _open.reset(token)


def charge(entry: Charge) -> None:
    """Add a charge to all bills that are open here."""
    for payer in _open.get():
        payer.add(entry)
