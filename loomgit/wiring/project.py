"""The adapters of a project that exist longer than a run: settings, repository, versions and store.

An adapter is created when it is first used, and its library is imported then. Therefore, a command
loads only the libraries that it needs. `loomgit.wiring.assembly` builds the other objects of a run.
"""
# ruff: noqa: PLC0415 - the adapters are imported when they are first used

from __future__ import annotations

import os
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from loomgit.errors import LoomError
from loomgit.wiring.project_files import ProjectFiles

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from loomgit.config.environment import Environment
    from loomgit.config.parse_cache import ParseCache
    from loomgit.domain.settings import Settings
    from loomgit.domain.variables import GivenValues
    from loomgit.history.git_objects import TreeEntry
    from loomgit.history.repository import Repository
    from loomgit.history.store import RunStore
    from loomgit.history.trees import Tree
    from loomgit.history.versions import Versions
    from loomgit.wiring.apps import Apps
    from loomgit.wiring.trust import Trust

# GitPython searches for the `git` command when it is imported. If the command is missing, `quiet`
# prevents an error at the import; the error then occurs when the command is used.
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
STORE = ".loom"


class Wiring(ProjectFiles):
    """The adapters of one project that several runs can share."""

    @cached_property
    def versions(self) -> Versions:
        """Reads prompt and context files at any of their versions."""
        from loomgit.history.versions import Versions

        return Versions(self.repository, self.tree.revision)

    @cached_property
    def store(self) -> RunStore:
        """The results under `.loom/`. A linked worktree uses the results of the main worktree,
        unless the results are tracked."""
        from loomgit.history.store import RunStore
        from loomgit.history.worktrees import find_folder

        def tracked() -> bool:
            return self.settings.store == "tracked"

        own = self.root / STORE
        folder = find_folder(self.root, lambda: self.repository)
        # Git checks out tracked results in each worktree, so each worktree has its own results.
        return RunStore(
            own if folder != own and tracked() else folder,
            self.warn,
            tracked=tracked,
            committed=self._committed_runs,
        )

    @cached_property
    def apps(self) -> Apps:
        """The loop apps under `.loom/loop-apps/`. Each worktree has its own apps."""
        from loomgit.history.app_store import AppStore
        from loomgit.wiring.apps import Apps

        def tracked() -> bool:
            return self.settings.store == "tracked"

        return Apps(AppStore(self.root / STORE, tracked=tracked), self.root, self.parse_cache)

    @cached_property
    def trust(self) -> Trust:
        """Decides which revisions may run their own code and use the environment's API keys."""
        from loomgit.wiring.trust import Trust

        return Trust(self)

    def is_committed(self, path: str) -> bool:
        """Whether a file of the project is in Git's index."""
        from loomgit.history.trees import INDEX, Tree

        return bool(Tree(self.repository, INDEX).entries([path]))

    def _committed_runs(self) -> list[str]:
        """Return the run files in Git's index that are new or changed since the baseline.

        The paths are relative to `.loom/`. If there is no baseline, all run files are returned.
        """
        from loomgit.history.baselines import Baselines
        from loomgit.history.trees import INDEX, Tree

        staged = Tree(self.repository, INDEX)
        paths = staged.files(f"{STORE}/runs", ".json")
        if not paths:
            return []
        trusted: dict[str, TreeEntry] = {}
        try:
            baselines = Baselines(self.repository, self.settings.baseline, self.variables)
            base = baselines.choose().base
            if base is not None:
                trusted = Tree(self.repository, base).entries(paths)
        except LoomError:
            pass  # there is no baseline, so all run files are returned as new
        entries = staged.entries(paths)
        return [p.removeprefix(f"{STORE}/") for p in paths if trusted.get(p) != entries[p]]

    def close(self) -> None:
        """Release temporary resources. A project in the working tree has no such resources."""

    def with_store(self, folder: Path) -> Self:
        """Return the same project with a store in `folder`."""
        from loomgit.history.store import RunStore

        other = copy(self)
        other.__dict__["store"] = RunStore(folder, self.warn)
        return other

    def with_given(self, given: GivenValues) -> Self:
        """Return the same project, in which tests and comparisons use the values `given`."""
        other = copy(self)
        other.given = given
        return other

    def at(self, revision: str) -> WiringAt:
        """Return the same project with its files at `revision`, a commit id or `""` for the
        index."""
        return WiringAt(self, revision)


class WiringAt(Wiring):
    """A project's files at a commit or in the index.

    The store and the environment are those of the working tree. The files are not checked out. The
    first use of `root` exports the files to a temporary folder, because data sources and the
    project's own evaluators need files on disk. `close` removes the folder.
    """

    def __init__(self, checkout: Wiring, revision: str) -> None:
        self.warn = checkout.warn
        self.variables = checkout.variables
        self.chosen_target = checkout.chosen_target
        self.isolation = checkout.isolation
        self.given = checkout.given
        self._warned = checkout._warned
        self._checkout = checkout
        self._revision = revision
        self._exported: TemporaryDirectory[str] | None = None

    @property
    def root(self) -> Path:
        """The project's folder in the exported files. The first use exports them."""
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
        """The settings in `.loom/config.yaml` at the revision.

        The target is the same as in the working tree. If the revision does not define this target,
        no target is selected.
        """
        from loomgit.config.project_files import SETTINGS_FILE, decode
        from loomgit.domain.settings import Settings

        name = SETTINGS_FILE.as_posix()
        content = self.tree.read([name]).get(name)
        if content is None:
            return Settings()
        settings = self.parse_cache.settings(decode(content, name), name)
        if not settings.targets:
            return settings
        target = self.chosen_target or self._default_target(settings)
        return settings.with_target(target if target in settings.targets else None)

    def _default_target(self, settings: Settings) -> str | None:
        """Return the name of the target if the user selected none.

        It is the first target of the files that are trusted, so that a pull request from a fork
        cannot select another target by another order. `settings` are those of this revision.
        """
        reference = self.trust.reference
        return settings.default_target if reference is self else reference.settings.target

    @cached_property
    def tree(self) -> Tree:
        """The project's files at the revision."""
        from loomgit.history.trees import Tree

        return Tree(self.repository, self._revision)

    @cached_property
    def environment(self) -> Environment:
        """The environment variables and the `.env` file of the working tree.

        All revisions use them, because commits contain no secrets.
        """
        return self._checkout.environment

    @cached_property
    def trust(self) -> Trust:
        """The trust decisions of the working tree."""
        return self._checkout.trust

    @cached_property
    def parse_cache(self) -> ParseCache:
        """The parse cache of the working tree."""
        return self._checkout.parse_cache

    @cached_property
    def repository(self) -> Repository:
        """The Git repository that contains the project."""
        return self._checkout.repository

    @cached_property
    def store(self) -> RunStore:
        """The results under `.loom/` of the working tree."""
        return self._checkout.store
