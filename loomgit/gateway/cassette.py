"""Cassettes: recorded replies as lines of JSON that Git tracks and people can review."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import orjson
from filelock import FileLock
from msgspec import Struct

from loomgit.domain.keys import canonical, digest
from loomgit.domain.models import Completion
from loomgit.domain.place import Place, Problem
from loomgit.domain.values import JsonObject
from loomgit.errors import ProblemsFound, UserError, WorldError
from loomgit.gateway.kept import FORMAT, parse, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from loomgit.domain.values import Json

MENDED = "take its newer state from Git, or delete the line and record it again"


class Entry(Struct, frozen=True):
    """One recorded reply: `request` is what was asked, `origin` which state of a prompt asked."""

    key: str
    origin: str
    request: JsonObject
    reply: Completion

    def line(self) -> bytes:
        """The entry as its line of the file; a review reads the reply first."""
        fields = {
            "key": self.key,
            "reply": render(self.reply),
            "request": self.request,
            "origin": self.origin,
        }
        return orjson.dumps(fields) + b"\n"


class Cassette:
    """The entries of one file, by key; those of `elsewhere` are found as well, and never written.

    Raises ProblemsFound with every line that is damaged: it is never taken for one that is missing.
    """

    def __init__(
        self, path: Path, shown: str, elsewhere: Mapping[str, Entry] | None = None
    ) -> None:
        self.path = path
        self.shown = shown  # the path as users name it
        self.entries = read(path, shown)
        self.elsewhere = elsewhere or {}

    def save(self, changed: Iterable[Entry]) -> None:
        """Write `changed` into the file, beside what others have written there meanwhile.

        The file is whole at every moment. Raises WorldError where it cannot be written.
        """
        fresh = {entry.key: entry for entry in changed}
        if fresh:
            self.entries = self._rewrite(lambda found: {**found, **fresh})

    def remove(self, keys: Iterable[str]) -> None:
        """Take entries out of the file. Raises WorldError where it cannot be written."""
        gone = set(keys)
        if gone:
            self.entries = self._rewrite(
                lambda found: {key: entry for key, entry in found.items() if key not in gone}
            )

    def _rewrite(self, change: Callable[[dict[str, Entry]], dict[str, Entry]]) -> dict[str, Entry]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Its name is one that .loom/.gitignore leaves out.
            lock = self.path.with_name(f".{self.path.name}.lock.tmp")
            with FileLock(lock):
                entries = change(read(self.path, self.shown))
                write(self.path, entries)
        except OSError as error:
            raise WorldError(f"{self.shown}: cannot be written: {error.strerror}") from error
        return entries


def read(path: Path, shown: str) -> dict[str, Entry]:
    """The entries of the file, none where there is no file. Raises ProblemsFound."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{shown}: cannot be read: {error.strerror}") from error
    return parse_entries(content, shown)


def parse_entries(content: bytes, shown: str) -> dict[str, Entry]:
    """The entries of a file's content. Raises ProblemsFound."""
    entries: dict[str, Entry] = {}
    problems = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            entry = parse_entry(line)
            said = "its key was there before" if entry.key in entries else ""
            entries[entry.key] = entry
        except ValueError as error:
            said = str(error)
        if said:
            problems.append(Problem(Place(shown, number), f"a damaged entry: {said}", MENDED))
    if problems:
        raise ProblemsFound(problems)
    return entries


def write(path: Path, entries: Mapping[str, Entry]) -> None:
    """Put the entries into the file, sorted, in one step. Raises OSError."""
    with NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
    ) as aside:
        try:
            aside.writelines(entries[key].line() for key in sorted(entries))
            aside.flush()
            os.fsync(aside.fileno())
            Path(aside.name).chmod(0o644)
            Path(aside.name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(aside.name).unlink()
            raise


def parse_entry(line: bytes) -> Entry:
    """The entry of a line. Raises ValueError where it is damaged or was changed by hand: the key
    is the hash of the request."""
    value: Json = orjson.loads(line)
    match value:
        case {"key": str(key), "origin": str(origin), "request": dict(request), "reply": reply}:
            if hash_request(request) != key:
                raise ValueError("its key is not that of its request")
            return Entry(key, origin, request, parse(reply))
    raise ValueError("an entry has key, reply, request and origin")


def hash_request(request: JsonObject) -> str:
    """The key of a described request, in hex."""
    return hashlib.sha256(canonical({"format": FORMAT, **request})).hexdigest()


def cassette_of(pipeline: str) -> str:
    """The path of a pipeline's cassette in its project."""
    return f".loom/cassettes/{pipeline}.jsonl"


def origin_of(prompt: str, context: Mapping[str, str]) -> str:
    """What stands for a prompt's blob and its context's (path: blob) in an entry."""
    return digest([prompt, sorted(context.items())])[:16]
