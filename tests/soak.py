"""Sizes of the long tests: `make test` runs a short form, `make soak` the full one."""

import os
from typing import TypeVar

T = TypeVar("T")
SOAK = os.environ.get("LOOM_TEST_SOAK") == "1"


def sized(short: T, full: T) -> T:
    """The size of a test in the form that runs."""
    return full if SOAK else short
