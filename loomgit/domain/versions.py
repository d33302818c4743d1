"""Versions of files, named by Git: content first, the name it was given second."""

from __future__ import annotations

from msgspec import Struct


class FileVersion(Struct, frozen=True):
    """The content of one file at one version.

    `path` is relative to the project; `blob` is Git's id of the content; `name` is what people
    call it (`v2.3.0`, `v2.3.0+3.g1a2b3c4d`, `g1a2b3c4d`, `.dirty` behind either); `revision` is
    the commit it was read at, None for the working tree; `former_path` is where the file stood at
    that revision, where it has been renamed since, else empty.
    """

    path: str
    name: str
    blob: str
    text: str
    revision: str | None = None
    former_path: str = ""


class Commit(Struct, frozen=True):
    """Where the work tree stood: `id` is `unborn` before the first commit, `branch` is empty on a
    detached HEAD, `time` is the author's, ISO 8601."""

    id: str
    tree: str = ""
    branch: str = ""
    time: str = ""
    author: str = ""
    dirty: bool = False
    object_format: str = "sha1"
