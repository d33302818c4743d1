"""Putting hooks into a repository and taking them out; what was there stays and still runs."""

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
    ASIDE,
    HOOKS,
    MOST_WATCHED,
    RUN_LOOM,
    WATCHED,
    Hook,
    is_ours,
    project_of,
    script,
    watch_list,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


EXECUTABLE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH
# A hook that asks what it is called (`$(basename "$0")`, `${0##*/}`, Ruby's `File.basename($0)`)
# does something else, or nothing, under another name.
_ASKS_ITS_NAME = re.compile(rb"basename\W{1,8}(--\s+)?\$\{?0|\$\{0##")


class Git(Protocol):
    """What is needed of a repository."""

    @property
    def common_dir(self) -> Path:
        """The `.git` folder that all worktrees share."""
        ...

    @property
    def worktree(self) -> Path:
        """The folder of the checkout."""
        ...

    def plumbing(self, *arguments: str) -> bytes:
        """What a Git command prints."""
        ...


class State(Struct, frozen=True):
    """One hook: whether ours is there, for which project, and whether another one runs too."""

    hook: Hook
    path: Path
    installed: bool
    other: bool
    project: str = ""


class Hooks:
    """The hooks of one repository."""

    def __init__(self, git: Git) -> None:
        self._git = git

    def folder(self) -> Path:
        """Where Git looks for hooks: `core.hooksPath`, or the folder that all worktrees share."""
        # A relative core.hooksPath counts from the top.
        top = ("-C", str(self._git.worktree))
        said = self._git.plumbing(
            *top, "rev-parse", "--path-format=absolute", "--git-path", "hooks"
        )
        return Path(said.decode("utf-8", "surrogateescape").rstrip("\n"))

    def states(self) -> list[State]:
        """All three hooks as they stand. Raises WorldError."""
        folder = self.folder()
        found = []
        for hook in HOOKS:
            path = folder / hook
            text = _read(path)
            ours = is_ours(text)
            other = os.path.lexists(folder / f"{hook}{ASIDE}") if ours else os.path.lexists(path)
            found.append(State(hook, path, ours, other, project_of(text) if ours else ""))
        return found

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
        """Write a hook; one that is there already, and not ours, moves aside and still runs.

        Raises UserError where the folder of hooks is not this repository's alone, another project
        of it is guarded already, or the other hook cannot be moved aside; WorldError where it
        cannot be written.
        """
        folder = self.folder()
        run = f'"{python}" {RUN_LOOM} hooks run {hook}'
        line = f'{run} --project {shlex.quote(project)} -- "$@"'
        self._check_folder(folder, hook, line)
        self._check_project(project)
        path, aside = folder / hook, folder / f"{hook}{ASIDE}"
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
            if os.path.lexists(path) and not is_ours(held := _read(path)):
                _check_other(path, aside, held, line)
                path.rename(aside)
            fresh = path.with_name(f"{hook}.loom-new")
            fresh.write_bytes(text)
            fresh.chmod(fresh.stat().st_mode | EXECUTABLE)
            fresh.replace(path)
        except OSError as error:
            raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
        return path

    def _check_folder(self, folder: Path, hook: Hook, line: str) -> None:
        """A folder that other repositories use, or another tool fills, is not ours to change."""
        real = folder.resolve()
        if real.parts[-2:] == (".husky", "_"):
            raise UserError(
                f"{folder} is husky's own: what stands there is lost with the next `npm install`",
                hint=f"add this line to .husky/{hook}: {line}",
            )
        own = (self._git.common_dir, self._git.worktree)
        if not any(real.is_relative_to(place.resolve()) for place in own):
            raise UserError(
                f"core.hooksPath leads to {folder}, outside of this repository",
                hint=f"add this line to its {hook}: {line}",
            )

    def _check_project(self, project: str) -> None:
        for state in self.states():
            if state.installed and state.project != project:
                raise UserError(
                    f"{state.path} guards another project of this repository: {state.project}",
                    hint=f"`loom hooks uninstall --project {shlex.quote(state.project)}` first",
                )

    def uninstall(self, hooks: Sequence[Hook] = HOOKS) -> list[Path]:
        """Take our hooks out and put back, byte for byte, what was there; returns their paths.

        Raises WorldError.
        """
        folder = self.folder()
        gone: list[Path] = []
        for hook in hooks:
            path, aside = folder / hook, folder / f"{hook}{ASIDE}"
            if not is_ours(_read(path)):
                continue
            try:
                if os.path.lexists(aside):
                    aside.replace(path)
                else:
                    path.unlink()
            except OSError as error:
                raise WorldError(f"{path}: {error.strerror or error}") from error
            gone.append(path)
        if not any(state.installed for state in self.states()):
            (self._git.common_dir / WATCHED).unlink(missing_ok=True)
        return gone

    def watch(self, seen: str, paths: Iterable[str]) -> None:
        """Write which files matter: pathspecs from the top of the worktree, as the commit `seen`
        has it. Raises WorldError."""
        file = self._git.common_dir / WATCHED
        specs = sorted(set(paths))
        text = watch_list(seen, specs if len(specs) <= MOST_WATCHED else [":(top)"])
        try:
            if file.is_file() and file.read_bytes() == text:
                return
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_name(f"{file.name}.{os.getpid()}.new")
            fresh.write_bytes(text)
            fresh.replace(file)
        except OSError as error:
            raise WorldError(f"{file} cannot be written: {error.strerror or error}") from error


def _check_other(path: Path, aside: Path, held: bytes, line: str) -> None:
    if os.path.lexists(aside):
        raise UserError(
            f"{aside} exists already: is it the hook that ours replaced?",
            hint=f"remove it, or move it back to {path.name}",
        )
    if _ASKS_ITS_NAME.search(held):
        raise UserError(
            f"{path} asks what it is called, so it cannot be moved aside",
            hint=f"add this line to it: {line}",
        )


def _read(path: Path) -> bytes:
    """The text of a hook; empty where there is none, or a link leads nowhere."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        return b""
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error


class Update(Struct, frozen=True):
    """One ref of a push: what it is called here (any revision) and there, its commit here and
    there; `there` is empty for a ref that the remote does not have."""

    name: str
    id: str
    remote_name: str
    there: str


def parse_updates(text: str) -> list[Update]:
    """What Git tells a pre-push hook; deletions are left out."""
    found = []
    for line in text.split("\n"):
        words = line.rsplit(" ", 3)
        if len(words) == 4 and words[1].strip("0"):
            name, identity, remote, there = words
            found.append(Update(name, identity, remote, there if there.strip("0") else ""))
    return found
