"""Wiring: the project's settings, repository, versions and store.

Everything is made, and its library loaded, when it is first asked for: a command pays for what it
uses. What a run needs besides stands in `loomgit.assembly`.
"""
# ruff: noqa: PLC0415 - see above: these are the doors that stay shut until somebody knocks

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from loomgit.config.environment import Environment
    from loomgit.domain.settings import Settings
    from loomgit.history.repository import Repository
    from loomgit.history.store import RunStore
    from loomgit.history.versions import Versions


class Wiring:
    """The adapters of one project that outlive a run; `warn` hears what stops nothing."""

    def __init__(
        self, root: Path, variables: Mapping[str, str], warn: Callable[[str], None]
    ) -> None:
        self.root = root
        self.warn = warn
        self._variables = variables

    @cached_property
    def settings(self) -> Settings:
        """`.loom/config.yaml`."""
        from loomgit.config.load import load_settings

        return load_settings(self.root)

    @cached_property
    def environment(self) -> Environment:
        """The process environment and `.env`, for `${NAME}` at the moment of use."""
        from loomgit.config.environment import Environment

        return Environment.from_project(self.root, self._variables)

    @cached_property
    def repository(self) -> Repository:
        """The Git repository around the project."""
        from loomgit.history.repository import Repository

        return Repository.open(self.root)

    @cached_property
    def versions(self) -> Versions:
        """Prompt and context files at versions."""
        from loomgit.history.versions import Versions

        return Versions(self.repository)

    @cached_property
    def store(self) -> RunStore:
        """The results under `.loom/`, which linked worktrees share with the main one."""
        from loomgit.history.store import RunStore
        from loomgit.history.worktrees import find_folder

        def tracked() -> bool:
            return self.settings.store == "tracked"

        own = self.root / ".loom"
        folder = find_folder(self.root, lambda: self.repository)
        # What is tracked belongs to the checkout that it is committed from.
        return RunStore(own if folder != own and tracked() else folder, self.warn, tracked=tracked)

    def connection(self, alias: str) -> str | None:
        """The URL behind a connection's alias, its references replaced; None if not configured."""
        secret = self.settings.connections.get(alias)
        return None if secret is None else self.environment.reveal(secret)
