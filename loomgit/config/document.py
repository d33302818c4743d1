"""A YAML file as plain values, with the file position of each key, list item and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from loomgit.domain.place import Place, Places, Problem

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree]"
Path: TypeAlias = tuple[str | int, ...]

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
MAX_QUOTE_LENGTH = 40  # characters of a user's text in a message


class UnquotedScalar(str):
    """A scalar without quotes. The field that contains the scalar determines its type."""

    __slots__ = ()


class Document(Struct, frozen=True):
    """The content of one file. Every scalar is a `str`; an unquoted scalar is an `UnquotedScalar`.

    `keys` maps paths to the positions of keys and list items. `texts` maps paths to the positions
    where the text of a scalar begins, after the opening quote. `problems` contains the problems
    that did not stop the parser, such as a duplicate key.
    """

    path: str
    tree: dict[str, Tree]
    keys: Mapping[Path, Place]
    texts: Mapping[Path, Place]
    problems: tuple[Problem, ...] = ()

    def has(self, path: Path) -> bool:
        """Whether the file has a key or a list item at `path`."""
        return path in self.keys

    def find(self, path: Path) -> Tree | None:
        """Return the value at `path`; None if `path` does not exist or is null (`key:`)."""
        if path not in self.keys:
            return None
        value: Tree = self.tree
        for step in path:
            if isinstance(value, dict):
                value = value[str(step)]
            elif isinstance(value, list):
                value = value[int(step)]
        return None if is_null(value) else value

    def place(self, path: Path) -> Place:
        """Return the position of the longest prefix of `path` that exists in the file."""
        while path not in self.keys and path:
            path = path[:-1]
        return self.keys.get(path, Place(self.path))

    def text_place(self, path: Path) -> Place:
        """Return the position where the text at `path` begins, after an opening quote."""
        return self.texts.get(path) or self.place(path)

    def problem(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """Return a problem at `path`; the message starts with the dotted key."""
        name = dotted(path)
        return Problem(self.place(path), f"{name}: {message}" if name else message, hint)

    def places(self) -> Places:
        """Return the position (line and column) of each key. Keys are dotted paths, as definitions
        use them."""
        return Places((dotted(path), place) for path, place in self.keys.items() if path)


def dotted(path: Path) -> str:
    """Return the path as a dotted key: `evaluate.evaluators.0.config`."""
    return ".".join(shorten(str(step)) for step in path)


def is_null(value: object) -> bool:
    """Whether a value is null: `key:`, `key: ~`, `key: null`."""
    return isinstance(value, UnquotedScalar) and value in NULLS


def describe(value: object) -> str:
    """Describe a value for a message: a map, a list, nothing, `'0.8'`, the text `'0.8'`."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if is_null(value):
        return "nothing"
    quoted = quote(str(value))
    return quoted if isinstance(value, UnquotedScalar) else f"the text {quoted}"


def quote(text: str) -> str:
    """Shorten the user's text and put it in quotes, for a message."""
    return f"'{shorten(text)}'"


def shorten(text: str) -> str:
    """Return the text on one line, cut to at most MAX_QUOTE_LENGTH characters."""
    line = " ".join(text.split())
    return line if len(line) <= MAX_QUOTE_LENGTH else f"{line[: MAX_QUOTE_LENGTH - 3]}..."
