"""Which prompt tests a session was told to run, and which it left out, project by project."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path


class Chosen:
    """The prompt tests of one project: the names of those that are to run, and how many were
    collected (`total`)."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.total = 0

    def is_finished(self, ran: Collection[str]) -> bool:
        """Whether all that were to run did."""
        return self.names <= set(ran)


class Selection:
    """`root` finds the root of the project that a file stands in; names are pytest's, whose files
    are told from `folder`."""

    def __init__(self, folder: Path, root: Callable[[Path], Path]) -> None:
        self._folder = folder
        self._root = root
        self._positions: dict[str, int] = {}  # of all tests, in the order of collection
        self._chosen: dict[Path, Chosen] = {}
        self._collected: Counter[Path] = Counter()

    def order(self, names: Iterable[str]) -> None:
        """All tests of the session, whosever they are, in their order."""
        for name in names:
            self._positions.setdefault(name, len(self._positions))

    def collect(self, file: Path) -> None:
        """A prompt test of this file was collected; it may be left out later."""
        self._collected[self._root(file)] += 1

    def choose(self, names: Iterable[str]) -> None:
        """These prompt tests are to run."""
        for name in names:
            root = self._root(self._folder / name.partition("::")[0])
            chosen = self.of(root)
            chosen.names.add(name)
            chosen.total = max(chosen.total, len(chosen.names), self._collected[root])

    def of(self, root: Path) -> Chosen:
        """What was chosen of the project at `root`."""
        return self._chosen.setdefault(root, Chosen())

    def counts(self, ran: Collection[str]) -> tuple[int, int, int]:
        """How many prompt tests ran, were to run, and were collected."""
        chosen = self._chosen.values()
        names = {name for each in chosen for name in each.names}
        return len(names & set(ran)), len(names), sum(each.total for each in chosen)

    def position(self, name: str) -> int:
        """Where a test stands in the order; behind all where that is not known."""
        return self._positions.get(name, len(self._positions))
