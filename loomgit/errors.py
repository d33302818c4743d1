"""The errors that reach a user: what happened, where, what to do, and the exit code it means.

Exit codes: 2 the user must change something, 3 our own bug (anything that is not a LoomError),
4 the world failed (provider, database, disk, Git).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from loomgit.domain.place import Place, describe_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.place import Problem
    from loomgit.domain.values import JsonObject

# A file and a line at the beginning of a message. Other words with a number behind them are hosts.
_PLACED = re.compile(
    r"(?P<file>[^\s:][^:\n]*\.(?:ya?ml|csv|jsonl?|ndjson|txt|md|py|j2|jinja2?|toml|sql))"
    r":(?P<line>\d+)(?::(?P<column>\d+))?: (?P<message>.+)",
    re.DOTALL,
)


class LoomError(Exception):
    """Something that a user can act on: one line that says what, an optional one that says how."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def documents(self) -> list[JsonObject]:
        """The problems behind the error for a JSON document: file, line, column, message, hint.

        The place is that at the beginning of the message, where there is one.
        """
        placed = _PLACED.match(self.message)
        if placed is None:
            return [describe_problem(self.message, self.hint)]
        column = int(placed["column"]) if placed["column"] else None
        place = Place(placed["file"], int(placed["line"]), column or 1)
        return [{**describe_problem(placed["message"], self.hint, place), "column": column}]


class UserError(LoomError):
    """The user must change something: a file, a flag, a variable."""


class ProblemsFound(UserError):
    """The faults of the user's files, all of them at once, each with its place."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    def documents(self) -> list[JsonObject]:
        """The problems for a JSON document."""
        return [problem.document() for problem in self.problems]


class WorldError(LoomError):
    """Something outside Loom failed: a disk, a database, Git, a network."""

    exit_code = 4


class ModelError(WorldError):
    """A call to a model failed; the children say what can be done about it.

    `cost` is what the provider charged for the call all the same, in USD; None if nobody knows: the
    request was sent, and no reply came.
    """

    cost: float | None = 0.0


class Unrecorded(ModelError):
    """A replay has no recorded reply to this request, and may not ask the model."""


class RateLimited(ModelError):
    """The provider asks to wait: try again, not before `retry_after` seconds where it says so."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ModelError):
    """A 5xx, a network fault or a timeout: the same call may succeed later.

    `retry_after` is in seconds, None where the provider does not say; `overloaded` says that there
    are too many calls for it (503), not that it is broken.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, overloaded: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.overloaded = overloaded


class Rejected(ModelError):
    """The provider refuses this very request (malformed, too long, against its policy)."""


class Denied(ModelError):
    """No key, a wrong key or no quota: no call will succeed until a person acts."""

    exit_code = 2


class NotServed(Denied):
    """The server does not serve the model: it does not know it, or the key may not use it.

    Said of a model that has answered before, it concerns that one request.
    """


class Untrusted(Denied):
    """A revision may not use the keys or run its own code, so it was not measured."""


class BudgetExceeded(Denied):
    """The next call might spend more than the budget has left, so it was not made."""

    exit_code = 1


def lines_of(error: LoomError) -> list[tuple[str, str | None]]:
    """The lines that a terminal shows, each with its hint: one for each problem."""
    if not isinstance(error, ProblemsFound):
        return [(error.message, error.hint)]
    return [(f"{each.place}: {each.message}", each.hint) for each in error.problems]
