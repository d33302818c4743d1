"""Wiring: the project's settings, repository, versions and store.

Everything is made, and its library loaded, when it is first asked for: a command pays for what it
uses. What a run needs besides stands in `loomgit.wiring.assembly`.
"""
# ruff: noqa: PLC0415 - see above: these are the doors that stay shut until somebody knocks

from __future__ import annotations

import os
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from loomgit.domain.outside import remember_address
from loomgit.errors import LoomError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from tempfile import TemporaryDirectory

    from loomgit.config.environment import Environment
    from loomgit.config.parsed import Parsed
    from loomgit.domain.settings import Settings
    from loomgit.history.objects import Entry
    from loomgit.history.repository import Repository
    from loomgit.history.store import RunStore
    from loomgit.history.trees import Tree
    from loomgit.history.versions import Versions
    from loomgit.wiring.trust import Trust

# GitPython looks for the `git` command when it is imported; without one, each use of it says so.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
STORE = ".loom"


class Wiring:
    """The adapters of one project that outlive a run; `warn` hears what stops nothing."""

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
        """`.loom/config.yaml`."""
        from loomgit.config.text import SETTINGS_FILE, read
        from loomgit.domain.settings import Settings

        if not (self.root / SETTINGS_FILE).exists():
            return Settings()
        return self.parsed.settings(*read(self.root / SETTINGS_FILE, self.root))

    @cached_property
    def parsed(self) -> Parsed:
        """What parses the project's files, and has parsed some before."""
        from loomgit.config.parsed import Parsed

        try:
            return Parsed(self.repository.common_dir / "loom" / "parsed")
        except LoomError:
            return Parsed(None)

    @cached_property
    def tree(self) -> Tree:
        """The project's files: those of the working tree."""
        from loomgit.history.trees import Tree

        return Tree(self.repository)

    @cached_property
    def environment(self) -> Environment:
        """The process environment and `.env`, for `${NAME}` at the moment of use."""
        from loomgit.config.environment import Environment

        return Environment.from_project(self.root, self.variables)

    @cached_property
    def repository(self) -> Repository:
        """The Git repository around the project."""
        from loomgit.history.repository import Repository

        return Repository.open(self.root)

    @cached_property
    def versions(self) -> Versions:
        """Prompt and context files at versions."""
        from loomgit.history.versions import Versions

        return Versions(self.repository, self.tree.revision)

    @cached_property
    def store(self) -> RunStore:
        """The results under `.loom/`, which linked worktrees share with the main one."""
        from loomgit.history.store import RunStore
        from loomgit.history.worktrees import find_folder

        def tracked() -> bool:
            return self.settings.store == "tracked"

        own = self.root / STORE
        folder = find_folder(self.root, lambda: self.repository)
        # What is tracked belongs to the checkout that it is committed from.
        return RunStore(
            own if folder != own and tracked() else folder,
            self.warn,
            tracked=tracked,
            committed=self._committed_runs,
        )

    @cached_property
    def trust(self) -> Trust:
        """Which revisions may run their own code and use the keys."""
        from loomgit.wiring.trust import Trust

        return Trust(self)

    def is_committed(self, path: str) -> bool:
        """Whether a file of the project is in Git's index."""
        from loomgit.history.trees import INDEX, Tree

        return bool(Tree(self.repository, INDEX).entries([path]))

    def _committed_runs(self) -> list[str]:
        """The run files in Git's index, except those that the base has."""
        from loomgit.history.baselines import Baselines
        from loomgit.history.trees import INDEX, Tree

        staged = Tree(self.repository, INDEX)
        paths = staged.files(f"{STORE}/runs", ".json")
        if not paths:
            return []
        trusted: dict[str, Entry] = {}
        try:
            ends = Baselines(self.repository, self.settings.baseline, self.variables).choose()
            if ends.base is not None:
                trusted = Tree(self.repository, ends.base).entries(paths)
        except LoomError:
            pass  # without a base nothing tells what the change has added
        now = staged.entries(paths)
        return [path.removeprefix(f"{STORE}/") for path in paths if trusted.get(path) != now[path]]

    def connection(self, alias: str) -> str | None:
        """The URL behind a connection's alias, its references replaced; None if not configured."""
        secret = self.settings.connections.get(alias)
        if secret is None:
            return None
        url = self.environment.reveal(secret)
        remember_address(url)
        return url

    def close(self) -> None:
        """Let go of what was made for a time: here nothing."""

    def with_store(self, folder: Path) -> Self:
        """The same project with its results in a folder of their own."""
        from loomgit.history.store import RunStore

        other = copy(self)
        other.__dict__["store"] = RunStore(folder, self.warn)
        return other

    def at(self, revision: str) -> WiringAt:
        """The same project with its files at a commit (its id) or in the index (`""`)."""
        return WiringAt(self, revision)


class WiringAt(Wiring):
    """A project's files as a commit or the index has them, beside its store and environment.

    Nothing is checked out: who needs files on disk (data, own evaluators) asks for `root`, and the
    files are exported until `close`.
    """

    def __init__(self, whole: Wiring, revision: str) -> None:
        self.warn = whole.warn
        self.variables = whole.variables
        self._whole = whole
        self._revision = revision
        self._exported: TemporaryDirectory[str] | None = None

    @property
    def root(self) -> Path:
        """The project's folder among the exported files, which is made when it is first needed."""
        return self._export

    @cached_property
    def _export(self) -> Path:
        from tempfile import TemporaryDirectory

        self._exported = TemporaryDirectory(prefix="loom-tree-")
        folder = Path(self._exported.name)
        if self.trust.trusts(self):
            return self.tree.export(folder)
        return self.tree.export_contents(folder)

    def close(self) -> None:
        """Remove the exported files."""
        if self._exported is not None:
            self._exported.cleanup()

    @cached_property
    def settings(self) -> Settings:
        """`.loom/config.yaml` as it is there."""
        from loomgit.config.text import SETTINGS_FILE, decode
        from loomgit.domain.settings import Settings

        name = SETTINGS_FILE.as_posix()
        held = self.tree.read([name]).get(name)
        return Settings() if held is None else self.parsed.settings(decode(held, name), name)

    @cached_property
    def tree(self) -> Tree:
        """The project's files."""
        from loomgit.history.trees import Tree

        return Tree(self.repository, self._revision)

    @cached_property
    def environment(self) -> Environment:
        """That of the working tree: a commit holds no secrets."""
        return self._whole.environment

    @cached_property
    def trust(self) -> Trust:
        """That of the working tree."""
        return self._whole.trust

    @cached_property
    def parsed(self) -> Parsed:
        """That of the working tree."""
        return self._whole.parsed

    @cached_property
    def repository(self) -> Repository:
        """The Git repository around the project."""
        return self._whole.repository

    @cached_property
    def store(self) -> RunStore:
        """The results under `.loom/` of the working tree."""
        return self._whole.store
