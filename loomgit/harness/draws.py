"""Defines draws (requests for samples), and a board through which processes share draws."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from msgspec import Struct

from loomgit.domain.samples import Sample

if TYPE_CHECKING:
    from collections.abc import Sequence

Name: TypeAlias = tuple[str, int]  # the key of a case, and the index of a sample


class Draw(Struct, frozen=True):
    """A request for one sample, which is one reply to a test case.

    `key` identifies the case, and `index` is the number of the reply to this case, counted from 0.
    `call` draws the sample. All draws with the same `party` call the same provider. If the provider
    denies a draw or has an outage, the remaining draws of the party are not attempted.
    """

    key: str
    index: int
    call: Callable[[], Awaitable[Sample]]
    party: str = ""

    @property
    def name(self) -> Name:
        """The identity of the draw: two draws with the same name are the same draw."""
        return self.key, self.index


class DrawBoard(Protocol):
    """Assigns each draw to one of several processes."""

    def claim(self, name: Name) -> bool:
        """Claim a draw for this process. Returns False if another live process has claimed it."""
        ...

    def look(self, names: Sequence[Name]) -> dict[Name, Sample]:
        """Return the samples of these draws. Draws that are not finished are left out."""
        ...

    def settle(self, name: Name, sample: Sample) -> None:
        """Publish the sample of a finished draw to the other processes."""
        ...

    def leave(self) -> None:
        """Release the draws that this process has claimed but not finished."""
        ...
