"""Names already found, in `.git/loom/versions.json`: right as long as the tags are the same."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from loomgit.history.repository import Tag

FORMAT = 1
KEPT = 5_000  # names; a file with more is begun anew


class NameCache:
    """Names of contents by key; shared by all worktrees, by processes at once.

    A file that is damaged, of another format or of other tags counts as empty. Where it cannot be
    written, names are found again each time.
    """

    def __init__(self, common_dir: Path, tags: Iterable[Tag]) -> None:
        self._path = common_dir / "loom" / "versions.json"
        shallow = common_dir / "shallow"
        state = hashlib.sha256()
        with contextlib.suppress(OSError):
            state.update(shallow.read_bytes())  # deepening a clone changes counts, and no tag
        for tag in tags:
            state.update(f"\n{tag.name} {tag.commit}".encode("utf-8", "surrogateescape"))
        self._state = state.hexdigest()

    def load(self) -> dict[str, str]:
        """The names found before."""
        try:
            document = orjson.loads(self._path.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return {}
        match document:
            case {"format": format_, "tags": tags, "names": dict(names)} if (
                format_ == FORMAT and tags == self._state
            ):
                return {key: name for key, name in names.items() if isinstance(name, str)}
        return {}

    def add(self, found: Mapping[str, str]) -> None:
        """Keep more names. Of two writers at once the later wins: the other's are found again."""
        if not found:
            return
        kept = self.load()
        names = {**(kept if len(kept) + len(found) <= KEPT else {}), **found}
        try:
            content = orjson.dumps({"format": FORMAT, "tags": self._state, "names": names})
        except (TypeError, UnicodeError):
            return  # a path that is not UTF-8 has no place in JSON
        aside = self._path.with_name(f".versions.{secrets.token_hex(4)}.tmp")
        try:
            aside.parent.mkdir(exist_ok=True)
            aside.write_bytes(content)
            aside.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
