"""Computes verdicts of regression tests by comparing their cases with the baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.comparison import MAX_LOST_SHARE, lost_note
from loomgit.domain.samples import CheckResult, TestResult
from loomgit.harness.distributional import conclude
from loomgit.harness.outcome import CHANGED_EVALUATORS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.comparison import Metric, PipelineComparison
    from loomgit.domain.samples import CaseSamples, Sample, Verdict
    from loomgit.domain.suites import Drift, OnInconclusive, Regression


def judge_regression(
    test: Regression,
    cases: Sequence[CaseSamples],
    comparison: PipelineComparison,
    *,
    inconclusive: OnInconclusive,
    same: bool = False,
) -> TestResult:
    """Judge `cases` by their comparison with the baseline.

    Each gated metric (a metric that can fail the test) has a result line. An inconclusive metric
    fails the test only if `inconclusive` is `fail`. `same` is true if the baseline has the same
    content as the tested version. Inconclusive metrics then pass, because nothing has changed.
    """
    against = test.baseline or "the baseline"
    if comparison.base is None:
        return without_baseline(test, _score_text("score", test.policy.max_drop, against), against)
    if comparison.differs:
        return not_comparable(test, f"not comparable: {'; '.join(map(str, comparison.differs))}")
    gated = [metric for metric in comparison.metrics if metric.gated]
    checks = [_check(metric, comparison, against, inconclusive, same=same) for metric in gated]
    if not any(metric.kind == "score" for metric in gated):
        text = _score_text("score", test.policy.max_drop, against)
        note = "no case has a score on both sides"
        checks.insert(0, CheckResult(text, "unverified", "unknown", n=0, note=note))
    result = conclude(test, checks, cases, _worst_replies(cases, comparison))
    if comparison.requestioned and result.verdict in ("pass", "inconclusive", "fail"):
        return _with_changed_evaluators(result, comparison, inconclusive)
    return result


def without_baseline(test: Regression | Drift, text: str, against: str) -> TestResult:
    """Return the inconclusive result of a test for which no baseline results are stored.

    `text` is the only result line. `against` names the baseline.
    """
    note = f"there are no results of {against} to compare with"
    check = CheckResult(text, "inconclusive", note=note)
    return TestResult(test.name, "inconclusive", (check,), message=note)


def not_comparable(test: Regression | Drift, reason: str) -> TestResult:
    """Return an unverified result. `reason` states why the test's cases cannot be compared."""
    against = test.baseline or "the baseline"
    check = CheckResult(f"compared with {against}", "unverified", "unknown", n=0, note=reason)
    return TestResult(test.name, "unverified", (check,), message=reason)


def _with_changed_evaluators(
    result: TestResult, comparison: PipelineComparison, inconclusive: OnInconclusive
) -> TestResult:
    """Return the result with a worse verdict, because the tested change modified the evaluators.

    Modified evaluators can hide a regression. Therefore, the verdict `pass` becomes `inconclusive`.
    If the parameter `inconclusive` is `fail`, it becomes `fail`. Other verdicts do not change.
    """
    if result.verdict != "pass":
        return result
    verdict: Verdict = "fail" if inconclusive == "fail" else "inconclusive"
    note = f"{CHANGED_EVALUATORS}: {'; '.join(map(str, comparison.requestioned))}"
    checks = tuple(
        replace(check, verdict=verdict, note="; ".join(filter(None, (check.note, note))))
        for check in result.checks
    )
    return replace(result, verdict=verdict, checks=checks, message=note)


def _score_text(name: str, limit: float, against: str) -> str:
    return f"{name} drop < {limit:g} against {against}"


def _check(
    metric: Metric,
    comparison: PipelineComparison,
    against: str,
    inconclusive: OnInconclusive,
    *,
    same: bool,
) -> CheckResult:
    limit = metric.limit or 0.0
    is_score = metric.kind == "score"
    text = f"{metric.name} rise < {limit:.0%} against {against}"
    if is_score:
        text = _score_text(metric.name, limit, against)
    if metric.outcome == "not_comparable" or metric.delta is None:
        prefix = "not comparable: " if metric.outcome == "not_comparable" else ""
        note = f"{prefix}{metric.reason}"
        return CheckResult(text, "unverified", "unknown", n=0, note=note)
    low, high = metric.low, metric.high
    actual = f"{metric.delta:+.1%}"
    if is_score:  # a drop is printed as a positive number
        actual = f"{0.0 - metric.delta:.3f}"
        low, high = _negative(metric.high), _negative(metric.low)
    return CheckResult(
        text,
        _verdict(metric, comparison, inconclusive, same=same),
        actual,
        _finite(low),
        _finite(high),
        metric.cases,
        note="; ".join(_notes(metric, comparison)),
    )


def _verdict(
    metric: Metric, comparison: PipelineComparison, inconclusive: OnInconclusive, *, same: bool
) -> Verdict:
    if metric.outcome == "degraded":
        return "fail"
    if (metric.outcome == "inconclusive" and not same) or _is_lossy(comparison):
        return "fail" if inconclusive == "fail" else "inconclusive"
    return "pass"


def _notes(metric: Metric, comparison: PipelineComparison) -> list[str]:
    levels = ""
    if metric.kind == "score" and metric.base is not None and metric.head is not None:
        levels = f": {metric.base:.3f} -> {metric.head:.3f}"
    notes = [f"{metric.outcome.replace('_', ' ')} over {metric.cases} cases{levels}"]
    notes += [metric.reason] if metric.reason else []
    if _is_lossy(comparison) and metric.outcome != "degraded":
        notes.append(lost_note(comparison.lost))
    if metric.outcome == "inconclusive" and metric.detects is not None:
        notes.append(f"detects drops >= {metric.detects:.2g}")
    gone_count = len(comparison.removed) + len(comparison.changed)
    if gone_count or comparison.added:
        notes.append(f"{gone_count} cases removed or changed, {len(comparison.added)} new")
    if metric.outcome == "degraded":
        notes.append(f"p = {metric.adjusted:.2g}")
    return notes


def _is_lossy(comparison: PipelineComparison) -> bool:
    """Return whether too many baseline cases are missing for a conclusive comparison.

    False if the policy allows removed cases.
    """
    return comparison.lost > MAX_LOST_SHARE and not comparison.may_lose


def _negative(value: float | None) -> float | None:
    return None if value is None else 0.0 - value


def _finite(value: float | None) -> float | None:
    return value if value is not None and abs(value) != float("inf") else None


def _worst_replies(
    cases: Sequence[CaseSamples], comparison: PipelineComparison
) -> list[tuple[CaseSamples, Sample]]:
    """Return the worst reply to each case whose score dropped. The largest drop is first."""
    by_id = {case.id: case for case in cases}
    replies: list[tuple[CaseSamples, Sample]] = []
    for change in comparison.worse:
        case = by_id[change.id]
        scored = [sample for sample in case.samples if sample.score is not None]
        if scored:
            replies.append((case, min(scored, key=lambda sample: sample.score or 0.0)))
    return replies
