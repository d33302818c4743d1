"""Verdicts of tests against a baseline: regression, which may fail, and drift, which only warns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.assertions import Name
from loomgit.domain.samples import CaseSamples, Check, TestResult
from loomgit.domain.suites import Policy
from loomgit.domain.values import as_text
from loomgit.harness.comparison import judges_differ
from loomgit.harness.differences import question_differences
from loomgit.harness.distributional import concluded, seed_id, trimmed
from loomgit.harness.drawing import in_order
from loomgit.harness.entry import DOUBTED
from loomgit.harness.facts import Absent, Unmeasured, facts_of_sample
from loomgit.harness.results import judges_of
from loomgit.harness.verdicts import way_to_decide
from loomgit.stats.draws import generator
from loomgit.stats.drift import label_drift, length_drift, score_drift
from loomgit.stats.faults import NoValues
from loomgit.stats.gate import Change, compare, compare_rise, confirm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loomgit.domain.comparison import Difference, Measured
    from loomgit.domain.samples import Sample, Verdict
    from loomgit.domain.suites import Drift, OnInconclusive, Regression
    from loomgit.domain.values import Json
    from loomgit.stats.drift import DriftReport

MOST_REMOVED = 0.1  # of the baseline's cases; more, and what is left may be the easier part
ENOUGH_FOR_DRIFT = 100  # replies a side below which a shift rarely shows
ABSENT = "(absent)"  # the label of a reply without the field
Side = list[list[float]]


class Pairs(Struct, frozen=True):
    """The cases that answer the same question on both sides, row by row; and the others.

    `removed` are cases of the baseline that are gone or ask something else now, of `known` ones.
    """

    base: tuple[CaseSamples, ...]
    candidate: tuple[CaseSamples, ...]
    removed: int
    added: int
    known: int

    @property
    def removed_share(self) -> float:
        """How much of the baseline is not compared."""
        return self.removed / self.known if self.known else 0.0


def pair_cases(
    candidate: Sequence[CaseSamples], baseline: Sequence[CaseSamples], sample_size: int | None
) -> Pairs:
    """Pair by id and question, in the order of the draw.

    Where the test drew only the first `sample_size` cases, those of the baseline that come later
    in the same order are not missed.
    """
    order = [case.id for case in in_order([*baseline, *candidate])]
    mine = {case.id: case for case in candidate}
    if sample_size is not None and len(mine) >= sample_size:
        last = max(index for index, id_ in enumerate(order) if id_ in mine)
        order = order[: last + 1]
    theirs = {case.id: case for case in baseline}
    base = [theirs[id_] for id_ in order if id_ in theirs]
    both = [case for case in base if _same(case, mine.get(case.id))]
    return Pairs(
        base=tuple(both),
        candidate=tuple(mine[case.id] for case in both),
        removed=len(base) - len(both),
        added=len(mine) - len(both),
        known=len(base),
    )


def _same(case: CaseSamples, other: CaseSamples | None) -> bool:
    return other is not None and other.definition == case.definition


def judge_regression(
    test: Regression,
    cases: Sequence[CaseSamples],
    baseline: Sequence[CaseSamples] | None,
    *,
    fresh: tuple[Sequence[CaseSamples], Sequence[CaseSamples]] | None = None,
    unconfirmed: str = "not measured again",
    entrance: OnInconclusive = "point",
    strict: bool = False,
    same: bool = False,
) -> TestResult:
    """Whether the same cases score worse than under the baseline, by `max_drop` or more.

    `baseline` None: there are no results to compare with, which is inconclusive. `fresh` are both
    sides drawn again (candidate, baseline) for `confirm`: a failure stands only if they agree.
    Without them it stands, and `unconfirmed` says why there are none.
    An inconclusive comparison is no failure, unless it is to be strict. `same`: the baseline's
    content is today's, so that nothing can have changed.
    """
    against = test.baseline or "the baseline"
    score_line = f"mean_score drop < {test.policy.max_drop:g} against {against}"
    if baseline is None:
        return _without_baseline(test, score_line, against)
    used = trimmed(cases, test.policy)
    pairs = pair_cases(used, baseline, test.sample_size)
    again = pair_cases(*fresh, test.sample_size) if fresh else None
    how = way_to_decide(test.policy, entrance, strict=strict)
    checks = []
    for metric in _metrics(test.policy):
        text = score_line
        if isinstance(metric, _Rise):
            text = f"{metric.kind} rise < {metric.most:.0%} against {against}"
        check = _gate(text, metric, pairs, again, test.policy, how, unconfirmed)
        if same and check.verdict == "inconclusive":
            check = replace(check, verdict="pass")
        checks.append(check)
    return concluded(test, checks, used, _fallen(pairs))


def is_degraded(
    test: Regression, cases: Sequence[CaseSamples], baseline: Sequence[CaseSamples]
) -> bool:
    """Whether any metric of the test got worse, so that `confirm` wants both sides drawn again."""
    pairs = pair_cases(trimmed(cases, test.policy), baseline, test.sample_size)
    return any(_is_worse(metric, pairs) for metric in _metrics(test.policy))


def _is_worse(metric: _Score | _Rise, pairs: Pairs) -> bool:
    try:
        return metric.compare(pairs).outcome == "degraded"
    except NoValues:
        return False


def _metrics(policy: Policy) -> list[_Score | _Rise]:
    if policy.max_rise is None:
        return [_Score(policy)]
    return [_Score(policy), _Rise("cost", policy.max_rise), _Rise("latency", policy.max_rise)]


def _without_baseline(test: Regression | Drift, text: str, against: str) -> TestResult:
    note = f"there are no results of {against} to compare with"
    check = Check(text, "inconclusive", note=note)
    return TestResult(test.name, "inconclusive", (check,), message=note)


def why_not_comparable(
    cases: Sequence[CaseSamples], question: Mapping[str, object], baseline: Measured
) -> str:
    """In one line, why today's cases cannot be compared with a baseline's: its question or its
    judges were others. Empty if they can."""
    parts = [str(part) for part in question_differences(baseline.question, question)]
    if not parts:
        for name, judges in judges_of(cases).items():
            if differ := judges_differ(baseline.judges.get(name, ()), judges):
                parts.append(f"{name}: {differ}")
    return f"not comparable: {'; '.join(parts)}" if parts else ""


def doubted(result: TestResult, parts: Sequence[Difference], how: OnInconclusive) -> TestResult:
    """A pass as inconclusive: both sides are judged by evaluators that the change has changed."""
    verdict: Verdict = "fail" if how == "fail" else "inconclusive"
    note = f"{DOUBTED}: {'; '.join(map(str, parts))}"
    checks = tuple(
        replace(check, verdict=verdict, note="; ".join(filter(None, (check.note, note))))
        for check in result.checks
    )
    return replace(result, verdict=verdict, checks=checks, message=note)


def not_comparable(test: Regression | Drift, reason: str) -> TestResult:
    """The result of a test whose cases cannot be compared, for the `reason`."""
    against = test.baseline or "the baseline"
    check = Check(f"compared with {against}", "unverified", "not known", n=0, note=reason)
    return TestResult(test.name, "unverified", (check,), message=reason)


class _Score(Struct, frozen=True):
    policy: Policy

    def compare(self, pairs: Pairs) -> Change:
        base, candidate = (_side(cases, _score) for cases in (pairs.base, pairs.candidate))
        return compare(base, candidate, max_drop=self.policy.max_drop, scope=self.policy.scope)

    def shown(self, change: Change) -> tuple[str, float, float]:
        """The drop: what the score lost."""
        return f"{0.0 - change.delta:.3f}", -change.interval.high, -change.interval.low

    def levels(self, pairs: Pairs) -> str:
        """Where the sides stand."""
        rows = (_side(cases, _score) for cases in (pairs.base, pairs.candidate))
        means = [[_mean(known) for row in side if (known := _known(row))] for side in rows]
        return f": {_mean(means[0]):.3f} -> {_mean(means[1]):.3f}" if all(means) else ""

    def detects(self, change: Change) -> str:
        return f"{change.detects:.2g}"


class _Rise(Struct, frozen=True):
    kind: Literal["cost", "latency"]
    most: float

    def compare(self, pairs: Pairs) -> Change:
        read = _cost if self.kind == "cost" else _latency
        base, candidate = (_side(cases, read) for cases in (pairs.base, pairs.candidate))
        return compare_rise(base, candidate, max_rise=self.most)

    def shown(self, change: Change) -> tuple[str, float, float]:
        low, high = (_growth(-end) for end in (change.interval.high, change.interval.low))
        return f"{change.ratio - 1:+.1%}", low, high

    def levels(self, _: Pairs) -> str:
        """Nothing: the mean ratio is none of means."""
        return ""

    def detects(self, change: Change) -> str:
        return f"{_growth(change.detects):.2g}"


def _growth(log_ratio: float) -> float:
    return math.expm1(log_ratio) if log_ratio < 700 else math.inf


def _gate(
    text: str,
    metric: _Score | _Rise,
    pairs: Pairs,
    again: Pairs | None,
    policy: Policy,
    how: OnInconclusive,
    unconfirmed: str,
) -> Check:
    notes = []
    try:
        change = metric.compare(pairs)
        if change.outcome == "degraded" and policy.confirm:
            notes.append(f"not confirmed: {unconfirmed}")
            if again is not None:
                fresh = metric.compare(again)
                change = confirm(change, fresh)
                agreed = "confirmed" if change.outcome == "degraded" else "not confirmed"
                notes = [f"measured again, and {agreed} (p = {fresh.p:.2g})"]
    except NoValues:
        note = "no case has been measured on both sides"
        return Check(text, "unverified", "not known", n=0, note=note)
    word = "no difference" if change.identical else change.outcome.replace("_", " ")
    notes = [f"{word} over {change.cases} cases{metric.levels(pairs)}", *notes]
    outcome = change.outcome
    if outcome != "degraded" and pairs.removed_share > MOST_REMOVED and not policy.allow_removed:
        outcome = "inconclusive"
        notes.append("what is left may be the easier part (allow_removed accepts that)")
    if outcome == "inconclusive" and math.isfinite(change.detects):
        notes.append(f"detects drops >= {metric.detects(change)}")
    if pairs.removed or pairs.added:
        notes.append(f"{pairs.removed} cases removed or changed, {pairs.added} new")
    if change.outcome == "degraded":
        notes.append(f"p = {change.p:.2g}")
    verdict: Verdict = "pass"
    if outcome == "degraded":
        verdict = "fail"
    elif outcome == "inconclusive":
        verdict = "fail" if how == "fail" else "inconclusive"
    actual, low, high = metric.shown(change)
    return Check(text, verdict, actual, _finite(low), _finite(high), change.cases,
                 note="; ".join(notes))  # fmt: skip


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _side(cases: Sequence[CaseSamples], read: Callable[[Sample], float | None]) -> Side:
    values = ([read(sample) for sample in case.samples] for case in cases)
    return [[math.nan if value is None else value for value in row] for row in values]


def _known(row: Sequence[float]) -> list[float]:
    return [value for value in row if not math.isnan(value)]


def _score(sample: Sample) -> float | None:
    return None if sample.lost else sample.score


def _cost(sample: Sample) -> float | None:
    return None if sample.lost else sample.cost


def _latency(sample: Sample) -> float | None:
    return None if sample.lost else sample.latency


def _fallen(pairs: Pairs) -> list[tuple[CaseSamples, Sample]]:
    """The replies to the cases that fell farthest, the lowest of each."""
    fallen: list[tuple[float, CaseSamples, Sample]] = []
    for before, after in zip(pairs.base, pairs.candidate, strict=True):
        old = [s.score for s in before.samples if s.score is not None]
        new = [s for s in after.samples if s.score is not None]
        if old and new:
            drop = _mean([s.score or 0.0 for s in new]) - _mean(old)
            if drop < 0:
                fallen.append((drop, after, min(new, key=lambda s: s.score or 0.0)))
    fallen.sort(key=lambda item: item[0])
    return [(case, sample) for _, case, sample in fallen]


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def judge_drift(
    test: Drift, cases: Sequence[CaseSamples], baseline: Sequence[CaseSamples] | None
) -> TestResult:
    """Whether a field, or scores and lengths, are distributed otherwise than under the baseline.

    A shift warns and never fails the test.
    """
    against = test.baseline or "the baseline"
    what = [test.field] if test.field else ["evaluation_score", "length of the output"]
    texts = [f"{name} is distributed as in {against}" for name in what]
    if baseline is None:
        return _without_baseline(test, texts[0], against)
    used = trimmed(cases, test.policy)
    pairs = pair_cases(used, baseline, test.sample_size)
    checks = [
        _shift(text, name, pairs, seed_id(test)) for text, name in zip(texts, what, strict=True)
    ]
    return concluded(test, checks, used, ())


def _shift(text: str, name: str, pairs: Pairs, test_id: str) -> Check:
    rows = [[_values(case, name) for case in side] for side in (pairs.base, pairs.candidate)]
    try:
        report = _report(rows[0], rows[1], test_id, name)
    except NoValues:
        note = "no case has such a value on both sides"
        return Check(text, "unverified", "not known", n=0, note=note)
    notes = [f"p = {report.p:.2g}"]
    if report.warns:
        notes.insert(0, "warning: it has shifted")
    elif min(report.base, report.candidate) < ENOUGH_FOR_DRIFT:
        notes.append(f"fewer than {ENOUGH_FOR_DRIFT} replies a side rarely show a shift")
    return Check(
        text,
        "pass",
        f"{report.statistic} {report.distance:.3g}, limit {report.limit:.3g}",
        n=min(report.base, report.candidate),
        note="; ".join(notes),
        warns=report.warns,
    )


def _values(case: CaseSamples, name: str) -> list[Json]:
    found: list[Json] = []
    for sample in case.samples:
        if sample.lost:
            continue
        if name == "length of the output":
            found.append(len(sample.text))
            continue
        root, *path = name.split(".")
        fact = facts_of_sample(case, sample)(Name(root, tuple(path)))
        if isinstance(fact, Absent):
            found.append(ABSENT)
        elif not isinstance(fact, Unmeasured):
            found.append(fact)
    return found


def _report(
    base: list[list[Json]], candidate: list[list[Json]], test_id: str, name: str
) -> DriftReport:
    rng = generator(test_id, name)
    known = [value for side in (base, candidate) for row in side for value in row]
    numbers = [float(v) for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len([value for value in known if value != ABSENT]) or not numbers:
        labels = [[[as_text(value) for value in row] for row in side] for side in (base, candidate)]
        return label_drift(labels[0], labels[1], rng)
    least = min(0.0, *numbers, 0.0)  # amounts are counted from 0, or from the least of them
    sides = [
        [[float(v) - least for v in row if isinstance(v, int | float)] for row in side]
        for side in (base, candidate)
    ]
    if least == 0.0 and max(numbers) <= 1.0:
        return score_drift(sides[0], sides[1], rng)
    return length_drift(sides[0], sides[1], rng)
