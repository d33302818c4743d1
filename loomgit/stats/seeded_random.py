"""Random numbers that are the same for the same test, on every machine and at every commit."""

from __future__ import annotations

from zlib import crc32

from loomgit.stats.lazy_numpy import np


def seed(test_id: str, metric: str) -> int:
    """Return the seed of the random numbers for a metric of a test."""
    return crc32(f"{test_id}\0{metric}".encode())


def generator(test_id: str, metric: str) -> np.random.Generator:
    """Return a generator of random numbers. Its seed depends only on the test and the metric."""
    return np.random.Generator(np.random.SFC64(seed(test_id, metric)))
