"""Random numbers that are the same for the same test, on every machine and at every commit."""

from __future__ import annotations

from zlib import crc32

from loomgit.stats.lazy_numpy import np


def seed(test_id: str, metric: str) -> int:
    """Return the seed, which is stored with a verdict that used random numbers."""
    return crc32(f"{test_id}\0{metric}".encode())


def generator(test_id: str, metric: str) -> np.random.Generator:
    """Return a generator that depends on the test and the metric only, not on commit or time."""
    return np.random.Generator(np.random.SFC64(seed(test_id, metric)))
