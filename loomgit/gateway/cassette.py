"""Cassettes: files with recorded replies, one JSON object per line.

Git tracks the files, so that people can review changes to the replies.
"""

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
from loomgit.gateway.reply_codec import FORMAT, parse, render

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from loomgit.domain.values import Json

REPAIR_HINT = "restore the file from Git, or delete the line and record the reply again"


class CassetteEntry(Struct, frozen=True):
    """One recorded reply and its `request`.

    `key` is a hash of the request. `origin` is a hash of the prompt and the context.
    """

    key: str
    origin: str
    request: JsonObject
    reply: Completion

    def line(self) -> bytes:
        """Return the entry as a line of the file.

        The reply comes before the long request, which makes reviews easier.
        """
        fields = {
            "key": self.key,
            "reply": render(self.reply),
            "request": self.request,
            "origin": self.origin,
        }
        return orjson.dumps(fields) + b"\n"


class Cassette:
    """The recorded replies of one file.

    `shown` is the path of the file in messages. `entries` maps keys to entries. `elsewhere` maps
    keys to further entries, which are replayed too, but never saved in this file. Raises
    ProblemsFound with all damaged lines, because Loom must not treat a damaged line as a missing
    entry.
    """

    def __init__(
        self, path: Path, shown: str, elsewhere: Mapping[str, CassetteEntry] | None = None
    ) -> None:
        self.path = path
        self.shown = shown  # the path in messages
        self.entries = load_entries(path, shown)
        self.elsewhere = elsewhere or {}

    def save(self, changed: Iterable[CassetteEntry]) -> None:
        """Write the entries in `changed` to the file, and keep all other entries of the file.

        Other processes may have added entries in the meantime. A reader never sees an incomplete
        file. Raises WorldError if the file cannot be written.
        """
        new_entries = {entry.key: entry for entry in changed}
        if new_entries:
            self.entries = self._rewrite(lambda current: {**current, **new_entries})

    def remove(self, keys: Iterable[str]) -> None:
        """Remove entries from the file by key. Raises WorldError if the file cannot be written."""
        removed = set(keys)
        if removed:
            self.entries = self._rewrite(
                lambda current: {key: entry for key, entry in current.items() if key not in removed}
            )

    def _rewrite(
        self, change: Callable[[dict[str, CassetteEntry]], dict[str, CassetteEntry]]
    ) -> dict[str, CassetteEntry]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Git ignores the lock file, because `.loom/.gitignore` excludes `.*.tmp`.
            lock = self.path.with_name(f".{self.path.name}.lock.tmp")
            with FileLock(lock):
                entries = change(load_entries(self.path, self.shown))
                save_entries(self.path, entries)
        except OSError as error:
            raise WorldError(f"{self.shown}: cannot be written: {error.strerror}") from error
        return entries


def load_entries(path: Path, shown: str) -> dict[str, CassetteEntry]:
    """Return the entries of the file by key. The result is empty if the file does not exist.

    Raises ProblemsFound with all damaged lines, or UserError if the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"{shown}: cannot be read: {error.strerror}") from error
    return parse_entries(content, shown)


def parse_entries(content: bytes, shown: str) -> dict[str, CassetteEntry]:
    """Return the entries in the content of a cassette, by key.

    `shown` is the path in messages. Raises ProblemsFound with all damaged lines.
    """
    entries: dict[str, CassetteEntry] = {}
    problems = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            entry = parse_entry(line)
            reason = "an earlier line has the same key" if entry.key in entries else ""
            entries[entry.key] = entry
        except ValueError as error:
            reason = str(error)
        if reason:
            problems.append(
                Problem(Place(shown, number), f"a damaged entry: {reason}", REPAIR_HINT)
            )
    if problems:
        raise ProblemsFound(problems)
    return entries


def save_entries(path: Path, entries: Mapping[str, CassetteEntry]) -> None:
    """Write the entries to the file, sorted by key, in one atomic step.

    Raises OSError if the file cannot be written.
    """
    with NamedTemporaryFile(
        dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False
    ) as temporary:
        try:
            temporary.writelines(entries[key].line() for key in sorted(entries))
            temporary.flush()
            os.fsync(temporary.fileno())
            Path(temporary.name).chmod(0o644)
            Path(temporary.name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(temporary.name).unlink()
            raise


def parse_entry(line: bytes) -> CassetteEntry:
    """Return the entry in a line of a cassette.

    Raises ValueError if the line is damaged, or if a person edited the key or the request. Such an
    edit is detected because the key is the hash of the request.
    """
    value: Json = orjson.loads(line)
    match value:
        case {"key": str(key), "origin": str(origin), "request": dict(request), "reply": reply}:
            if hash_request(request) != key:
                raise ValueError("its key does not match its request")
            return CassetteEntry(key, origin, request, parse(reply))
    raise ValueError("an entry must have key, reply, request and origin")


def hash_request(request: JsonObject) -> str:
    """Return the key of a request in hex.

    `request` is the result of `reply_codec.describe`.
    """
    return hashlib.sha256(canonical({"format": FORMAT, **request})).hexdigest()


def cassette_path(pipeline: str) -> str:
    """Return the path of a pipeline's cassette, relative to the project."""
    return f".loom/cassettes/{pipeline}.jsonl"


def hash_origin(prompt: str, context: Mapping[str, str]) -> str:
    """Return the `origin` of an entry: a hash of the inputs of the prompt.

    The inputs are the Git blob ids of the prompt file and of the context files (by name).
    """
    return digest([prompt, sorted(context.items())])[:16]
