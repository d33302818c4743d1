"""A project's files at one revision: settings, definitions, and the repository that contains them.

An adapter is created and its library is imported when a command first uses the adapter. Therefore,
a command does not load libraries that it does not need.
"""
# ruff: noqa: PLC0415 - the adapters are imported when they are first used

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, TypedDict

from loomgit.domain.safe_text import remember_address
from loomgit.domain.settings import Connection
from loomgit.domain.variables import GivenValues
from loomgit.errors import LoomError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from loomgit.config.environment import Environment
    from loomgit.config.parse_cache import ParseCache
    from loomgit.domain.settings import ConnectionSettings, Secret, Settings
    from loomgit.history.repository import Repository
    from loomgit.history.trees import Tree
    from loomgit.wiring.catalog import Catalog

TARGET_VARIABLE = "LOOM_TARGET"
ISOLATION_VARIABLE = "LOOM_ISOLATION"
NOTHING_GIVEN = GivenValues()
PROJECT_FOLDERS = (".loom", "pipelines")


class ProjectOptions(TypedDict, total=False):
    """Options that select settings and values of a project; see `ProjectFiles`."""

    target: str | None
    isolation: str
    given: GivenValues


def find_root(start: Path) -> Path:
    """Return the nearest folder above `start`, or `start` itself, that contains a project.

    Raises UserError if there is no project.
    """
    here = start.resolve()
    for folder in (here, *here.parents):
        if any((folder / mark).is_dir() for mark in PROJECT_FOLDERS):
            return folder
    raise UserError(
        f"{here} is not in a Loom project",
        hint="use --project DIR, or change to a folder with pipelines/ or .loom/",
    )


class ProjectFiles:
    """A project's files in the working tree, and their parsers."""

    def __init__(
        self,
        root: Path,
        variables: Mapping[str, str],
        warn: Callable[[str], None],
        *,
        target: str | None = None,
        given: GivenValues = NOTHING_GIVEN,
        isolation: str = "",
    ) -> None:
        """Create the files of the project in the folder `root`.

        `variables` are the environment variables. `warn` receives messages about problems that do
        not stop the command. `target` is the name of the selected target. If it is None,
        `LOOM_TARGET` selects the target, otherwise the first target is selected. `given` are the
        values of a command line that tests and comparisons use. `isolation` is the isolation of
        programs. If it is empty, it is the value of `LOOM_ISOLATION`, otherwise `auto`.
        """
        self._root = root
        self.warn = warn
        self.variables = variables
        self.chosen_target = variables.get(TARGET_VARIABLE) or None if target is None else target
        self.isolation = isolation or variables.get(ISOLATION_VARIABLE) or "auto"
        self.given = given
        self._warned: set[str] = set()

    def warn_once(self, message: str, about: str) -> None:
        """Call `warn`, unless a warning with the same `about` was already given. The revisions of a
        project share the warnings."""
        if about not in self._warned:
            self._warned.add(about)
            self.warn(message)

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self._root

    @cached_property
    def settings(self) -> Settings:
        """The settings in `.loom/config.yaml`, with the selected target; the defaults if the file
        does not exist. Raises UnknownTarget if there is no such target."""
        from loomgit.config.project_files import SETTINGS_FILE, read
        from loomgit.domain.settings import Settings

        settings = Settings()
        if (self.root / SETTINGS_FILE).exists():
            settings = self.parse_cache.settings(*read(self.root / SETTINGS_FILE, self.root))
        return settings.with_target(self.chosen_target or settings.default_target)

    @cached_property
    def parse_cache(self) -> ParseCache:
        """The cache of parsed project files. Outside a Git repository, nothing is cached."""
        from loomgit.config.parse_cache import ParseCache

        try:
            return ParseCache(self.repository.common_dir / "loom" / "parsed")
        except LoomError:
            return ParseCache(None)

    @cached_property
    def tree(self) -> Tree:
        """The project's files in the working tree."""
        from loomgit.history.trees import Tree

        return Tree(self.repository)

    @cached_property
    def environment(self) -> Environment:
        """The variables of the process and of `.env`. A `${NAME}` reference in a setting is
        resolved only when the setting is used."""
        from loomgit.config.environment import Environment

        return Environment.from_project(self.root, self.variables)

    @cached_property
    def repository(self) -> Repository:
        """The Git repository that contains the project."""
        from loomgit.history.repository import Repository

        return Repository.open(self.root)

    @cached_property
    def catalog(self) -> Catalog:
        """The pipelines and test files of the project."""
        from loomgit.wiring.catalog import Catalog

        return Catalog(self.tree, self.parse_cache)

    @cached_property
    def connections(self) -> Mapping[str, Connection]:
        """The connections by name. The variables of a connection are read when it is used."""
        return _Connections(self.settings.connections, self.environment.reveal)


class _Connections(Mapping[str, Connection]):
    """Connections by name. `reveal` replaces each `${NAME}` in a secret by its value."""

    def __init__(
        self, configured: Mapping[str, ConnectionSettings], reveal: Callable[[Secret], str]
    ) -> None:
        self._configured = configured
        self._reveal = reveal

    def __getitem__(self, name: str) -> Connection:
        configured = self._configured[name]
        url = self._reveal(configured.url)
        remember_address(url)
        return Connection(url, configured.loom_schema)

    def __iter__(self) -> Iterator[str]:
        return iter(self._configured)

    def __len__(self) -> int:
        return len(self._configured)
