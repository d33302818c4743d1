"""The source of this installation of Loom, as a requirement that pip can install again.

pip, uv and pipx record the source of a direct installation in `direct_url.json` (PEP 610). They
record nothing for a package that came from an index.
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
    """A requirement for pip: a repository and commit, an archive, an index and version, or a path.

    `is_local` means that only this machine has the source, such as a local path.
    """

    requirement: str
    is_local: bool = False

    @property
    def command(self) -> str:
        """The shell command that installs Loom again."""
        return f"python -m pip install {shlex.quote(self.requirement)}"


def find_install_source() -> InstallSource:
    """Return the source of the running installation.

    A source tree without package metadata counts as a local folder.
    """
    try:
        installed = distribution(DISTRIBUTION)
    except PackageNotFoundError:
        return InstallSource(str(Path(__file__).parents[2]), is_local=True)
    return parse_install_source(installed.read_text("direct_url.json"), installed.version)


def parse_install_source(direct_url: str | None, version: str = __version__) -> InstallSource:
    """Return the source that is recorded in the text of a `direct_url.json`; None means an index.

    The credentials and the query of a URL are left out, because a query may contain a secret too.
    The user name of an SSH URL is kept. Damaged text counts as a local installation, because its
    source is unknown.
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
    """Return the URL without its credentials, query and fragment."""
    url = urlsplit(address)
    userinfo, separator, host = url.netloc.rpartition("@")
    if separator and "ssh" in url.scheme and ":" not in userinfo:
        host = url.netloc
    return urlunsplit((url.scheme, host, url.path, "", ""))
