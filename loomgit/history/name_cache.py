"""Caches version names in `.git/loom/versions.json` until a tag is added, moved or removed."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from loomgit.history.tag_scopes import Tag

FORMAT = 1
MAX_NAMES = 5_000  # maximum number of names; if it is exceeded, all earlier names are dropped


class NameCache:
    """A cache of version names by key, shared by all worktrees and by concurrent processes.

    The cache file is ignored if it is damaged or has another format. It is also ignored if the tags
    or the oldest commits of a shallow clone have changed since it was written. If the file cannot
    be written, names are computed again each time.
    """

    def __init__(self, common_dir: Path, tags: Iterable[Tag]) -> None:
        self._path = common_dir / "loom" / "versions.json"
        shallow = common_dir / "shallow"
        state = hashlib.sha256()
        with contextlib.suppress(OSError):
            # If a shallow clone fetches older commits, the numbers in the version names change, but
            # the tags stay the same. Therefore, the state must also include the file `shallow`,
            # which lists the oldest commits of the clone.
            state.update(shallow.read_bytes())
        for tag in tags:
            state.update(f"\n{tag.name} {tag.commit}".encode("utf-8", "surrogateescape"))
        self._state = state.hexdigest()

    def load(self) -> dict[str, str]:
        """Return the cached names by key."""
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

    def add(self, names: Mapping[str, str]) -> None:
        """Add names to the cache.

        If two processes write at the same time, the names of the earlier write are lost. They are
        computed again when they are needed.
        """
        if not names:
            return
        cached = self.load()
        merged = {**(cached if len(cached) + len(names) <= MAX_NAMES else {}), **names}
        try:
            content = orjson.dumps({"format": FORMAT, "tags": self._state, "names": merged})
        except (TypeError, UnicodeError):
            return  # JSON cannot contain a path that is not UTF-8
        temporary = self._path.with_name(f".versions.{secrets.token_hex(4)}.tmp")
        try:
            temporary.parent.mkdir(exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
