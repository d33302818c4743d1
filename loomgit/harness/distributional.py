"""Verdicts of tests over many replies: assertions, hallucination rate, cost, latency."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from msgspec.structs import replace

from loomgit.domain.assertions import Name
from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.patterns import TooSlow
from loomgit.domain.samples import Check, TestResult
from loomgit.domain.suites import CostBudget, HallucinationRate, LatencyLimit, Statistical
from loomgit.harness.claims import COUNTED, Claim, judge_claim, merge
from loomgit.harness.drawing import Drawing, in_order
from loomgit.harness.facts import Absent, Unmeasured
from loomgit.harness.samples import SHOWN, badness, loss, mean_score, silence
from loomgit.harness.statements import Statement, quantity, statement
from loomgit.harness.verdicts import way_to_decide, worst

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loomgit.domain.samples import CaseSamples, Sample
    from loomgit.domain.suites import Distributional, OnInconclusive, Policy

OneSided: TypeAlias = Statistical | HallucinationRate | CostBudget | LatencyLimit
PER = 1_000  # records that a budget is for
_JUDGES = ("groundedness", "factuality")
_COST, _LATENCY = quantity(Name("cost")), quantity(Name("latency"))


def find_evaluator(test: HallucinationRate, evaluators: Sequence[EvaluatorSpec]) -> EvaluatorSpec:
    """The evaluator whose failures count as hallucinations: the test's, else the pipeline's
    groundedness, else its factuality, else groundedness against the input."""
    if test.evaluator is not None:
        return test.evaluator
    found = (spec for type_ in _JUDGES for spec in evaluators if spec.type == type_)
    return next(found, EvaluatorSpec("groundedness", "groundedness"))


def statements(test: OneSided, evaluators: Sequence[EvaluatorSpec] = ()) -> list[Statement]:
    """The lines of a test; `evaluators` are the pipeline's."""
    match test:
        case Statistical():
            return [statement(a.text, a.tree) for a in test.assertions]
        case HallucinationRate(threshold=threshold):
            spec = find_evaluator(test, evaluators)
            claim = Claim("hallucination_rate", "rate", _fails(spec), "<", threshold, adverse=1.0)
        case CostBudget(max_cost=threshold):
            text = f"cost per {PER:,} records"
            claim = Claim(text, "mean", _cost, "<=", threshold, hi=math.inf, adverse=1.0)
            return [Statement(f"{text} <= {_money(threshold)}", (claim,), unit="$")]
        case LatencyLimit(p95=threshold):
            name = "p95(latency)"
            claim = Claim(name, "p95", _LATENCY, "<", threshold, hi=math.inf, adverse=1.0)
    return [Statement(f"{claim.text} {claim.operator} {threshold:g}", (claim,))]


def _fails(spec: EvaluatorSpec) -> Callable[[CaseSamples, Sample], float | Absent | Unmeasured]:
    def read(_: CaseSamples, sample: Sample) -> float | Absent | Unmeasured:
        judgement = sample.judgements.get(spec.name)
        if judgement is None:
            if sample.trouble == "product":
                return 1.0
            return Unmeasured(f"{spec.name} did not judge")
        if judgement.value is None and judgement.infrastructure:
            return Unmeasured(f"{spec.name} failed: {judgement.reason}")
        return float(judgement.value is None or judgement.value < spec.threshold)

    return read


def _cost(case: CaseSamples, sample: Sample) -> float | Absent | Unmeasured:
    cost = _COST(case, sample)
    return cost if isinstance(cost, Absent | Unmeasured) else PER * cost


def _money(usd: float) -> str:
    return f"${usd:,.2f}" if round(usd, 2) == usd else f"${usd:g}"


def start(test: OneSided, available: int, evaluators: Sequence[EvaluatorSpec] = ()) -> Drawing:
    """The drawing of a test's cases, where `available` cases are there to draw from."""
    claims = [claim for line in statements(test, evaluators) for claim in line.claims]
    return Drawing(claims, test.sample_size, test.policy, available)


def judge(
    test: OneSided,
    cases: Sequence[CaseSamples],
    *,
    evaluators: Sequence[EvaluatorSpec] = (),
    entrance: OnInconclusive = "point",
    strict: bool = False,
) -> TestResult:
    """The verdict on the cases that were drawn.

    Deterministic: cases are taken in the order of their shuffle, whatever order they come in, and
    of each no more than the test's `samples` replies. `entrance` is what an inconclusive verdict
    does where the test does not say.
    """
    lines = statements(test, evaluators)
    ordered = in_order(trimmed(cases, test.policy))
    drawing = start(test, len(ordered), evaluators)
    taken = 0
    try:
        while drawing.wanted:
            batch = ordered[taken : taken + drawing.wanted]
            drawing.take(batch)
            taken += len(batch)
    except TooSlow as error:
        lost = [Check(x.text, "error", note=str(error), written=x.written) for x in lines]
        return TestResult(test.name, "error", tuple(lost), message=str(error))
    how = way_to_decide(test.policy, entrance, strict=strict)
    judged = iter(
        judge_claim(claim, merge(seen), test.policy, seed_id(test), drawing.close(index))
        for index, (claim, seen) in enumerate(zip(drawing.claims, drawing.seen, strict=True))
    )
    checks = [line.check(list(islice(judged, len(line.claims))), how) for line in lines]
    used = ordered[:taken]
    doubted = [line for line, check in zip(lines, checks, strict=True) if check.verdict != "pass"]
    return concluded(test, checks, used, _worst(used, doubted[0].claims[0] if doubted else None))


def trimmed(cases: Sequence[CaseSamples], policy: Policy) -> list[CaseSamples]:
    """The cases with no more replies than the test asks for: others may have wanted more."""
    return [
        replace(case, samples=tuple(s for s in case.samples if s.index < policy.samples))
        for case in cases
    ]


def seed_id(test: Distributional) -> str:
    """What seeds a test's random numbers: the file and the name, never the commit or the time."""
    return f"{test.place.path}::{test.name}"


def concluded(
    test: Distributional,
    checks: Sequence[Check],
    cases: Sequence[CaseSamples],
    failures: Sequence[tuple[CaseSamples, Sample]],
) -> TestResult:
    """The test's result from its lines; where too many replies were lost, none of them stands."""
    if (lost := loss(cases, test.policy)) is not None:
        verdict, message = lost
        checks = [replace(check, verdict=verdict, weak=False) for check in checks]
        return TestResult(test.name, verdict, tuple(checks), message=message)
    judged = not isinstance(test, CostBudget | LatencyLimit)
    if judged and (silent := silence(cases, test.policy)) is not None:
        checks = [replace(check, verdict="error", weak=False) for check in checks]
        return TestResult(test.name, "error", tuple(checks), message=silent)
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
    """The replies that speak against a claim, those first that do most; of a share of replies only
    those that count against it."""
    if claim is None:
        return []
    found: list[tuple[float, tuple[bool, float, bool], tuple[CaseSamples, Sample]]] = []
    for case in cases:
        for sample in case.samples:
            if sample.lost:
                continue
            value = claim.quantity(case, sample)
            if isinstance(value, Unmeasured):
                continue
            if isinstance(value, Absent):
                value = math.copysign(math.inf, claim.adverse - 0.5)
            elif claim.statistic in COUNTED and value != claim.adverse:
                continue
            against = -value if claim.adverse else value
            pair = case, sample
            found.append((against, badness(pair), pair))
    return [pair for *_, pair in sorted(found, key=lambda each: each[:2])]
