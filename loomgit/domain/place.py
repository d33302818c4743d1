"""Positions in a user's files, and the problems at these positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from loomgit.domain.values import JsonObject


class Place(Struct, frozen=True):
    """A position in a text file. Line and column numbers start at 1.

    `path` is the path as the user wrote it.
    """

    path: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class Places(dict[str, Place]):
    """The positions of the keys of a file, by dotted key.

    All `Places` are equal, so that a comparison of two definitions ignores the positions. The
    position of a key does not change the meaning of the file.
    """

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"<{len(self)} keys>"


class Problem(Struct, frozen=True):
    """A problem in a user's file, with its position and an optional hint."""

    place: Place
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        line = f"{self.place}: {self.message}"
        return f"{line}\nhint: {self.hint}" if self.hint else line

    def document(self) -> JsonObject:
        """Return the problem as an object with the keys file, line, column, message and hint."""
        return describe_problem(self.message, self.hint, self.place)


def describe_problem(message: str, hint: str | None, place: Place | None = None) -> JsonObject:
    """Return a problem as an object with the keys file, line, column, message and hint.

    File, line and column are null if `place` is None.
    """
    return {
        "file": place.path if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "message": message,
        "hint": hint,
    }
