"""Random numbers that are the same whenever the same test asks, on every machine and commit."""

from __future__ import annotations

from zlib import crc32

from numpy.random import SFC64, Generator


def seed(test_id: str, metric: str) -> int:
    """The seed to store beside a verdict that used random numbers."""
    return crc32(f"{test_id}\0{metric}".encode())


def generator(test_id: str, metric: str) -> Generator:
    """A generator that depends on the test and the metric alone, never on commit or time."""
    return Generator(SFC64(seed(test_id, metric)))
