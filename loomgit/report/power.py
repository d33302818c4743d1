"""How many cases a comparison needs, as lines and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.values import to_plain
from loomgit.report.comparison import aligned
from loomgit.report.text import money, named, title

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.power import Need, Outlook, Sizing
    from loomgit.domain.values import JsonObject

HEADER = ("SCORE", "DEVIATION", "SAMPLES", "CASES", "REPLIES", "COST")
FAILURES = {
    "scattered": "single replies fail",
    "uniform": "all replies get a little worse",
    "broken": "whole cases break",
}


def power_lines(sizings: Sequence[Sizing]) -> Iterator[str]:
    """The tables, a pipeline each."""
    for number, sizing in enumerate(sizings):
        if number:
            yield ""
        yield from _lines(sizing)


def _lines(sizing: Sizing) -> Iterator[str]:
    wish = sizing.wish
    yield f"Power for: {named(sizing.pipeline, sizing.version)}"
    yield f"From: {sizing.basis}"
    yield (
        f"To block a drop of {wish.drop:g} 4 times of 5, where up to {sizing.max_drop:g} is "
        f"accepted and {FAILURES[wish.failures]}:"
    )
    yield ""
    rows = [HEADER]
    for plan in sizing.metrics:
        for number, need in enumerate(plan.needs):
            name = (title(plan.metric), _deviation(plan)) if number == 0 else ("", "")
            rows.append((*name, f"{need.samples:,}", *_need(need)))
    yield from (f"  {line}" for line in aligned(rows))
    yield ""
    if any(need.cases is None for plan in sizing.metrics for need in plan.needs):
        yield "No number of cases blocks a drop that is accepted: a good max_drop is half the drop."
    if any(plan.over_estimate for plan in sizing.metrics):
        yield (
            "* over all scores, since no case has two samples: too large, and so are the numbers; "
            "`loom test --samples 3` gives better ones"
        )
    if any(need.cost is None and need.cases for plan in sizing.metrics for need in plan.needs):
        yield "What a reply costs is not known from the stored runs."
    yield "The cost is that of one side; the baseline's is paid once."
    for plan in sizing.metrics:
        least = "no drop" if plan.detects is None else f"drops >= {plan.detects:.2g}"
        yield (
            f"Today, {title(plan.metric)}: {plan.cases:,} cases x {plan.samples:.3g} samples block "
            f"such a drop {plan.power:.0%} of the time, and {least} 4 times of 5"
        )


def _deviation(plan: Outlook) -> str:
    return f"{plan.deviation:.3f}{'*' if plan.over_estimate else ''}"


def _need(need: Need) -> tuple[str, str, str]:
    if need.cases is None or need.replies is None:
        return "impossible", "-", "-"
    return f"{need.cases:,}", f"{need.replies:,}", money(need.cost)


def power_document(sizings: Sequence[Sizing]) -> JsonObject:
    """The same as one JSON object."""
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


def _plain(plan: Outlook) -> JsonObject:
    plain: JsonObject = to_plain(plan)
    plain["needs"] = [{**to_plain(need), "replies": need.replies} for need in plan.needs]
    return plain
