"""Checks the regular expressions of users, and limits the time of each search with them.

Python's `re` can take hours for a pattern of ten characters, and has no time limit. The package
`regex` has one.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Protocol, cast

from loomgit.errors import UserError

MAX_LENGTH = 500  # the maximum number of characters in a pattern
MAX_COPIES = 10_000  # the maximum number of copies of a subpattern; `regex` expands {n} to n copies
TIME_LIMIT = 0.5  # time limit of one search in seconds
_COUNT = re.compile(r"\{(\d*)(?:,(\d*))?\}")


class InvalidPattern(ValueError):
    """The text is not a regular expression, or it is too large. The message is one line."""


class SearchTimeout(UserError):
    """A search exceeded the time limit of 0.5 seconds. The user must change the pattern."""


class _Compiled(Protocol):
    def search(self, text: str, *, timeout: float) -> object | None: ...


def check_pattern(text: str) -> None:
    """Raise InvalidPattern unless `text` is a regular expression in the syntax of Python's `re`.

    Also raises InvalidPattern if the pattern exceeds MAX_LENGTH or MAX_COPIES.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidPattern(f"longer than {MAX_LENGTH} characters")
    copies = 1
    for match in _COUNT.finditer(text):
        copies *= max(1, *(int(number) for number in match.groups() if number), 1)
    if copies > MAX_COPIES:
        raise InvalidPattern(f"its repeats expand to {copies:,} copies, more than {MAX_COPIES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the user does not need Python's syntax warnings
            re.compile(text)
        _compile(text)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise InvalidPattern(str(error)) from error


def matches(pattern: str, text: str) -> bool:
    """Return whether the pattern matches any part of the text.

    `check_pattern` must have accepted the pattern. Raises SearchTimeout after 0.5 s.
    """
    try:
        return _compile(pattern).search(text, timeout=TIME_LIMIT) is not None
    except TimeoutError as error:
        message = f"the pattern '{pattern}' took longer than {TIME_LIMIT:g} s"
        raise SearchTimeout(message, hint="avoid repeats inside repeats") from error


@lru_cache(maxsize=256)
def _compile(text: str) -> _Compiled:
    # The import takes 50 ms, and few test files have patterns.
    import regex  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return cast("_Compiled", regex.compile(text))
        except regex.error as error:
            raise InvalidPattern(str(error)) from error
