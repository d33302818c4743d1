"""Bills: the cost of model calls, added up for each part of Loom that opens a bill.

A bill includes every call that a provider charged, even if the reply was unusable, the call was
repeated, or the work ended with an error.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from typing import Protocol

from msgspec import Struct

from loomgit.domain.models import Purpose, Usage


class Charge(Struct, frozen=True):
    """The charge for one call to a provider.

    `cost` is in USD, or None if the price is unknown. `answered` is false if the call was sent but
    received no reply. The provider may have charged such a call, but its `cost` is 0.
    """

    purpose: Purpose
    usage: Usage
    cost: float | None
    answered: bool = True


class Payer(Protocol):
    """An object that receives charges. Several threads may call it at the same time."""

    def add(self, charge: Charge) -> None:
        """Add a charge."""
        ...


class Bill:
    """The sum of charges. Several threads may add to it.

    `calls` is the number of answered calls. `known` is the known part of their cost, in USD.
    `unpriced` is the number of answered calls with an unknown price. `unanswered` is the number of
    calls that were sent but received no reply.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.calls = 0
        self.known = 0.0
        self.unpriced = 0
        self.unanswered = 0
        self.usage = Usage()
        self.judging = 0.0  # the part of `known` that evaluators spent, in USD

    @property
    def cost(self) -> float | None:
        """The cost in USD, or None if the price of a call is unknown."""
        return None if self.unpriced else self.known

    @property
    def is_free(self) -> bool:
        """Whether it is certain that the calls cost nothing."""
        return not (self.known or self.unpriced or self.unanswered)

    def add(self, charge: Charge) -> None:
        """Add a charge."""
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


_open_payers: ContextVar[tuple[Payer, ...]] = ContextVar("_open_payers", default=())


class billed_to:  # noqa: N801 - used like a function in `with`; faster than a generator
    """Within the `with` block, add each charge to `payer` and to the payers of outer blocks.

    This includes the charges of the current task, of its subtasks, and of threads that copy the
    task's context. Each block needs its own object.
    """

    __slots__ = ("_payer", "_token")

    def __init__(self, payer: Payer) -> None:
        self._payer = payer

    def __enter__(self) -> None:
        self._token = _open_payers.set((*_open_payers.get(), self._payer))

    def __exit__(self, *_: object) -> None:
        _open_payers.reset(self._token)


def charge(entry: Charge) -> None:
    """Add a charge to all payers of the enclosing `billed_to` blocks."""
    for payer in _open_payers.get():
        payer.add(entry)
