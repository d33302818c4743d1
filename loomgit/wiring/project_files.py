"""A project's files at one revision: settings, definitions, and the repository that contains them.

An adapter is created and its library is imported when a command first uses the adapter. Therefore,
a command does not load libraries that it does not need.
"""
# ruff: noqa: PLC0415 - the adapters are imported when they are first used

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from loomgit.domain.safe_text import remember_address
from loomgit.domain.settings import Connection
from loomgit.errors import LoomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from loomgit.config.environment import Environment
    from loomgit.config.parse_cache import ParseCache
    from loomgit.domain.settings import ConnectionSettings, Secret, Settings
    from loomgit.history.repository import Repository
    from loomgit.history.trees import Tree
    from loomgit.wiring.catalog import Catalog


class ProjectFiles:
    """A project's files in the working tree, and their parsers. `warn` receives messages about
    problems that do not stop the command."""

    def __init__(
        self, root: Path, variables: Mapping[str, str], warn: Callable[[str], None]
    ) -> None:
        self._root = root
        self.warn = warn
        self.variables = variables

    @property
    def root(self) -> Path:
        """The project's folder."""
        return self._root

    @cached_property
    def settings(self) -> Settings:
        """The settings in `.loom/config.yaml`; the defaults if the file does not exist."""
        from loomgit.config.project_files import SETTINGS_FILE, read
        from loomgit.domain.settings import Settings

        if not (self.root / SETTINGS_FILE).exists():
            return Settings()
        return self.parse_cache.settings(*read(self.root / SETTINGS_FILE, self.root))

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
