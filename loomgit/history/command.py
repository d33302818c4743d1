"""Runs `git` in one folder, deaf to what a hook or another repository left in the environment."""

from __future__ import annotations

from subprocess import PIPE
from types import MappingProxyType
from typing import TYPE_CHECKING

import git
from git.cmd import safer_popen

from loomgit.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

# `git rev-parse --local-env-vars` but for the configuration, which `git -c` and CI hand on so;
# and the words that change what a pathspec means.
_LOCAL = frozenset({
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_DIR",
    "GIT_GLOB_PATHSPECS", "GIT_GRAFT_FILE", "GIT_ICASE_PATHSPECS", "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_LITERAL_PATHSPECS", "GIT_NAMESPACE",
    "GIT_NOGLOB_PATHSPECS", "GIT_NO_REPLACE_OBJECTS", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX",
    "GIT_REPLACE_REF_BASE", "GIT_SHALLOW_FILE", "GIT_WORK_TREE",
})  # fmt: skip
_QUIET = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", "LANGUAGE": "C"}
NOTHING: Mapping[str, str] = MappingProxyType({})


class GitCommand:
    """The `git` command in `folder`; `kept` are variables that it hears besides `environment`."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], kept: Mapping[str, str] = NOTHING
    ) -> None:
        self._folder = folder
        heard = {name: value for name, value in environment.items() if name not in _LOCAL}
        self._environment = {**heard, **_QUIET, **kept}

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] = NOTHING,
        good: Collection[int] = (0,),
    ) -> bytes:
        """What the command prints; WorldError with Git's own words where its exit is not `good`."""
        command = [git.Git.GIT_PYTHON_GIT_EXECUTABLE or "git", *arguments]
        try:
            process = safer_popen(
                command, cwd=self._folder, env={**self._environment, **env},
                stdin=PIPE, stdout=PIPE, stderr=PIPE,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise WorldError("the `git` command is not to be found", hint="install Git") from error
        output: bytes
        with process:
            output, said = process.communicate(stdin)
        if process.returncode not in good:
            raise WorldError(f"git {_verb(arguments)}: {_reason(said)}")
        return output


def _verb(arguments: tuple[str, ...]) -> str:
    """The command's name, behind the options that stand before it (`-c x=y`, `--git-dir=z`)."""
    return next((word for word in arguments if not word.startswith("-") and "=" not in word), "")


def _reason(said: bytes) -> str:
    """The line that says why: of a push what was rejected, else what was fatal, else the last."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    for marks in (("! [",), ("fatal:", "error:")):
        for line in lines:
            if line.startswith(marks):
                return line
    return lines[-1] if lines else "failed and said nothing"
