"""From what the evidence says to a verdict, and from many verdicts to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loomgit.domain.samples import Verdict
    from loomgit.domain.suites import OnInconclusive, Policy
    from loomgit.stats.verdicts import Outcome

_WORST_FIRST: tuple[Verdict, ...] = ("fail", "error", "unverified", "inconclusive", "pass")


def way_to_decide(
    policy: Policy, entrance: OnInconclusive = "point", *, strict: bool = False
) -> OnInconclusive:
    """What an inconclusive verdict does: the test's own word, else `fail` where it is strict, else
    as the entrance has it."""
    if policy.on_inconclusive is not None:
        return policy.on_inconclusive
    return "fail" if strict or policy.strict else entrance


def settle(outcome: Outcome, *, holds: bool, how: OnInconclusive) -> tuple[Verdict, bool]:
    """The verdict, and whether it is weak: the bare estimate's word where evidence has none."""
    if outcome != "inconclusive" or how == "warn":
        return outcome, False
    if how == "fail":
        return "fail", False
    return ("pass" if holds else "fail"), True


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of a whole from those of its parts; a whole without parts passes."""
    return min(verdicts, key=_WORST_FIRST.index, default="pass")


def blocks(verdict: Verdict, *, strict: bool = False) -> bool:
    """Whether a test with this verdict makes the invocation fail."""
    if verdict == "pass":
        return False
    return strict or verdict in ("fail", "error")
