"""Entry point of the command `loom`, beside the package and not in it.

Another project on PyPI is named `loomgit` and installs its files into the same folder. Once it has
replaced files of the package, code in the package cannot report that. PYTEST_DONT_REWRITE: pytest
would warn that this module is already imported.
"""

from __future__ import annotations

import os
import re
import sys

OTHER_PROJECT = re.compile(r"loomgit-(?P<version>[^-]+)(-py[\d.]+)?\.(dist|egg)-info")


def find_conflict() -> str | None:
    """One line that reports the other project's package, or None if it is not installed.

    Reads the names in the folders of `sys.path`, because importing importlib.metadata takes longer
    than most commands.
    """
    for folder in dict.fromkeys(sys.path):
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - pathlib is slow to import
        except OSError:
            continue
        for name in names:
            if found := OTHER_PROJECT.fullmatch(name):
                return (
                    f"the package loomgit {found['version']} in {folder or '.'} installs its files "
                    "into Loom's folder: run `python -m pip uninstall loomgit loom-aietl`, then "
                    "install loom-aietl again"
                )
    return None


def main() -> None:
    """Run the command line; exit with 2 if another package shares Loom's folder."""
    if conflict := find_conflict():
        sys.stderr.write(f"error: {conflict}\n")
        sys.exit(2)
    from loomgit.cli import main as run  # noqa: PLC0415 - not before the check

    run()


if __name__ == "__main__":
    main()
