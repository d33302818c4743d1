"""Laws of scores to simulate with, and the ways in which scores drop.

Within cases they spread as the tables of the gate assume: 0.085 graded, 0.17 five levels, 0.25
pass/fail; `ties` are pass/fail with nine of ten pairs equal.
"""

import math

import numpy as np

from loomgit.stats.distributions import Z
from loomgit.stats.pairs import suite_moments

MEANS = {"graded": 0.8, "five levels": 0.85, "pass/fail": 0.85, "ties": 0.9}
QUIET = {"graded, sd 0.05": 0.05, "graded, sd 0.02": 0.02}  # judges that waver less
SPREADS = {"graded": 0.085, **QUIET}


def mean_of(model):
    """The mean score of a law."""
    return MEANS.get(model, MEANS["graded"])


def suite(model, rng, runs, n):
    """Fix the cases of `runs` suites; the answer draws m samples of each, (runs, n, m)."""
    shape = (runs, n, 1)
    if model in SPREADS:
        mean = rng.beta(16, 4, shape)
        concentration = 64 / 420 / SPREADS[model] ** 2 - 1
        a, b = mean * concentration, (1 - mean) * concentration
        return lambda m: rng.beta(a, b, (runs, n, m))
    if model == "five levels":
        p = rng.beta(8.26, 1.46, shape)
        return lambda m: rng.binomial(4, p, (runs, n, m)) / 4
    p = (
        rng.beta(0.817, 0.144, shape)
        if model == "pass/fail"
        else np.where(rng.random(shape) < 0.2, 0.5, 1.0)
    )
    return lambda m: (rng.random((runs, n, m)) < p).astype(float)


def dropped(scores, drop, failures, mean, rng):
    """The scores after a drop of their mean: all alike, by single outputs or by whole cases."""
    if failures == "uniform":
        return scores - drop
    shape = scores.shape if failures == "scattered" else (*scores.shape[:-1], 1)
    return scores * (rng.random(shape) >= drop / mean)


def blocked(base, candidate, max_drop=0.02):
    """Which runs the default gate blocks; `compare` says the same one run at a time."""
    delta, se = suite_moments(base, candidate)
    moved = se > 0
    return moved & (delta <= -Z * se) & (delta <= -max_drop + 1e-12)


def green(base, candidate, max_drop=0.02):
    """Which runs the default gate calls no worse; `compare` says the same one run at a time."""
    delta, se = suite_moments(base, candidate)
    samples = base.shape[-1] * base.shape[-2]
    one = base.mean((-2, -1)) / samples
    floor = delta - one - Z * np.hypot(se, one)
    return np.where(se > 0, floor > -max_drop, True) & (samples >= 50)


def error(p, runs):
    """The Monte-Carlo standard error of a share near p."""
    return math.sqrt(p * (1 - p) / runs)
