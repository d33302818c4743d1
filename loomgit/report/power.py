"""Render a power analysis (how many cases a comparison needs) as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.values import to_plain
from loomgit.report.comparison import align_columns
from loomgit.report.text import money, named, title

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.power import MetricPower, RequiredSize, SizeEstimate
    from loomgit.domain.values import JsonObject

HEADER = ("SCORE", "DEVIATION", "SAMPLES", "CASES", "REPLIES", "COST")
FAILURES = {
    "scattered": "single replies fail",
    "uniform": "all replies get a little worse",
    "broken": "whole cases break",
}


def power_lines(sizings: Sequence[SizeEstimate]) -> Iterator[str]:
    """Yield the lines of the tables, one table for each pipeline."""
    for number, sizing in enumerate(sizings):
        if number:
            yield ""
        yield from _lines(sizing)


def _lines(sizing: SizeEstimate) -> Iterator[str]:
    wish = sizing.wish
    yield f"Power for: {named(sizing.pipeline, sizing.version)}"
    yield f"From: {sizing.basis}"
    yield (
        f"To block a drop of {wish.drop:g} with a probability of 80%, if up to "
        f"{sizing.max_drop:g} is accepted and {FAILURES[wish.failures]}:"
    )
    yield ""
    rows = [HEADER]
    for plan in sizing.metrics:
        for number, need in enumerate(plan.needs):
            name = (title(plan.metric), _deviation(plan)) if number == 0 else ("", "")
            rows.append((*name, f"{need.samples:,}", *_need(need)))
    yield from (f"  {line}" for line in align_columns(rows))
    yield ""
    if any(need.cases is None for plan in sizing.metrics for need in plan.needs):
        yield "If max_drop accepts the drop, no number of cases blocks it."
        yield "A good max_drop is half the drop."
    if any(plan.over_estimate for plan in sizing.metrics):
        yield (
            "* over all scores, because no case has two samples: the deviation and the numbers of "
            "cases are too large; `loom test --samples 3` gives better numbers"
        )
    if any(need.cost is None and need.cases for plan in sizing.metrics for need in plan.needs):
        yield "The stored runs do not contain the cost of a reply."
    yield "The cost covers one side; the cost of the baseline occurs once."
    for plan in sizing.metrics:
        least = "no drop" if plan.detects is None else f"drops >= {plan.detects:.2g}"
        yield (
            f"Today, {title(plan.metric)}: {plan.cases:,} cases x {plan.samples:.3g} samples block "
            f"such a drop with a probability of {plan.power:.0%}, and {least} with 80%"
        )


def _deviation(plan: MetricPower) -> str:
    return f"{plan.deviation:.3f}{'*' if plan.over_estimate else ''}"


def _need(need: RequiredSize) -> tuple[str, str, str]:
    if need.cases is None or need.replies is None:
        return "impossible", "-", "-"
    return f"{need.cases:,}", f"{need.replies:,}", money(need.cost)


def power_document(sizings: Sequence[SizeEstimate]) -> JsonObject:
    """Return the tables as a JSON object."""
    return {
        "schema_version": 1,
        "pipelines": [
            {
                "pipeline": sizing.pipeline,
                "version": sizing.version,
                "basis": sizing.basis,
                "drop": sizing.wish.drop,
                "max_drop": sizing.max_drop,
                "failures": sizing.wish.failures,
                "metrics": [_plain(plan) for plan in sizing.metrics],
            }
            for sizing in sizings
        ],
    }


def _plain(plan: MetricPower) -> JsonObject:
    plain: JsonObject = to_plain(plan)
    plain["needs"] = [{**to_plain(need), "replies": need.replies} for need in plan.needs]
    return plain
