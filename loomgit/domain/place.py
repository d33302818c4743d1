"""Where something stands in a user's file, and what is wrong there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from loomgit.domain.values import JsonObject


class Place(Struct, frozen=True):
    """A position in a text file; line and column count from 1, the path is as users name it."""

    path: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"


class Places(dict[str, Place]):
    """Where the keys of a file stand. Any two are equal: what a file says is the same wherever in
    it the words are, so definitions that hold their places compare without them.
    """

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Places)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return f"<{len(self)} keys>"


class Problem(Struct, frozen=True):
    """One fault of a user's file: `file:line:column: message`, with a hint where there is one."""

    place: Place
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        line = f"{self.place}: {self.message}"
        return f"{line}\nhint: {self.hint}" if self.hint else line

    def document(self) -> JsonObject:
        """The problem in a JSON document."""
        return describe_problem(self.message, self.hint, self.place)


def describe_problem(message: str, hint: str | None, place: Place | None = None) -> JsonObject:
    """A problem in a JSON document; file, line and column are null where they are not known."""
    return {
        "file": place.path if place else None,
        "line": place.line if place else None,
        "column": place.column if place else None,
        "message": message,
        "hint": hint,
    }
