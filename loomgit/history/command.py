"""Runs `git` in one folder, deaf to what a hook or another repository left in the environment."""

from __future__ import annotations

import re
from subprocess import PIPE
from types import MappingProxyType
from typing import TYPE_CHECKING

import git
from git.cmd import safer_popen

from loomgit.errors import UserError, WorldError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from loomgit.errors import LoomError

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
_OWNERSHIP, _SAFE = "detected dubious ownership", "safe.directory"
_IDENTITY = re.compile(
    r"unable to auto-detect email|identity unknown|empty ident name|tell me who you are"
    r"|no email was given|no name was given",
    re.IGNORECASE,
)
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
            raise _explain(_verb(arguments), said)
        return output


def _verb(arguments: tuple[str, ...]) -> str:
    """The command's name, behind the options that stand before it (`-c x=y`, `--git-dir=z`)."""
    return next((word for word in arguments if not word.startswith("-") and "=" not in word), "")


def _explain(verb: str, said: bytes) -> LoomError:
    """The error of a command that failed: the user's, where Git says what the user has to set."""
    text = said.decode("utf-8", "replace")
    if _OWNERSHIP in text:
        advice = next((line.strip() for line in text.splitlines() if _SAFE in line), "")
        return UserError(
            f"git {verb}: the repository belongs to another user, and Git does not trust it",
            hint=f"`{advice}`, if you trust it" if advice else None,
        )
    if _IDENTITY.search(text):
        return UserError(
            f"git {verb}: Git does not know who you are",
            hint="`git config --global user.name NAME` and `git config --global user.email EMAIL`",
        )
    return WorldError(f"git {verb}: {_reason(said)}")


def _reason(said: bytes) -> str:
    """The line that says why: of a push what was rejected, else what was fatal, else the last."""
    lines = [line.strip() for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
    for marks in (("! [",), ("fatal:", "error:")):
        for line in lines:
            if line.startswith(marks):
                return line
    return lines[-1] if lines else "failed and said nothing"
