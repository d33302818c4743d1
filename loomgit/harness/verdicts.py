"""Turns outcomes into verdicts, and combines many verdicts into one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loomgit.domain.samples import Verdict
    from loomgit.domain.suites import OnInconclusive, Policy
    from loomgit.stats.verdicts import Outcome

_WORST_FIRST: tuple[Verdict, ...] = ("fail", "error", "unverified", "inconclusive", "pass")


def inconclusive_policy(
    policy: Policy, default_policy: OnInconclusive = "point", *, strict: bool = False
) -> OnInconclusive:
    """Return the rule for inconclusive outcomes of a test: `point`, `warn` or `fail`.

    The test's own `on_inconclusive` takes precedence. If it is None, the rule is `fail` if the test
    or the invocation is strict, else `default_policy`.
    """
    if policy.on_inconclusive is not None:
        return policy.on_inconclusive
    return "fail" if strict or policy.strict else default_policy


def settle(outcome: Outcome, *, holds: bool, inconclusive: OnInconclusive) -> tuple[Verdict, bool]:
    """Return the verdict for an outcome, and whether the verdict is weak.

    `holds` states whether the point estimate satisfies the claim. The parameter `inconclusive` is
    the rule for an inconclusive outcome. For the rule `warn`, the verdict is `inconclusive`. For
    `fail`, it is `fail`. For `point`, it is `pass` if `holds` is true, else `fail`. The verdict of
    `point` is weak, because it depends only on the point estimate.
    """
    if outcome != "inconclusive" or inconclusive == "warn":
        return outcome, False
    if inconclusive == "fail":
        return "fail", False
    return ("pass" if holds else "fail"), True


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of the verdicts, or `pass` if there are no verdicts."""
    return min(verdicts, key=_WORST_FIRST.index, default="pass")


def blocks(verdict: Verdict, *, strict: bool = False) -> bool:
    """Return whether a test with this verdict makes the invocation fail.

    If `strict` is true, all verdicts except `pass` make it fail. Otherwise, only `fail` and `error`
    make it fail.
    """
    if verdict == "pass":
        return False
    return strict or verdict in ("fail", "error")
