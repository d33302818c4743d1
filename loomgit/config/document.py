"""The parsed content of a YAML file: its values, and the position of each value in the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from loomgit.domain.place import Place, Places, Problem

Tree: TypeAlias = "str | list[Tree] | dict[str, Tree]"
Path: TypeAlias = tuple[str | int, ...]

NULLS = frozenset(("", "~", "null", "Null", "NULL"))
MAX_QUOTE_LENGTH = 40  # the maximum length of a user's text in a message, in characters


class UnquotedScalar(str):
    """A scalar without quotes, such as `0.8`. The field that contains it determines its type."""

    __slots__ = ()


class Document(Struct, frozen=True):
    """The content of one file. Every scalar is a `str`; an unquoted scalar is an `UnquotedScalar`.

    A path is a tuple of keys and list indexes. `keys` maps each path to the position of its key or
    list item. `texts` maps each path to the position where its value begins, after any opening
    quote. `problems` contains the problems that did not stop the parser, such as a duplicate key.
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
        """Return the value at `path`, or None if the path does not exist or the value is null."""
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
        """Return the position of `path`, or of its nearest parent if `path` does not exist."""
        while path not in self.keys and path:
            path = path[:-1]
        return self.keys.get(path, Place(self.path))

    def text_place(self, path: Path) -> Place:
        """Return the position where the text at `path` begins, after any opening quote."""
        return self.texts.get(path) or self.place(path)

    def problem(self, path: Path, message: str, hint: str | None = None) -> Problem:
        """Return a Problem at the position of `path`. Its message starts with the dotted path."""
        name = dotted(path)
        return Problem(self.place(path), f"{name}: {message}" if name else message, hint)

    def places(self) -> Places:
        """Return a map from each dotted path, such as `load.mode`, to its position in the file."""
        return Places((dotted(path), place) for path, place in self.keys.items() if path)


def dotted(path: Path) -> str:
    """Return the path as text with dots, such as `evaluate.evaluators.0.config`."""
    return ".".join(shorten(str(step)) for step in path)


def is_null(value: object) -> bool:
    """Whether a value is null, as in `key:`, `key: ~` and `key: null`."""
    return isinstance(value, UnquotedScalar) and value in NULLS


def describe(value: object) -> str:
    """Describe a value for a message: `a map`, `a list`, or `nothing` for null.

    An unquoted scalar is described as `'0.8'`, and a quoted scalar as `the text '0.8'`.
    """
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
