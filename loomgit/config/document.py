"""A YAML file as plain values, with the place of every key, item and text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from loomgit.domain.place import Place, Places, Problem

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree]"
Path: TypeAlias = tuple[str | int, ...]

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
LONGEST_QUOTE = 40  # characters of a user's text that a message repeats


class Plain(str):
    """A scalar without quotes: what it is asked to be decides its type."""

    __slots__ = ()


class Document(Struct, frozen=True):
    """The tree of one file; every scalar in it is text, `Plain` where it had no quotes.

    `keys` says where keys and list items begin, `texts` where the text of a scalar begins, quotes
    not counted. `problems` are faults that left a tree to go on with, such as a duplicate key.
    """

    path: str
    tree: dict[str, Tree]
    keys: Mapping[Path, Place]
    texts: Mapping[Path, Place]
    problems: tuple[Problem, ...] = ()

    def has(self, path: Path) -> bool:
        """Whether the file has a key or an item there."""
        return path in self.keys

    def find(self, path: Path) -> Tree | None:
        """The value at `path`, None where there is none or nothing (`key:`) is written."""
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
        """Where `path` stands, or the nearest part of it that the file has."""
        while path not in self.keys and path:
            path = path[:-1]
        return self.keys.get(path, Place(self.path))

    def text_place(self, path: Path) -> Place:
        """Where the text at `path` begins."""
        return self.texts.get(path) or self.place(path)

    def problem(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """A fault at `path`, named by its dotted key."""
        name = dotted(path)
        return Problem(self.place(path), f"{name}: {message}" if name else message, hint)

    def places(self) -> Places:
        """The places by dotted key, as definitions carry them."""
        return Places((dotted(path), place) for path, place in self.keys.items() if path)


def dotted(path: Path) -> str:
    """The path as messages name it: `evaluate.evaluators.0.config`."""
    return ".".join(shorten(str(step)) for step in path)


def is_null(value: object) -> bool:
    """Whether nothing is written: `key:`, `key: ~`, `key: null`."""
    return isinstance(value, Plain) and value in NULLS


def describe(value: object) -> str:
    """A value in the words of a message: a map, a list, nothing, `'0.8'`, the text `'0.8'`."""
    if isinstance(value, dict):
        return "a map"
    if isinstance(value, list):
        return "a list"
    if is_null(value):
        return "nothing"
    quoted = quote(str(value))
    return quoted if isinstance(value, Plain) else f"the text {quoted}"


def quote(text: str) -> str:
    """The user's text as a message repeats it."""
    return f"'{shorten(text)}'"


def shorten(text: str) -> str:
    """The text on one line, cut where it is too long to read in a message."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_QUOTE else f"{line[: LONGEST_QUOTE - 3]}..."
