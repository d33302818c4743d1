"""Versions of files in Git. The content identifies a version; the name is only for display."""

from __future__ import annotations

from msgspec import Struct


class FileVersion(Struct, frozen=True):
    """The content of one file at one version.

    `path` is relative to the project. `blob` is Git's id of the content. `name` is the displayed
    name of the version (`v2.3.0`, `v2.3.0+3.g1a2b3c4d`, `g1a2b3c4d`, each with an optional suffix
    `.dirty`). `revision` is the commit from which the content was read, or None if it was read from
    the working tree. `former_path` is the path of the file at this revision if the file was renamed
    later, else it is empty.
    """

    path: str
    name: str
    blob: str
    text: str
    revision: str | None = None
    former_path: str = ""


NO_FILE = FileVersion("", "", "", "")


class Commit(Struct, frozen=True):
    """The commit that the working tree is based on.

    `id` is `unborn` before the first commit. `branch` is empty on a detached HEAD. `time` is the
    author date, ISO 8601. `dirty` is true if the working tree has uncommitted changes.
    """

    id: str
    tree: str = ""
    branch: str = ""
    time: str = ""
    author: str = ""
    dirty: bool = False
    object_format: str = "sha1"
