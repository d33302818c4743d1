"""Definitions parsed before, in `.git/loom/parsed/`: what has not changed is not parsed again.

Importing the parsers (YAML, pydantic, JSON Schema) takes a third of a second, more than most
commands take for all the rest.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import secrets
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from loomgit.config.text import REFERENCE
from loomgit.domain.definitions import FrontMatter
from loomgit.domain.outside import hide
from loomgit.domain.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.suites import Suite

T = TypeVar("T")

KEPT = 1_000  # definitions; beyond these the oldest half is removed
PACKAGE = Path(__file__).parents[1]


class Parsed:
    """The parsers of a project's files, each with a look at what it said of the same text before.

    `folder` is None where nothing is kept. Only what was parsed without a fault is kept, and only
    what the text alone decides: nothing that an installed plugin had a say in. An entry that cannot
    be read counts as none.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def pipeline(self, text: str, path: str, known_evaluators: Collection[str]) -> Pipeline:
        """As `parse_pipeline`."""

        def parse() -> Pipeline:
            from loomgit.config.pipelines import parse_pipeline  # noqa: PLC0415 - see above

            return parse_pipeline(text, path, known_evaluators=known)

        known = _Asked(known_evaluators)
        return self._look("pipeline", path, text, parse, lambda: not known.asked)

    def suite(self, text: str, path: str, known_evaluators: Collection[str]) -> Suite:
        """As `parse_suite`."""

        def parse() -> Suite:
            from loomgit.config.suites import parse_suite  # noqa: PLC0415 - see above

            return parse_suite(text, path, known_evaluators=known)

        known = _Asked(known_evaluators)
        return self._look("suite", path, text, parse, lambda: not known.asked)

    def settings(self, text: str, path: str) -> Settings:
        """As `parse_settings`."""

        def parse() -> Settings:
            from loomgit.config.settings_model import parse_settings  # noqa: PLC0415 - see above

            return parse_settings(text, path)

        return self._look("settings", path, text, parse)

    def front_matter(self, text: str, path: str) -> FrontMatter:
        """As `parse_front_matter`."""

        def parse() -> FrontMatter:
            from loomgit.config.front_matter import parse_front_matter  # noqa: PLC0415 - see above

            return parse_front_matter(text, path)

        return self._look("front matter", path, text, parse) if text.strip() else FrontMatter()

    def _look(
        self,
        kind: str,
        path: str,
        text: str,
        parse: Callable[[], T],
        decided: Callable[[], bool] = lambda: True,
    ) -> T:
        if self._folder is None:
            return parse()
        key = hashlib.sha256(
            "\0".join((_parsers(), kind, path, text)).encode("utf-8", "surrogateescape")
        )
        place = self._folder / key.hexdigest()
        with contextlib.suppress(OSError, pickle.UnpicklingError, EOFError, LookupError, TypeError,
                                 ValueError, AttributeError, ImportError):  # fmt: skip
            held: T = _Definitions(io.BytesIO(place.read_bytes())).load()
            return held
        found = parse()
        if decided() and not _holds_secret(text, found):
            _keep(place, found)
        return found


def _holds_secret(text: str, found: object) -> bool:
    """Whether a definition holds a key or a password that is written out."""
    written = REFERENCE.sub("", text)
    if hide(written) != written:
        return True
    if not isinstance(found, Settings):
        return False
    keys = [model.api_key for model in found.models.values()]
    literal = any(key and REFERENCE.sub("", key.template).strip() for key in keys)
    return literal or bool(found.channels) or any(":-" in str(key) for key in keys)


class _Asked:
    """A collection that remembers whether anybody looked into it."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self.asked = False

    def __contains__(self, name: object) -> bool:
        self.asked = True
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        self.asked = True
        return iter(self._names)

    def __len__(self) -> int:
        self.asked = True
        return len(self._names)


class _Definitions(pickle.Unpickler):
    """Reads values of the domain and nothing else: no entry can name code to run."""

    def find_class(self, module: str, name: str) -> object:
        known = module.startswith("loomgit.domain.") or (module, name) in _PLAIN
        if not known or "." in name:
            raise pickle.UnpicklingError(f"{module}.{name} is no definition")
        found: object = super().find_class(module, name)
        if not isinstance(found, type):
            raise pickle.UnpicklingError(f"{module}.{name} is no definition")
        return found


_PLAIN = {
    ("loomgit.config.document", "Plain"),
    ("builtins", "frozenset"),
    ("builtins", "set"),
    ("builtins", "complex"),
    ("datetime", "timedelta"),
    ("decimal", "Decimal"),
}


@cache
def _parsers() -> str:
    """What tells one state of the parsers and of what they make from another."""
    found = [sys.version]
    for room in ("config", "domain"):
        with os.scandir(PACKAGE / room) as files:
            for file in files:
                about = file.stat()
                found.append(f"{room}/{file.name} {about.st_mtime_ns} {about.st_size}")
    return "\n".join(sorted(found))


def _keep(place: Path, found: object) -> None:
    """Keep it if that can be done: the next one parses again where it cannot."""
    try:
        content = pickle.dumps(found, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError):
        return
    aside = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
        aside.replace(place)
        _sweep(place.parent)


def _sweep(folder: Path) -> None:
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    if len(found) > KEPT:
        found.sort(key=lambda entry: entry.stat().st_mtime)
        for entry in found[: len(found) // 2]:
            Path(entry).unlink(missing_ok=True)
