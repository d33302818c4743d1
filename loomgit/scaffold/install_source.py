"""Finds the source of this Loom installation, so that other machines can install the same Loom.

If a package is installed from a URL or a path, pip, uv and pipx store this source in the file
`direct_url.json` (PEP 610). If a package comes from an index such as PyPI, the file is missing.
"""

from __future__ import annotations

import json
import shlex
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from msgspec import Struct

from loomgit import __version__

DISTRIBUTION = "loom-aietl"
URL_CHARACTERS = "/:@%+~._-=&?!,;"  # other characters are percent-encoded, so a URL needs no quotes


class InstallSource(Struct, frozen=True):
    """The source of an installation of Loom.

    `requirement` is the text for `pip install`: a version (`name==1.0`), the URL of a repository
    with a commit, the URL of an archive, or a path. `is_local` is true if other machines cannot
    install the requirement, for example because it is a path.
    """

    requirement: str
    is_local: bool = False

    @property
    def command(self) -> str:
        """The shell command that installs Loom from this source."""
        return f"python -m pip install {shlex.quote(self.requirement)}"


def find_install_source() -> InstallSource:
    """Return the source of the running installation of Loom.

    If Loom runs from a folder and is not installed as a package, the source is this folder.
    """
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return InstallSource(str(Path(__file__).parents[2]), is_local=True)
    return parse_install_source(installed.read_text("direct_url.json"), installed.version)


def parse_install_source(direct_url: str | None, version: str = __version__) -> InstallSource:
    """Return the install source. `direct_url` is the text of the file `direct_url.json`.

    If `direct_url` is None, Loom was installed from a package index, and the result requires
    exactly this `version`. The user name, the password and the query are removed from a URL,
    because they may contain a secret. Only an SSH URL without a password keeps its user name. If
    the text is invalid, the result is the folder that contains the running code.
    """
    if direct_url is None:
        return InstallSource(f"{DISTRIBUTION}=={version}")
    try:
        record: dict[str, Any] = json.loads(direct_url)
        url = urlsplit(record["url"])
        vcs = record.get("vcs_info")
        fragments = [f"subdirectory={record['subdirectory']}"] if "subdirectory" in record else []
        if url.scheme == "file":
            return InstallSource(unquote(url.path), is_local=True)
        if vcs is not None:
            address = f"{vcs['vcs']}+{_public(record['url'])}@{vcs['commit_id']}"
        else:
            address = _public(record["url"])
            hashes = record["archive_info"].get("hashes", {})
            fragments += [f"{name}={value}" for name, value in sorted(hashes.items())]
    except (ValueError, KeyError, TypeError, AttributeError):
        return InstallSource(str(Path(__file__).parents[2]), is_local=True)
    fragment = f"#{'&'.join(fragments)}" if fragments else ""
    return InstallSource(f"{DISTRIBUTION} @ {quote(address + fragment, safe=f'{URL_CHARACTERS}#')}")


def _public(address: str) -> str:
    """Return the URL with its user name, password, query and fragment removed.

    An SSH URL that has no password keeps its user name.
    """
    url = urlsplit(address)
    userinfo, separator, host = url.netloc.rpartition("@")
    if separator and "ssh" in url.scheme and ":" not in userinfo:
        host = url.netloc
    return urlunsplit((url.scheme, host, url.path, "", ""))
