"""Cache of parsed definitions in `.git/loom/parsed/`, so that unchanged text is parsed only once.

Importing the parsers (YAML, pydantic, JSON Schema) takes a third of a second, which is longer than
the rest of most commands. Therefore, this module imports a parser only for text that is not cached.
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

from loomgit.config.project_files import REFERENCE
from loomgit.domain.definitions import FrontMatter
from loomgit.domain.safe_text import hide
from loomgit.domain.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from loomgit.domain.apps import AppSettings, Dependencies
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.place import Place
    from loomgit.domain.suites import Suite

T = TypeVar("T")

# The maximum number of cached definitions. If there are more, the older half of them is removed.
MAX_ENTRIES = 1_000
PACKAGE = Path(__file__).parents[1]


class ParseCache:
    """Parses the files of a project and caches the results.

    If `folder` is None, nothing is cached. A result is cached only if the file has no problems and
    no literal secret, and if the result does not depend on installed plugins. An unreadable cache
    entry is ignored, and the file is parsed again.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def pipeline(self, text: str, path: str, known_evaluators: Collection[str]) -> Pipeline:
        """Return the result of `parse_pipeline`, from the cache if possible."""

        def parse() -> Pipeline:
            from loomgit.config.pipelines import parse_pipeline  # noqa: PLC0415 - a slow import

            return parse_pipeline(text, path, known_evaluators=known)

        known = _TrackedNames(known_evaluators)
        return self._load_or_parse("pipeline", path, text, parse, lambda: not known.used)

    def suite(self, text: str, path: str, known_evaluators: Collection[str]) -> Suite:
        """Return the result of `parse_suite`, from the cache if possible."""

        def parse() -> Suite:
            from loomgit.config.suites import parse_suite  # noqa: PLC0415 - a slow import

            return parse_suite(text, path, known_evaluators=known)

        known = _TrackedNames(known_evaluators)
        return self._load_or_parse("suite", path, text, parse, lambda: not known.used)

    def named_files(self, text: str, path: str) -> list[tuple[str, str, Place]]:
        """Return the result of `find_referenced_files`, which is never cached."""
        from loomgit.config.pipelines import find_referenced_files  # noqa: PLC0415 - a slow import

        return find_referenced_files(text, path)

    def settings(self, text: str, path: str) -> Settings:
        """Return the result of `parse_settings`, from the cache if possible."""

        def parse() -> Settings:
            from loomgit.config.settings_model import (  # noqa: PLC0415 - a slow import
                parse_settings,
            )

            return parse_settings(text, path)

        return self._load_or_parse("settings", path, text, parse)

    def app(self, text: str, path: str, app: str) -> AppSettings:
        """Return the result of `parse_app`, from the cache if possible."""

        def parse() -> AppSettings:
            from loomgit.config.app_model import parse_app  # noqa: PLC0415 - a slow import

            return parse_app(text, path, app)

        return self._load_or_parse(f"app {app}", path, text, parse)

    def dependencies(self, text: str, path: str) -> Dependencies:
        """Return the result of `parse_dependencies`, from the cache if possible."""

        def parse() -> Dependencies:
            from loomgit.config.app_dependencies import (  # noqa: PLC0415 - a slow import
                parse_dependencies,
            )

            return parse_dependencies(text, path)

        return self._load_or_parse("dependencies", path, text, parse)

    def front_matter(self, text: str, path: str) -> FrontMatter:
        """Return the result of `parse_front_matter`, from the cache if possible.

        If the text is blank, return an empty FrontMatter and do not import the parser.
        """

        def parse() -> FrontMatter:
            from loomgit.config.front_matter import (  # noqa: PLC0415 - a slow import
                parse_front_matter,
            )

            return parse_front_matter(text, path)

        if not text.strip():
            return FrontMatter()
        return self._load_or_parse("front matter", path, text, parse)

    def _load_or_parse(
        self,
        kind: str,
        path: str,
        text: str,
        parse: Callable[[], T],
        is_cacheable: Callable[[], bool] = lambda: True,
    ) -> T:
        if self._folder is None:
            return parse()
        key = hashlib.sha256(
            "\0".join((_parser_state(), kind, path, text)).encode("utf-8", "surrogateescape")
        )
        file = self._folder / key.hexdigest()
        with contextlib.suppress(OSError, pickle.UnpicklingError, EOFError, LookupError, TypeError,
                                 ValueError, AttributeError, ImportError):  # fmt: skip
            cached: T = _DefinitionUnpickler(io.BytesIO(file.read_bytes())).load()
            return cached
        definition = parse()
        if is_cacheable() and not _contains_secret(text, definition):
            _save(file, definition)
        return definition


def _contains_secret(text: str, definition: object) -> bool:
    """Whether `text`, or the definition parsed from it, may contain a literal key or password."""
    literals = REFERENCE.sub("", text)
    if hide(literals) != literals:
        return True
    if not isinstance(definition, Settings):
        return False
    keys = [model.api_key for model in definition.models.values()]
    has_literal_key = any(key and REFERENCE.sub("", key.template).strip() for key in keys)
    return has_literal_key or bool(definition.channels) or any(":-" in str(key) for key in keys)


class _TrackedNames:
    """A collection of names. `used` becomes True when the collection is read."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self.used = False

    def __contains__(self, name: object) -> bool:
        self.used = True
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        self.used = True
        return iter(self._names)

    def __len__(self) -> int:
        self.used = True
        return len(self._names)


class _DefinitionUnpickler(pickle.Unpickler):
    """Loads only domain types and a few plain types, so that a cache entry cannot run code."""

    def find_class(self, module: str, name: str) -> object:
        is_known = module.startswith("loomgit.domain.") or (module, name) in _PLAIN_TYPES
        if not is_known or "." in name:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a cache entry")
        loaded: object = super().find_class(module, name)
        if not isinstance(loaded, type):
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a cache entry")
        return loaded


_PLAIN_TYPES = {
    ("loomgit.config.document", "UnquotedScalar"),
    ("builtins", "frozenset"),
    ("builtins", "set"),
    ("builtins", "complex"),
    ("datetime", "datetime"),
    ("datetime", "timedelta"),
    ("datetime", "timezone"),
    ("decimal", "Decimal"),
}


@cache
def _parser_state() -> str:
    """Return a text that changes if the parsers, the domain types or the Python version change."""
    lines = [sys.version]
    for package in ("config", "domain"):
        with os.scandir(PACKAGE / package) as files:
            for file in files:
                # Ignore the folder __pycache__, which changes when a module is compiled.
                if file.name.endswith(".py"):
                    status = file.stat()
                    lines.append(f"{package}/{file.name} {status.st_mtime_ns} {status.st_size}")
    return "\n".join(sorted(lines))


def _save(path: Path, definition: object) -> None:
    """Save a definition. Errors are ignored, and the next command parses the text again."""
    try:
        content = pickle.dumps(definition, protocol=5)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError):
        return
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(content)
        temporary.replace(path)
        _remove_oldest(path.parent)


def _remove_oldest(folder: Path) -> None:
    """Remove the oldest half of the entries if there are more than MAX_ENTRIES."""
    with os.scandir(folder) as entries:
        files = sorted(entries, key=lambda entry: entry.name)
    if len(files) > MAX_ENTRIES:
        files.sort(key=lambda entry: entry.stat().st_mtime)
        for file in files[: len(files) // 2]:
            Path(file).unlink(missing_ok=True)
