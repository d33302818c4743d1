"""Parses the output of `git cat-file --batch`, raw trees and commits, and listings of files."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOUND = re.compile(rb"([0-9a-f]{40,64}) (blob|tree|commit|tag)(?: (\d+))?")
_BROKEN_LINK = re.compile(rb"(?:dangling|symlink|loop|notdir) (\d+)")
_AUTHOR = re.compile(rb"(.*?) ?<[^>]*> (\d+) ([+-])(\d\d)(\d\d)")
LINK, FOLDER = "120000", "40000"


class TreeEntry(NamedTuple):
    """A file in a tree: its mode in Git's notation (such as `100644`), and its blob id."""

    mode: str
    blob: str


class GitObject(NamedTuple):
    """An object in Git's database: its id, type (`blob`, `tree`, `commit`, `tag`) and content.

    The content is empty if it was not read.
    """

    id: str
    type: str
    content: bytes = b""


def parse_batch(output: bytes, *, contents: bool) -> Iterator[GitObject | None]:
    """Yield the objects in the output of `git cat-file --batch` or `--batch-check`, in order.

    Yields None for an object that is missing or ambiguous, and for a broken link. `contents` states
    whether the output includes the contents of the objects.
    """
    position = 0
    while position < len(output):
        end = output.index(b"\n", position)
        line, position = output[position:end], end + 1
        if match := _FOUND.fullmatch(line):
            identity, kind = match[1].decode(), match[2].decode()
            size = int(match[3]) if contents else -1
            content = output[position : position + size] if contents else b""
            yield GitObject(identity, kind, content)
            position += size + 1
        elif match := _BROKEN_LINK.fullmatch(line):
            position += int(match[1]) + 1
            yield None
        else:
            yield None


def parse_tree(content: bytes, digest_size: int) -> dict[str, TreeEntry]:
    """Return the entries of a raw tree by name. An object id has `digest_size` bytes."""
    entries: dict[str, TreeEntry] = {}
    position = 0
    while position < len(content):
        end = content.index(b"\0", position)
        mode, _, name = content[position:end].partition(b" ")
        position = end + 1 + digest_size
        identity = content[end + 1 : position].hex()
        entries[name.decode("utf-8", "surrogateescape")] = TreeEntry(mode.decode(), identity)
    return entries


def parse_commit(content: bytes) -> tuple[str, str, str]:
    """Return (tree id, author date as ISO 8601, author name) of a raw commit.

    The date and the name are empty if the author line is invalid.
    """
    headers: dict[str, bytes] = {}
    for line in content.split(b"\n\n", 1)[0].split(b"\n"):
        key, _, value = line.partition(b" ")
        headers.setdefault(key.decode("ascii", "replace"), value)
    encoding = headers.get("encoding", b"utf-8").decode("ascii", "replace")
    match = _AUTHOR.fullmatch(headers.get("author", b""))
    if match is None:
        return headers["tree"].decode(), "", ""
    try:
        name = match[1].decode(encoding, "replace")
    except LookupError:  # Python does not support the encoding
        name = match[1].decode("utf-8", "replace")
    sign = -1 if match[3] == b"-" else 1
    zone = timezone(sign * timedelta(hours=int(match[4]), minutes=int(match[5])))
    time = datetime.fromtimestamp(int(match[2]), zone).isoformat(timespec="seconds")
    return headers["tree"].decode(), time, name.strip()


def parse_listing(output: str) -> dict[str, TreeEntry]:
    """Return the files in the output of `ls-tree -z`, by their path in the repository."""
    entries: dict[str, TreeEntry] = {}
    for line in filter(None, output.split("\0")):
        fields, _, name = line.partition("\t")
        mode, kind, identity = fields.split(" ")
        if kind == "blob":
            entries[name] = TreeEntry(mode, identity)
    return entries


def parse_staged(output: str) -> dict[str, TreeEntry]:
    """Return the files in the output of `ls-files --stage -z`, by their path in the repository.

    Files with merge conflicts are left out.
    """
    entries: dict[str, TreeEntry] = {}
    for line in filter(None, output.split("\0")):
        fields, _, name = line.partition("\t")
        mode, identity, stage = fields.split(" ")
        if stage == "0":
            entries[name] = TreeEntry(mode, identity)
    return entries
