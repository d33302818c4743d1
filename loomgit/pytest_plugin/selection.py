"""Records which prompt tests of each project a session collected and selected."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path


class ProjectTests:
    """The prompt tests of one project.

    `names` are the names of the selected tests, and `total` is the number of collected tests.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.total = 0

    def is_finished(self, ran: Collection[str]) -> bool:
        """Whether all selected tests ran."""
        return self.names <= set(ran)


class SelectedTests:
    """The selected prompt tests of all projects.

    The function `root` returns the root of the project that contains a file. Names are pytest's
    node ids, in which paths are relative to `folder`.
    """

    def __init__(self, folder: Path, root: Callable[[Path], Path]) -> None:
        self._folder = folder
        self._root = root
        self._positions: dict[str, int] = {}  # by name; position 0 is the test collected first
        self._chosen: dict[Path, ProjectTests] = {}
        self._collected: Counter[Path] = Counter()

    def order(self, names: Iterable[str]) -> None:
        """Record the order of all tests of the session: prompt tests and other tests."""
        for name in names:
            self._positions.setdefault(name, len(self._positions))

    def collect(self, file: Path) -> None:
        """Count a collected prompt test of a file. pytest may deselect the test later."""
        self._collected[self._root(file)] += 1

    def choose(self, names: Iterable[str]) -> None:
        """Add prompt tests to the selected tests."""
        for name in names:
            root = self._root(self._folder / name.partition("::")[0])
            chosen = self.of(root)
            chosen.names.add(name)
            chosen.total = max(chosen.total, len(chosen.names), self._collected[root])

    def of(self, root: Path) -> ProjectTests:
        """Return the prompt tests of the project at `root`."""
        return self._chosen.setdefault(root, ProjectTests())

    def counts(self, ran: Collection[str]) -> tuple[int, int, int]:
        """Return how many prompt tests ran, how many were selected, and how many were collected."""
        projects = self._chosen.values()
        names = {name for project in projects for name in project.names}
        return len(names & set(ran)), len(names), sum(project.total for project in projects)

    def position(self, name: str) -> int:
        """Return the position of a test in collection order. An unknown test is last."""
        return self._positions.get(name, len(self._positions))
