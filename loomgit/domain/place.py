"""Where something stands in a user's file, and what is wrong there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a text file; line and column count from 1, the path is as users name it."""

    path: str
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}"

    def __reduce__(self) -> tuple[type[Place], tuple[str, int, int]]:
        # A file has thousands of places; what dataclasses do for slots takes ten times as long.
        return Place, (self.path, self.line, self.column)


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a user's file: `file:line:column: message`, with a hint where there is one."""

    place: Place
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        line = f"{self.place}: {self.message}"
        return f"{line}\nhint: {self.hint}" if self.hint else line
