"""What a test's samples amount to: how many were lost, what they score, which to show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.samples import CaseSamples, Sample, Verdict
    from loomgit.domain.suites import Policy

SHOWN = 5  # replies that a failure shows


def loss(cases: Sequence[CaseSamples], policy: Policy) -> tuple[Verdict, str] | None:
    """The verdict where too many replies are missing to say anything, with the reason."""
    samples = [sample for case in cases for sample in case.samples]
    lost = [sample for sample in samples if sample.lost]
    if not samples:
        return "error", "there are no cases to draw"
    if not lost or len(lost) <= policy.max_error_rate * len(samples):
        return None
    reasons = [sample.failure for sample in lost if sample.failure]
    reason = f": {max(reasons, key=reasons.count)}" if reasons else ""
    unknown = len(lost) == len(samples) or all(s.trouble == "unrecorded" for s in lost)
    word = "recorded" if all(s.trouble == "unrecorded" for s in lost) else "to be had"
    message = f"{len(lost)} of {len(samples)} replies were not {word}{reason}"
    return ("unverified" if unknown else "error"), message


def silence(cases: Sequence[CaseSamples], policy: Policy) -> str | None:
    """Why scores cannot be trusted: an evaluator has no score of too many replies; None if it has.

    It may fail on exactly the bad replies, so that a mean of the others would be too good.
    """
    samples = [sample for case in cases for sample in case.samples if not sample.lost]
    reasons = [reason for sample in samples if (reason := sample.unjudged)]
    if not reasons or len(reasons) <= policy.max_error_rate * len(samples):
        return None
    share = f"{len(reasons)} of {len(samples)} replies have no score"
    return f"{share}: {max(reasons, key=reasons.count)}"


def mean_score(cases: Sequence[CaseSamples]) -> float | None:
    """The mean evaluation score of all replies, None where none has one."""
    scores = [s.score for case in cases for s in case.samples if s.score is not None]
    return math.fsum(scores) / len(scores) if scores else None


def badness(pair: tuple[CaseSamples, Sample]) -> tuple[bool, float, bool]:
    """Sorts the replies that cannot be used first, then by score, then those that failed."""
    sample = pair[1]
    return sample.trouble != "product", sample.score or 0.0, sample.passed
