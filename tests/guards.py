"""The guards of a project, asked within this process."""

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from loomgit import cli
from tests.repos import git


def loom(folder: Path, *arguments: str) -> tuple[int, str]:
    """The exit code and the output of the command `loom`."""
    out = io.StringIO()
    command = list(arguments)
    at = command.index("--") if "--" in command else len(command)
    command[at:at] = ["--project", str(folder)]
    with redirect_stdout(out), redirect_stderr(out):
        code = cli._run(command)
    return code, out.getvalue()


def push(project: Path, monkeypatch, *, strict: bool) -> tuple[int, str]:
    """The hook, for a push of HEAD to a branch that is at main."""
    main, head = git(project, "rev-parse", "main"), git(project, "rev-parse", "HEAD")
    line = f"refs/heads/change {head} refs/heads/change {main}\n".encode()
    stdin = io.TextIOWrapper(io.BytesIO(line))
    monkeypatch.setattr("sys.stdin", stdin)
    flags = ["--strict"] if strict else []
    return loom(project, "hooks", "run", *flags, "pre-push", "--", "origin", "url")
