"""Verdicts of drift tests, which warn if the distribution of outputs differs from the baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from loomgit.domain.assertions import Name
from loomgit.domain.pairing import pair_cases
from loomgit.domain.samples import CaseSamples, CheckResult, TestResult
from loomgit.domain.values import as_text
from loomgit.harness.distributional import conclude, limit_samples, seed_id
from loomgit.harness.regression import without_baseline
from loomgit.harness.sampling_plan import drawn_cases
from loomgit.harness.value_lookup import Absent, Unmeasured, values_of_sample
from loomgit.stats.drift import label_drift, length_drift, score_drift
from loomgit.stats.errors import NoValues
from loomgit.stats.seeded_random import generator

if TYPE_CHECKING:
    from loomgit.domain.suites import Drift
    from loomgit.domain.values import Json
    from loomgit.stats.drift import DriftReport

MIN_REPLIES = 100  # replies per side; a test with fewer replies rarely detects a shift
ABSENT = "(absent)"  # the value for a reply that lacks the field
Sides = tuple[Sequence[CaseSamples], Sequence[CaseSamples]]


def judge_drift(
    test: Drift, cases: Sequence[CaseSamples], baseline: Sequence[CaseSamples] | None
) -> TestResult:
    """Judge whether a field of the output has the same distribution as in the baseline.

    If the test has no field, evaluation scores and output lengths are compared. A shift of a
    distribution causes a warning and never fails the test. If `baseline` is None, the verdict is
    inconclusive.
    """
    against = test.baseline or "the baseline"
    names = [test.field] if test.field else ["evaluation_score", "length of the output"]
    texts = [f"{name} is distributed as in {against}" for name in names]
    if baseline is None:
        return without_baseline(test, texts[0], against)
    used = limit_samples(cases, test.policy)
    sides = _paired(used, baseline, test.sample_size)
    checks = [
        _shift(text, name, sides, seed_id(test)) for text, name in zip(texts, names, strict=True)
    ]
    return conclude(test, checks, used, ())


def _paired(
    cases: Sequence[CaseSamples], baseline: Sequence[CaseSamples], sample_size: int | None
) -> Sides:
    """Return the cases that both sides have, as (cases of the baseline, cases of the head)."""
    head = {case.id: case for case in cases}
    base = {case.id: case for case in baseline}
    drawn = drawn_cases(head, base, sample_size)
    common = pair_cases({name: base[name] for name in base if name in drawn}, head).common
    return [base[name] for name in common], [head[name] for name in common]


def _shift(text: str, name: str, sides: Sides, test_id: str) -> CheckResult:
    rows = [[_values(case, name) for case in side] for side in sides]
    try:
        report = _report(rows[0], rows[1], test_id, name)
    except NoValues:
        note = "no case has this value on both sides"
        return CheckResult(text, "unverified", "unknown", n=0, note=note)
    notes = [f"p = {report.p:.2g}"]
    if report.warns:
        notes.insert(0, "warning: the distribution has shifted")
    elif min(report.base, report.candidate) < MIN_REPLIES:
        notes.append(f"with fewer than {MIN_REPLIES} replies per side, few shifts are detected")
    return CheckResult(
        text,
        "pass",
        f"{report.statistic} {report.distance:.3g}, limit {report.limit:.3g}",
        n=min(report.base, report.candidate),
        note="; ".join(notes),
        warns=report.warns,
    )


def _values(case: CaseSamples, name: str) -> list[Json]:
    values: list[Json] = []
    for sample in case.samples:
        if sample.lost:
            continue
        if name == "length of the output":
            values.append(len(sample.text))
            continue
        root, *path = name.split(".")
        value = values_of_sample(case, sample)(Name(root, tuple(path)))
        if isinstance(value, Absent):
            values.append(ABSENT)
        elif not isinstance(value, Unmeasured):
            values.append(value)
    return values


def _report(
    base: list[list[Json]], candidate: list[list[Json]], test_id: str, name: str
) -> DriftReport:
    rng = generator(test_id, name)
    known = [value for side in (base, candidate) for row in side for value in row]
    numbers = [float(v) for v in known if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len([value for value in known if value != ABSENT]) or not numbers:
        labels = [[[as_text(value) for value in row] for row in side] for side in (base, candidate)]
        return label_drift(labels[0], labels[1], rng)
    least = min(0.0, *numbers, 0.0)  # subtracted from all numbers, so that each result is >= 0
    sides = [
        [[float(v) - least for v in row if isinstance(v, int | float)] for row in side]
        for side in (base, candidate)
    ]
    if least == 0.0 and max(numbers) <= 1.0:
        return score_drift(sides[0], sides[1], rng)
    return length_drift(sides[0], sides[1], rng)
