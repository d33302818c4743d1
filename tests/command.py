"""The command line in this process: starting another one takes longer than most commands do."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from loomgit import cli


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def loom(folder: Path, *arguments: str) -> Done:
    """Run the command for the project in `folder`."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as exited:
        cli.main([*arguments, "--project", str(folder)])
    return Done(exited.value.code, out.getvalue(), err.getvalue())
