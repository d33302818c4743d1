"""Regular expressions of users: checked when they are read, and bounded in time when they search.

Python's own `re` can hang for hours on a pattern of ten characters; `regex` takes a time limit.
"""

from __future__ import annotations

import re
import warnings
from functools import lru_cache
from typing import Protocol, cast

from loomgit.errors import UserError

LONGEST = 500  # characters of a pattern
MOST_COPIES = 10_000  # of its parts, once nested {n} are written out, which `regex` does
PATIENCE = 0.5  # seconds that one search may take
_COUNT = re.compile(r"\{(\d*)(?:,(\d*))?\}")


class BadPattern(ValueError):
    """A text that is no regular expression, or one too large to compile; says why in a line."""


class TooSlow(UserError):
    """A search that was given up after half a second: the pattern is the user's to change."""


class _Compiled(Protocol):
    def search(self, text: str, *, timeout: float) -> object | None: ...


def check_pattern(text: str) -> None:
    """Raise BadPattern unless `text` is a regular expression as Python's `re` knows them."""
    if len(text) > LONGEST:
        raise BadPattern(f"longer than {LONGEST} characters")
    copies = 1
    for found in _COUNT.finditer(text):
        copies *= max(1, *(int(number) for number in found.groups() if number), 1)
    if copies > MOST_COPIES:
        raise BadPattern(f"its repeats come to {copies:,}, more than {MOST_COPIES:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python's own doubts the user need not hear
            re.compile(text)
        _compile(text)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise BadPattern(str(error)) from error


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern, checked before, is found anywhere in the text; TooSlow after 0.5 s."""
    try:
        return _compile(pattern).search(text, timeout=PATIENCE) is not None
    except TimeoutError as error:
        message = f"the pattern '{pattern}' took longer than {PATIENCE:g} s"
        raise TooSlow(message, hint="avoid repeats inside of repeats") from error


@lru_cache(maxsize=256)
def _compile(text: str) -> _Compiled:
    # 50 ms to import, for the few suites that have patterns; it comes without types.
    import regex  # noqa: PLC0415

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return cast(_Compiled, regex.compile(text))
        except regex.error as error:
            raise BadPattern(str(error)) from error
