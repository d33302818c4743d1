"""Verdicts of tests over many replies: assertions, hallucination rate, cost, latency."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from loomgit.domain.amounts import SMALLEST_PLAIN, dollars
from loomgit.domain.assertions import Name
from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.samples import CheckResult, TestResult
from loomgit.domain.suites import CostBudget, HallucinationRate, LatencyLimit, Statistical
from loomgit.domain.user_regex import SearchTimeout
from loomgit.harness.assertion_verdicts import Statement, build_statement, quantity
from loomgit.harness.claims import CONDITION_STATISTICS, Claim, judge_claim, merge
from loomgit.harness.samples import SHOWN, mean_score, missing_replies, missing_scores, sort_key
from loomgit.harness.sampling_plan import SamplingPlan, in_draw_order
from loomgit.harness.value_lookup import Absent, Unmeasured
from loomgit.harness.verdicts import inconclusive_policy, worst

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loomgit.domain.samples import CaseSamples, Sample
    from loomgit.domain.suites import Distributional, OnInconclusive, Policy

OneSided: TypeAlias = Statistical | HallucinationRate | CostBudget | LatencyLimit
BUDGET_RECORDS = 1_000  # a cost test limits the cost of this many records
_HALLUCINATION_TYPES = ("groundedness", "factuality")
_COST, _LATENCY = quantity(Name("cost")), quantity(Name("latency"))


def find_evaluator(test: HallucinationRate, evaluators: Sequence[EvaluatorSpec]) -> EvaluatorSpec:
    """Return the evaluator that detects hallucinations.

    The test's own evaluator takes precedence, then the pipeline's groundedness evaluator, then its
    factuality evaluator. If none of them exists, the result is a new groundedness evaluator, which
    compares outputs with the input.
    """
    if test.evaluator is not None:
        return test.evaluator
    specs = (spec for type_ in _HALLUCINATION_TYPES for spec in evaluators if spec.type == type_)
    return next(specs, EvaluatorSpec("groundedness", "groundedness"))


def build_statements(test: OneSided, evaluators: Sequence[EvaluatorSpec] = ()) -> list[Statement]:
    """Return the result lines of a test. Each line contains its claims.

    `evaluators` are the evaluators of the pipeline.
    """
    match test:
        case Statistical():
            return [build_statement(a.text, a.tree) for a in test.assertions]
        case HallucinationRate(threshold=threshold):
            spec = find_evaluator(test, evaluators)
            claim = Claim("hallucination_rate", "rate", _failure(spec), "<", threshold, adverse=1.0)
        case CostBudget(max_cost=threshold):
            text = f"cost per {BUDGET_RECORDS:,} records"
            claim = Claim(text, "mean", _cost, "<=", threshold, hi=math.inf, adverse=1.0)
            return [Statement(f"{text} <= {_money(threshold)}", (claim,), unit="$")]
        case LatencyLimit(p95=threshold):
            name = "p95(latency)"
            claim = Claim(name, "p95", _LATENCY, "<", threshold, hi=math.inf, adverse=1.0)
    return [Statement(f"{claim.text} {claim.operator} {threshold:g}", (claim,))]


def _failure(spec: EvaluatorSpec) -> Callable[[CaseSamples, Sample], float | Absent | Unmeasured]:
    def read(_: CaseSamples, sample: Sample) -> float | Absent | Unmeasured:
        judgement = sample.judgements.get(spec.name)
        if judgement is None:
            if sample.trouble == "product":
                return 1.0
            return Unmeasured(f"{spec.name} gave no score")
        if judgement.value is None and judgement.infrastructure:
            return Unmeasured(f"{spec.name} failed: {judgement.reason}")
        return float(judgement.value is None or judgement.value < spec.threshold)

    return read


def _cost(case: CaseSamples, sample: Sample) -> float | Absent | Unmeasured:
    cost = _COST(case, sample)
    return cost if isinstance(cost, Absent | Unmeasured) else BUDGET_RECORDS * cost


def _money(usd: float) -> str:
    if round(usd, 2) == usd:
        return f"${usd:,.2f}"
    return f"${usd:g}" if usd >= SMALLEST_PLAIN else dollars(usd)


def plan_sampling(
    test: OneSided, available: int, evaluators: Sequence[EvaluatorSpec] = ()
) -> SamplingPlan:
    """Return the plan for drawing cases. `available` is the number of cases in the data set."""
    claims = [claim for line in build_statements(test, evaluators) for claim in line.claims]
    return SamplingPlan(claims, test.sample_size, test.policy, available)


def judge(
    test: OneSided,
    cases: Sequence[CaseSamples],
    *,
    evaluators: Sequence[EvaluatorSpec] = (),
    default_policy: OnInconclusive = "point",
    strict: bool = False,
) -> TestResult:
    """Judge a test by the drawn cases.

    The result is deterministic: it does not depend on the order of `cases`, and it uses at most
    `test.policy.samples` replies to each case. `default_policy` applies to inconclusive outcomes if
    the test does not define a rule for them.
    """
    lines = build_statements(test, evaluators)
    ordered = in_draw_order(limit_samples(cases, test.policy))
    plan = plan_sampling(test, len(ordered), evaluators)
    taken = 0
    try:
        while plan.next_count:
            batch = ordered[taken : taken + plan.next_count]
            plan.take(batch)
            taken += len(batch)
    except SearchTimeout as error:
        checks = [
            CheckResult(line.text, "error", note=str(error), written=line.written) for line in lines
        ]
        return TestResult(test.name, "error", tuple(checks), message=str(error))
    inconclusive = inconclusive_policy(test.policy, default_policy, strict=strict)
    judged = iter(
        judge_claim(claim, merge(batches), test.policy, seed_id(test), plan.close(index))
        for index, (claim, batches) in enumerate(zip(plan.claims, plan.observations, strict=True))
    )
    checks = [line.check(list(islice(judged, len(line.claims))), inconclusive) for line in lines]
    used = ordered[:taken]
    failing = [line for line, check in zip(lines, checks, strict=True) if check.verdict != "pass"]
    return conclude(test, checks, used, _worst(used, failing[0].claims[0] if failing else None))


def limit_samples(cases: Sequence[CaseSamples], policy: Policy) -> list[CaseSamples]:
    """Return the cases with at most `policy.samples` replies each.

    Other tests may have drawn more replies to the same cases.
    """
    return [
        replace(case, samples=tuple(s for s in case.samples if s.index < policy.samples))
        for case in cases
    ]


def seed_id(test: Distributional) -> str:
    """Return the seed for the random numbers of a test.

    The seed consists of the test's file and name, so it is the same at every commit and in every
    run.
    """
    return f"{test.place.path}::{test.name}"


def conclude(
    test: Distributional,
    checks: Sequence[CheckResult],
    cases: Sequence[CaseSamples],
    failures: Sequence[tuple[CaseSamples, Sample]],
) -> TestResult:
    """Return the result of a test. `checks` are its result lines, `failures` are failed replies.

    If too many replies are missing, all lines get the verdict that `missing_replies` returns. If
    too many scores are missing, all lines get the verdict `error`. Cost and latency tests do not
    need scores.
    """
    if (missing := missing_replies(cases, test.policy)) is not None:
        verdict, message = missing
        checks = [replace(check, verdict=verdict, weak=False) for check in checks]
        return TestResult(test.name, verdict, tuple(checks), message=message)
    needs_scores = not isinstance(test, CostBudget | LatencyLimit)
    if needs_scores and (reason := missing_scores(cases, test.policy)) is not None:
        checks = [replace(check, verdict="error", weak=False) for check in checks]
        return TestResult(test.name, "error", tuple(checks), message=reason)
    verdict = worst(check.verdict for check in checks)
    failing = [] if verdict == "pass" else failures
    return TestResult(
        test.name,
        verdict,
        tuple(checks),
        tuple(failing[:SHOWN]),
        score=mean_score(cases),
        more=max(len(failing) - SHOWN, 0),
    )


def _worst(cases: Sequence[CaseSamples], claim: Claim | None) -> list[tuple[CaseSamples, Sample]]:
    """Return the replies to show for a claim that does not pass, worst first.

    The result is empty if `claim` is None. Lost and unmeasured replies are left out. If the claim
    is about the number or the fraction of replies that meet a condition, replies that support the
    claim are also left out.
    """
    if claim is None:
        return []
    ranked: list[tuple[float, tuple[bool, float, bool], tuple[CaseSamples, Sample]]] = []
    for case in cases:
        for sample in case.samples:
            if sample.lost:
                continue
            value = claim.quantity(case, sample)
            if isinstance(value, Unmeasured):
                continue
            if isinstance(value, Absent):
                value = math.copysign(math.inf, claim.adverse - 0.5)
            elif claim.statistic in CONDITION_STATISTICS and value != claim.adverse:
                continue
            rank = -value if claim.adverse else value
            failure = case, sample
            ranked.append((rank, sort_key(failure), failure))
    return [failure for *_, failure in sorted(ranked, key=lambda entry: entry[:2])]
