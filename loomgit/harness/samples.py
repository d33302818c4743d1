"""Summaries of a test's samples: missing replies, missing scores, the mean score, the order of
failures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.samples import CaseSamples, Sample, Verdict
    from loomgit.domain.suites import Policy

SHOWN = 5  # the maximum number of failing replies in a test's result


def missing_replies(cases: Sequence[CaseSamples], policy: Policy) -> tuple[Verdict, str] | None:
    """Return a verdict and its reason if too many replies are missing, else None.

    Too many replies are missing if their fraction exceeds `policy.max_error_rate`. The verdict is
    `unverified` if all replies are missing, or if replies are missing only because they were not
    recorded. Otherwise, it is `error`. If there are no samples, it is always `error`.
    """
    samples = [sample for case in cases for sample in case.samples]
    lost = [sample for sample in samples if sample.lost]
    if not samples:
        return "error", "there are no cases to draw"
    if not lost or len(lost) <= policy.max_error_rate * len(samples):
        return None
    reasons = [sample.failure for sample in lost if sample.failure]
    reason = f": {max(reasons, key=reasons.count)}" if reasons else ""
    all_unrecorded = all(sample.trouble == "unrecorded" for sample in lost)
    problem = "not recorded" if all_unrecorded else "missing"
    message = f"{len(lost)} of {len(samples)} replies are {problem}{reason}"
    is_unverified = len(lost) == len(samples) or all_unrecorded
    return ("unverified" if is_unverified else "error"), message


def missing_scores(cases: Sequence[CaseSamples], policy: Policy) -> str | None:
    """Return a message if too many replies have no score, else None.

    Too many replies have no score if their fraction exceeds `policy.max_error_rate`. The mean score
    is then unreliable: if an evaluator fails on bad replies only, the mean is too high.
    """
    samples = [sample for case in cases for sample in case.samples if not sample.lost]
    reasons = [reason for sample in samples if (reason := sample.unjudged)]
    if not reasons or len(reasons) <= policy.max_error_rate * len(samples):
        return None
    share = f"{len(reasons)} of {len(samples)} replies have no score"
    return f"{share}: {max(reasons, key=reasons.count)}"


def mean_score(cases: Sequence[CaseSamples]) -> float | None:
    """Return the mean evaluation score of all replies, or None if no reply has a score."""
    scores = [s.score for case in cases for s in case.samples if s.score is not None]
    return math.fsum(scores) / len(scores) if scores else None


def sort_key(failure: tuple[CaseSamples, Sample]) -> tuple[bool, float, bool]:
    """Return a key that sorts failures (a case and its failing sample), worst first.

    Unusable replies come first. The other replies are in ascending order of their scores. If scores
    are equal, replies that failed the quality gate come first.
    """
    sample = failure[1]
    return sample.trouble != "product", sample.score or 0.0, sample.passed
