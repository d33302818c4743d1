"""Git tags `loop-apps/<app>/<version>` of app versions, and the commits that added the versions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.errors import UserError
from loomgit.history.app_store import APPS

if TYPE_CHECKING:
    from loomgit.history.repository import Repository

_VERSION = re.compile(r"(?:^|/)artifacts/(v[1-9][0-9]*)/")


class AddedVersion(Struct, frozen=True):
    """The commit that added a version: its id, author date (ISO 8601), author and subject."""

    commit: str
    time: str
    author: str
    subject: str


def tag_names(repository: Repository, app: str, version: str) -> tuple[str, ...]:
    """Return the names that the tag of a version can have; the first one is used for new tags.

    If the project is in a subfolder of the repository, the first name starts with this folder.
    """
    return repository.stems(f"{APPS}/{app}/{version}")


def tag_version(repository: Repository, app: str, version: str) -> str:
    """Tag the committed content of a version at HEAD, and return the name of the tag.

    If the tag exists and contains the same files, nothing is changed. Raises UserError if the
    version is not committed, or if the tag exists with other files.
    """
    folder = version_path(app, version)
    names = [f"HEAD:{repository.in_repository(folder)}"]
    committed = repository.objects(names)[0]
    if committed is None:
        raise UserError(
            f"{folder} is not committed", hint="commit it first, because a tag refers to a commit"
        )
    status = repository.plumbing("status", "--porcelain", "-z", "--", repository.pathspec(folder))
    if status:
        raise UserError(f"{folder} has uncommitted changes", hint="commit them first")
    name = tag_names(repository, app, version)[0]
    tagged = repository.objects([f"refs/tags/{name}:{repository.in_repository(folder)}"])[0]
    if tagged != committed:
        repository.create_tag(name, f"{app} {version}")
    return name


def version_path(app: str, version: str) -> str:
    """Return the path of a version's folder in the project."""
    return f".loom/{APPS}/{app}/artifacts/{version}"


def added_versions(repository: Repository, app: str) -> dict[str, AddedVersion]:
    """Return the latest commit that added each version of an app, by the name of the version.

    In a shallow clone, the commit can be one that did not add the version; it is then left out.
    """
    if repository.objects(["HEAD^{commit}"])[0] is None:
        return {}
    output = repository.plumbing(
        "log", "--diff-filter=A", "--no-renames", "--name-only", "-z", "-m", "--first-parent",
        "--format=%x01%H%x02%P%x02%aI%x02%an%x02%s%x02", "HEAD", "--",
        repository.pathspec(f".loom/{APPS}/{app}/artifacts"),
    ).decode("utf-8", "replace")  # fmt: skip
    added: dict[str, AddedVersion] = {}
    for text in output.split("\x01")[1:]:
        commit, parents, time, author, subject, paths = text.split("\x02", 5)
        if not parents and repository.is_shallow:
            continue
        for path in paths.split("\0"):
            version = _VERSION.search(path.strip("\n"))
            if version is not None:
                added.setdefault(version[1], AddedVersion(commit, time, author, subject))
    return added
