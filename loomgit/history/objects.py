"""What `git cat-file --batch` and raw trees say, parsed."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOUND = re.compile(rb"([0-9a-f]{40,64}) (blob|tree|commit|tag)(?: (\d+))?")
_ASTRAY = re.compile(rb"(?:dangling|symlink|loop|notdir) (\d+)")  # a symlink that leads nowhere
_AUTHOR = re.compile(rb"(.*?) ?<[^>]*> (\d+) ([+-])(\d\d)(\d\d)")
LINK, FOLDER = "120000", "40000"


class Entry(NamedTuple):
    """A file in a tree: Git's mode and blob id."""

    mode: str
    blob: str


class Found(NamedTuple):
    """An object: its id, its type (`blob`, `tree`, `commit`, `tag`), its content where asked."""

    id: str
    type: str
    content: bytes = b""


def parse_batch(output: bytes, *, contents: bool) -> Iterator[Found | None]:
    """The answers of a batch in order, None for what is missing, ambiguous or a broken symlink."""
    at = 0
    while at < len(output):
        end = output.index(b"\n", at)
        line, at = output[at:end], end + 1
        if found := _FOUND.fullmatch(line):
            identity, kind = found[1].decode(), found[2].decode()
            size = int(found[3]) if contents else -1
            yield Found(identity, kind, output[at : at + size] if contents else b"")
            at += size + 1
        elif astray := _ASTRAY.fullmatch(line):
            at += int(astray[1]) + 1
            yield None
        else:
            yield None


def parse_tree(content: bytes, digest_size: int) -> dict[str, Entry]:
    """The entries of a raw tree by name; `digest_size` in bytes."""
    entries: dict[str, Entry] = {}
    at = 0
    while at < len(content):
        mark = content.index(b"\0", at)
        mode, _, name = content[at:mark].partition(b" ")
        at = mark + 1 + digest_size
        identity = content[mark + 1 : at].hex()
        entries[name.decode("utf-8", "surrogateescape")] = Entry(mode.decode(), identity)
    return entries


def parse_commit(content: bytes) -> tuple[str, str, str]:
    """(tree, the author's time as ISO 8601, the author's name) of a raw commit."""
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
    except LookupError:  # an encoding that nobody knows
        name = match[1].decode("utf-8", "replace")
    sign = -1 if match[3] == b"-" else 1
    zone = timezone(sign * timedelta(hours=int(match[4]), minutes=int(match[5])))
    time = datetime.fromtimestamp(int(match[2]), zone).isoformat(timespec="seconds")
    return headers["tree"].decode(), time, name.strip()


def parse_listing(said: str) -> dict[str, Entry]:
    """Blobs of `ls-tree -z` by the repository's path."""
    found: dict[str, Entry] = {}
    for line in filter(None, said.split("\0")):
        about, _, name = line.partition("\t")
        mode, kind, identity = about.split(" ")
        if kind == "blob":
            found[name] = Entry(mode, identity)
    return found


def parse_staged(said: str) -> dict[str, Entry]:
    """Files of `ls-files --stage -z` by the repository's path; those in conflict are left out."""
    found: dict[str, Entry] = {}
    for line in filter(None, said.split("\0")):
        about, _, name = line.partition("\t")
        mode, identity, stage = about.split(" ")
        if stage == "0":
            found[name] = Entry(mode, identity)
    return found
