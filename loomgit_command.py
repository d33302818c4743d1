"""Entry point of the command `loom`. This module is deliberately outside the package `loomgit`.

Another project on PyPI is named `loomgit` and installs its files into the same folder. If that
project has replaced files of Loom, code inside the package can no longer report the conflict.
PYTEST_DONT_REWRITE: this word prevents pytest's warning that this module is already imported.
"""

from __future__ import annotations

import os
import re
import sys

OTHER_PROJECT = re.compile(r"loomgit-(?P<version>[^-]+)(-py[\d.]+)?\.(dist|egg)-info")


def find_conflict() -> str | None:
    """Return one line that reports the other project's package, or None if it is not installed.

    Only folders of `sys.path` up to Loom's own folder can contain files that replace Loom's files.
    The function searches the file names in these folders, because importing importlib.metadata
    takes longer than most commands.
    """
    own = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120 - pathlib is slow to import
    for folder in dict.fromkeys(sys.path):
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208
        except (OSError, TypeError):
            continue
        for name in names if "loomgit" in names else ():
            if found := OTHER_PROJECT.fullmatch(name):
                return (
                    f"the package loomgit {found['version']} in {folder or '.'} installs its files "
                    "into Loom's folder: run `python -m pip uninstall loomgit loom-aietl`, then "
                    "install loom-aietl again"
                )
        if os.path.realpath(folder or ".") == own:
            break
    return None


def main() -> None:
    """Run the command line. Exit with code 2 if another package shares Loom's folder."""
    if conflict := find_conflict():
        sys.stderr.write(f"error: {conflict}\n")
        sys.exit(2)
    try:
        from loomgit.cli import main as run  # noqa: PLC0415 - not before the check
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "loomgit":
            raise
        sys.stderr.write(f"error: {error}: install loom-aietl again\n")
        sys.exit(2)
    run()


if __name__ == "__main__":
    main()
