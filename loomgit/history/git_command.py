"""Runs `git` in one folder.

Variables such as `GIT_DIR`, which Git sets for hooks, are removed from the environment.
"""

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

# Loom removes these variables: those that `git rev-parse --local-env-vars` lists, and those that
# change the meaning of a pathspec. Variables that pass configuration are not removed, because
# `git -c` and CI use them.
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
NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class GitCommand:
    """Runs `git` in `folder`.

    Git receives the variables in `environment`. Variables that select a repository or change the
    meaning of a pathspec are removed, but all variables in `kept` are passed to Git.
    """

    def __init__(
        self, folder: Path, environment: Mapping[str, str], kept: Mapping[str, str] = NO_VARIABLES
    ) -> None:
        self._folder = folder
        inherited = {name: value for name, value in environment.items() if name not in _LOCAL}
        self._environment = {**inherited, **_QUIET, **kept}

    def run(
        self,
        *arguments: str,
        stdin: bytes = b"",
        env: Mapping[str, str] = NO_VARIABLES,
        good: Collection[int] = (0,),
    ) -> bytes:
        """Run a command and return its standard output.

        `env` contains additional environment variables. The exit codes in `good` mean success. For
        any other exit code, raises UserError if the user must configure Git, else WorldError with
        Git's message. Also raises WorldError if Git is not installed.
        """
        command = [git.Git.GIT_PYTHON_GIT_EXECUTABLE or "git", *arguments]
        try:
            process = safer_popen(
                command, cwd=self._folder, env={**self._environment, **env},
                stdin=PIPE, stdout=PIPE, stderr=PIPE,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise WorldError("the `git` command was not found", hint="install Git") from error
        output: bytes
        with process:
            output, errors = process.communicate(stdin)
        if process.returncode not in good:
            raise _explain(_subcommand(arguments), errors)
        return output


def _subcommand(arguments: tuple[str, ...]) -> str:
    """Return the subcommand: the first argument after options such as `-c x=y`, `--git-dir=z`."""
    words = iter(arguments)
    for word in words:
        if word in ("-C", "-c"):
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


def _explain(subcommand: str, errors: bytes) -> LoomError:
    """Return the error to raise for a failed command.

    The error is a UserError if the user must change Git's settings, else a WorldError.
    """
    text = errors.decode("utf-8", "replace")
    if _OWNERSHIP in text:
        advice = next((line.strip() for line in text.splitlines() if _SAFE in line), "")
        return UserError(
            f"git {subcommand}: the repository belongs to another user, and Git does not trust it",
            hint=f"if you trust the repository, run `{advice}`" if advice else None,
        )
    if _IDENTITY.search(text):
        return UserError(
            f"git {subcommand}: Git does not know your name and email",
            hint="run `git config --global user.name NAME` and "
            "`git config --global user.email EMAIL`",
        )
    return WorldError(f"git {subcommand}: {_reason(text)}")


def _reason(text: str) -> str:
    """Return the line of Git's output that contains the reason for the failure.

    This is the line about a rejected ref (`! [rejected] ...`). If there is no such line, it is the
    first line that starts with `fatal:` or `error:`. Otherwise, it is the last line.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for prefixes in (("! [",), ("fatal:", "error:")):
        for line in lines:
            if line.startswith(prefixes):
                return line
    return lines[-1] if lines else "the command failed without a message"
