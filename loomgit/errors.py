"""The errors that Loom shows to a user: the problem, its position, a hint, and the exit code.

Exit codes: 2 if the user must change something, 3 for a bug in Loom (any exception that is not a
LoomError), 4 if something outside Loom failed (provider, database, disk, Git).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from loomgit.domain.place import Place, describe_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.place import Problem
    from loomgit.domain.values import JsonObject

# Matches a file and a line at the start of a message. The extensions are listed, because `name:1`
# may also be a host and a port.
_PLACED = re.compile(
    r"(?P<file>[^\s:][^:\n]*\.(?:ya?ml|csv|jsonl?|ndjson|txt|md|py|j2|jinja2?|toml|sql))"
    r":(?P<line>\d+)(?::(?P<column>\d+))?: (?P<message>.+)",
    re.DOTALL,
)


class LoomError(Exception):
    """An error that a user can act on: one line with the problem, and an optional hint."""

    exit_code: ClassVar[int] = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def first_problem(self) -> str:
        """The error in one line. If there are several problems, this is the first one."""
        return self.message

    def documents(self) -> list[JsonObject]:
        """Return the problems for a JSON document, with file, line, column, message and hint.

        The file, line and column come from the start of the message. They are null if the message
        does not start with a file and a line.
        """
        placed = _PLACED.match(self.message)
        if placed is None:
            return [describe_problem(self.message, self.hint)]
        column = int(placed["column"]) if placed["column"] else None
        place = Place(placed["file"], int(placed["line"]), column or 1)
        return [{**describe_problem(placed["message"], self.hint, place), "column": column}]


class UserError(LoomError):
    """An error that the user can correct by changing a file, a flag or a variable."""


class UnknownTarget(UserError):
    """The user selected a target that `.loom/config.yaml` does not define."""


class ProblemsFound(UserError):
    """All problems in the user's files, each with its file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)

    @property
    def first_problem(self) -> str:
        """The first problem with its file and line, in one line of text, without its hint."""
        problem = self.problems[0]
        return f"{problem.place}: {problem.message}"

    def documents(self) -> list[JsonObject]:
        """Return the problems for a JSON document."""
        return [problem.document() for problem in self.problems]


class WorldError(LoomError):
    """A failure outside Loom: a disk, a database, Git, a network."""

    exit_code = 4


class ModelError(WorldError):
    """A failed call to a model. The subclasses differ in what can be done about the failure.

    `cost` is the amount in USD that the provider charged for the failed call. It is None if the
    amount is unknown, for example because the request was sent and no reply arrived.
    """

    cost: float | None = 0.0


class Unrecorded(ModelError):
    """No reply to the request is recorded, and the replay mode does not allow a call."""


class RateLimited(ModelError):
    """The provider limits the rate of requests: the same call may succeed later.

    `retry_after` is the time to wait in seconds, or None if the provider does not specify it.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(ModelError):
    """A 5xx status, a network failure or a timeout: the same call may succeed later.

    `retry_after` is the time to wait in seconds, or None if the provider does not specify it.
    `overloaded` is true if the provider works but receives too many calls (503).
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, overloaded: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.overloaded = overloaded


class Rejected(ModelError):
    """The provider refuses this one request because it is malformed, too long, or not allowed."""


class Denied(ModelError):
    """No key, a wrong key or no quota: no call succeeds until a person intervenes."""

    exit_code = 2


class NotServed(Denied):
    """The server does not know the model, or the key may not use the model.

    If the model has answered another request, `gateway.first_calls` raises Rejected instead.
    """


class Untrusted(Denied):
    """An unverified revision must not use the keys or run its code, so Loom did not measure it."""


class BudgetExceeded(Denied):
    """The next call could exceed the remaining budget, so Loom did not make it."""

    exit_code = 1


def error_lines(error: LoomError) -> list[tuple[str, str | None]]:
    """Return a pair for each problem: the line that a terminal shows, and the hint or None."""
    if not isinstance(error, ProblemsFound):
        return [(error.message, error.hint)]
    return [(f"{problem.place}: {problem.message}", problem.hint) for problem in error.problems]
