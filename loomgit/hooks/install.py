"""Installs and removes Loom's Git hooks.

Loom renames a hook that exists already. Loom's own hook then runs the renamed hook.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.errors import UserError, WorldError
from loomgit.hooks.shim import (
    HOOKS,
    MAX_WATCHED,
    RENAMED_SUFFIX,
    RUN_LOOM,
    WATCHED,
    Hook,
    is_loom_hook,
    project_of,
    script,
    watch_list,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
# Matches hooks that read their own file name (`$(basename "$0")`, `${0##*/}`, Ruby's
# `File.basename($0)`). Such hooks may not work after they are renamed.
_READS_ITS_NAME = re.compile(rb"basename\W{1,8}(--\s+)?\$\{?0|\$\{0##")


class HookedRepository(Protocol):
    """The attributes and methods of a Git repository that this module uses."""

    @property
    def common_dir(self) -> Path:
        """The `.git` folder that all worktrees share."""
        ...

    @property
    def worktree(self) -> Path:
        """The root folder of the current worktree."""
        ...

    def plumbing(self, *arguments: str) -> bytes:
        """Run `git` with these arguments, and return its standard output."""
        ...


class HookState(Struct, frozen=True):
    """The state of one hook.

    `installed` is true if Loom's hook is installed at `path`. `project` is then the project folder
    that this hook checks. `other` is true if a hook of another program exists. If both hooks exist,
    Loom's hook runs the other hook first.
    """

    hook: Hook
    path: Path
    installed: bool
    other: bool
    project: str = ""


class Hooks:
    """Installs, lists and removes the hooks of one repository."""

    def __init__(self, git: HookedRepository) -> None:
        self._git = git

    def folder(self) -> Path:
        """Return the folder in which Git looks for hooks.

        This is `core.hooksPath` if it is set, else the `hooks` folder that all worktrees share.
        """
        # Git resolves a relative core.hooksPath in the current folder, so run Git in the worktree.
        top = ("-C", str(self._git.worktree))
        output = self._git.plumbing(
            *top, "rev-parse", "--path-format=absolute", "--git-path", "hooks"
        )
        return Path(output.decode("utf-8", "surrogateescape").rstrip("\n"))

    def states(self) -> list[HookState]:
        """Return the state of each hook in `HOOKS`. Raises WorldError if a hook is unreadable."""
        folder = self.folder()
        states = []
        for hook in HOOKS:
            path = folder / hook
            text = _read(path)
            installed = is_loom_hook(text)
            other = os.path.lexists(folder / f"{hook}{RENAMED_SUFFIX}" if installed else path)
            states.append(
                HookState(hook, path, installed, other, project_of(text) if installed else "")
            )
        return states

    def install(
        self,
        hook: Hook,
        *,
        python: str,
        project: str,
        branches: Sequence[str] = (),
        strict: bool = False,
        reinstall: str = "",
    ) -> Path:
        """Write Loom's hook and return its path. An existing hook is renamed, but still runs.

        The parameters are the same as in `script`.

        Raises UserError if the hooks folder is outside this repository or belongs to husky. Also
        raises UserError if a Loom hook is installed for another project of this repository, or if
        the existing hook cannot be renamed. Raises WorldError if a hook cannot be read or written.
        """
        folder = self.folder()
        run = f'"{python}" {RUN_LOOM} hooks run {hook}'
        line = f'{run} --project {shlex.quote(project)} -- "$@"'
        self._check_folder(folder, hook, line)
        self._check_project(project)
        path, aside = folder / hook, folder / f"{hook}{RENAMED_SUFFIX}"
        text = script(
            hook,
            python=python,
            project=project,
            branches=branches,
            strict=strict,
            reinstall=reinstall,
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if os.path.lexists(path) and not is_loom_hook(other := _read(path)):
                _check_other(path, aside, other, line)
                path.rename(aside)
            fresh = path.with_name(f"{hook}.loom-new")
            fresh.write_bytes(text)
            fresh.chmod(fresh.stat().st_mode | EXECUTABLE)
            fresh.replace(path)
        except OSError as error:
            raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
        return path

    def _check_folder(self, folder: Path, hook: Hook, line: str) -> None:
        """Raise UserError if the hooks folder is outside this repository or belongs to husky.

        The hint of the error shows `line`, which the user can add to the file `hook` instead.
        """
        real = folder.resolve()
        if real.parts[-2:] == (".husky", "_"):
            raise UserError(
                f"{folder} belongs to husky: `npm install` would remove the hook",
                hint=f"add this line to .husky/{hook}: {line}",
            )
        own = (self._git.common_dir, self._git.worktree)
        if not any(real.is_relative_to(place.resolve()) for place in own):
            raise UserError(
                f"core.hooksPath is {folder}, which is outside this repository",
                hint=f"add this line to {folder}/{hook}: {line}",
            )

    def _check_project(self, project: str) -> None:
        for state in self.states():
            if state.installed and state.project != project:
                raise UserError(
                    f"{state.path} checks another project of this repository: {state.project}",
                    hint=f"first run `loom hooks uninstall --project {shlex.quote(state.project)}`",
                )

    def uninstall(self, hooks: Sequence[Hook] = HOOKS) -> list[Path]:
        """Remove Loom's hooks and return their paths. Renamed hooks get their old names back.

        If no hook of Loom remains, the list of watched files is also removed. Raises WorldError if
        a hook cannot be read or removed.
        """
        folder = self.folder()
        removed: list[Path] = []
        for hook in hooks:
            path, aside = folder / hook, folder / f"{hook}{RENAMED_SUFFIX}"
            if not is_loom_hook(_read(path)):
                continue
            try:
                if os.path.lexists(aside):
                    aside.replace(path)
                else:
                    path.unlink()
            except OSError as error:
                raise WorldError(f"{path}: {error.strerror or error}") from error
            removed.append(path)
        if not any(state.installed for state in self.states()):
            (self._git.common_dir / WATCHED).unlink(missing_ok=True)
        return removed

    def watch(self, seen: str, paths: Iterable[str]) -> None:
        """Write the list of watched files. Changes to other files are not tested.

        `seen` is the commit to which the list belongs. `paths` are pathspecs relative to the root
        of the worktree. If there are more than `MAX_WATCHED` paths, all files are watched. Raises
        WorldError if the list cannot be written.
        """
        file = self._git.common_dir / WATCHED
        specs = sorted(set(paths))
        text = watch_list(seen, specs if len(specs) <= MAX_WATCHED else [":(top)"])
        try:
            if file.is_file() and file.read_bytes() == text:
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_name(f"{file.name}.{os.getpid()}.new")
            fresh.write_bytes(text)
            fresh.replace(file)
        except OSError as error:
            raise WorldError(f"{file} cannot be written: {error.strerror or error}") from error


def _check_other(path: Path, aside: Path, text: bytes, line: str) -> None:
    if os.path.lexists(aside):
        raise UserError(
            f"cannot rename {path}: {aside} exists already",
            hint=f"remove {aside.name}, or rename it to {path.name}",
        )
    if _READS_ITS_NAME.search(text):
        raise UserError(
            f"cannot rename {path}, because it reads its own file name",
            hint=f"add this line to it: {line}",
        )


def _read(path: Path) -> bytes:
    """Return the content of a hook. It is empty if the hook does not exist.

    A broken link or a folder at `path` does not count as a hook. Raises WorldError if the hook is
    unreadable.
    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return b""
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error


class RefUpdate(Struct, frozen=True):
    """The update of one ref at the remote by a push.

    `name` is the local revision that is pushed, and `id` is its object id. `remote_name` is the
    name of the ref at the remote. `there` is the object id that this ref has before the push. It is
    empty if the remote does not have the ref.
    """

    name: str
    id: str
    remote_name: str
    there: str


def parse_updates(text: str) -> list[RefUpdate]:
    """Parse the lines that Git passes to a pre-push hook on standard input.

    Refs that the push deletes are omitted.
    """
    updates = []
    for line in text.split("\n"):
        fields = line.rsplit(" ", 3)
        if len(fields) == 4 and fields[1].strip("0"):
            name, identity, remote_name, remote_id = fields
            remote_id = remote_id if remote_id.strip("0") else ""
            updates.append(RefUpdate(name, identity, remote_name, remote_id))
    return updates
