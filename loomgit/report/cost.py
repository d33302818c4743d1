"""Render the estimated cost of a pipeline, and its spending so far, as text and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import asdict

from loomgit.report.comparison import align_columns
from loomgit.report.text import UNKNOWN, money, named, title

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.spending import (
        Estimate,
        Price,
        RunCosts,
        SpendingReport,
        StageEstimate,
        UnknownKind,
    )
    from loomgit.domain.values import JsonObject

FIGURES = ("CALLS", "CACHED", "INPUT", "OUTPUT", "COST", "SAVED")
NOT_KEPT = "-"
UNKNOWN_TITLES: dict[UnknownKind, str] = {
    "price": "Price of",
    "records": "Records of",
    "evaluator": "Evaluator",
    "repair": "Repairs by",
    "fallback_model": "Fallback model",
    "retry": "Retries of",
    "fallback": "Fallback to",
    "destination": "Destination",
}


def estimate_lines(estimate: Estimate) -> Iterator[str]:
    """Yield the lines of a cost estimate. The assumptions and the unknown parts come last."""
    tokens = sum(part.input for part in estimate.transform)
    yield f"Cost Estimate for: {estimate.pipeline}"
    yield ""
    yield "Input:"
    yield f"  Records: {estimate.records:,}"
    mean = tokens / estimate.records if estimate.records else 0
    yield f"  Avg tokens per record: {mean:,.0f}"
    yield ""
    yield "Transform:"
    yield from _stage(estimate.transform)
    yield ""
    yield "Evaluate:"
    yield from _stage(estimate.evaluate)
    yield ""
    yield f"Total Estimated Cost: {money(estimate.total)}"
    if estimate.budget is not None:
        used = ""
        if estimate.total is not None and estimate.budget:
            used = f" ({_share(estimate.total / estimate.budget)} utilized)"
        yield f"Budget: {money(estimate.budget)}{used}"
    yield ""
    yield from _basis(estimate)
    if estimate.unknown:
        yield ""
        yield "Unknown:"
    for item in estimate.unknown:
        yield f"  {UNKNOWN_TITLES[item.kind]} {item.subject}: {item.reason}"


def _stage(parts: Sequence[StageEstimate]) -> Iterator[str]:
    if not parts:
        yield "  Model: none"
        yield f"  Cost: {money(0.0)}"
    for part in parts:
        yield f"  Model: {part.model} ({_price(part.price)})"
        yield f"  Input tokens:  {part.input:,}"
        yield f"  Output tokens: {part.output:,}"
        yield f"  Cost: {money(part.cost)}"


def _share(part: float) -> str:
    return "<1%" if 0 < part < 0.005 else f"{part:.0%}"


def _price(price: Price | None) -> str:
    if price is None:
        return "price unknown"
    if price.input == price.output:
        return f"{_unit(price.input)} / 1M tokens"
    return f"{_unit(price.input)} / 1M input tokens, {_unit(price.output)} / 1M output tokens"


def _unit(amount: float) -> str:
    exact = f"{amount:,.6f}".rstrip("0")
    whole, _, cents = exact.partition(".")
    return f"${whole}.{cents:0<2}"


def _basis(estimate: Estimate) -> Iterator[str]:
    sample = "all" if estimate.sampled == estimate.records else f"{estimate.sampled:,} of"
    yield f"Input: the prompts of {sample} {estimate.records:,} records, at 4 bytes a token."
    if estimate.unrendered:
        yield f"  {estimate.unrendered:,} of them have no prompt and cause no model call."
    for stage, parts in (("Transform", estimate.transform), ("Evaluate", estimate.evaluate)):
        for part in parts:
            yield f"{stage} output: {_reply(part)}."
            if part.kept:
                yield (
                    f"  {part.kept:.0%} of the sampled replies are in the cache and cost nothing; "
                    "the estimate does not subtract them."
                )
    if estimate.judged_from == "schema":
        yield (
            "Evaluate input: example outputs that match the output schema, because no earlier run "
            "has outputs."
        )


def _reply(part: StageEstimate) -> str:
    reply = part.reply
    size = f"{reply.tokens:,.0f} tokens a reply"
    match reply.basis:
        case "runs":
            runs = f"{reply.runs:,} earlier run{'s' if reply.runs > 1 else ''}"
            return f"{size}, the mean of {reply.seen:,} replies in {runs}"
        case "max_tokens":
            return f"{size}, the limit: an upper bound"
        case "schema":
            return f"{size}, assumed from the output schema"
    return f"{size}, assumed without an earlier run, max_tokens or an output schema"


def price_hints(estimate: Estimate) -> Iterator[str]:
    """Yield a line for each model with an unknown price.

    The line shows the entry that the user must add to the configuration.
    """
    for model in estimate.unpriced:
        yield (
            f"the price of {model} is unknown; add it to .loom/config.yaml, in USD per "
            f"million tokens: models: {{{model}: {{input_price: ..., output_price: ...}}}}"
        )


def estimate_document(estimate: Estimate) -> JsonObject:
    """Return the estimate as a JSON object."""
    return {
        "schema_version": 1,
        "pipeline": estimate.pipeline,
        "version": estimate.version,
        "dry_run": True,
        "records": estimate.records,
        "sampled": estimate.sampled,
        "unrendered": estimate.unrendered,
        "transform": [_part(part) for part in estimate.transform],
        "evaluate": [_part(part) for part in estimate.evaluate],
        "total": estimate.total,
        "budget": estimate.budget,
        "unpriced": list(estimate.unpriced),
        "unknown": [asdict(item) for item in estimate.unknown],
    }


def _part(part: StageEstimate) -> JsonObject:
    price = part.price
    return {
        "model": part.model,
        "input_price": None if price is None else price.input,
        "output_price": None if price is None else price.output,
        "calls": part.calls,
        "input_tokens": part.input,
        "output_tokens": part.output,
        "output_basis": part.reply.basis,
        "cost": part.cost,
        "kept": part.kept,
    }


def spending_lines(spending: SpendingReport) -> Iterator[str]:
    """Yield the lines of two tables: spending by stage and model, and spending by day."""
    since = f" since {spending.since}" if spending.since else ""
    total = spending.total
    if not total.runs:
        yield f"No runs of {spending.pipeline}{since}."
        return
    yield f"Cost of: {named(spending.pipeline, spending.version)}{since}"
    tests = f", {spending.tests:,} of them test runs" if spending.tests else ""
    yield f"Runs: {total.runs:,}{tests}"
    yield ""
    rows: list[tuple[str, ...]] = [("STAGE", "MODEL", *FIGURES)]
    for (stage, model), spend in spending.models.items():
        rows.append((title(stage), model, *_figures(spend)))
    yield from align_columns(rows)
    yield ""
    rows = [("DAY", "RUNS", *FIGURES)]
    for day, spend in spending.days.items():
        rows.append((day, f"{spend.runs:,}", *_figures(spend)))
    rows.append(("Total", f"{total.runs:,}", *_figures(total)))
    yield from align_columns(rows)
    yield ""
    yield f"Total Cost: {money(total.cost)}"
    if total.unpriced:
        yield (
            f"  the known part is {money(total.known)}; {total.unpriced:,} calls have no known "
            "price (set it under `models:` in .loom/config.yaml)"
        )
    if any(spend.calls is None for spend in spending.models.values()):
        yield "-: test runs and runs of older Loom versions store only the cost of each stage."


def _figures(spend: RunCosts) -> tuple[str, ...]:
    counts = (spend.calls, spend.hits, spend.input, spend.output)
    saved = NOT_KEPT if spend.hits is None else money(spend.saved)
    return (*(NOT_KEPT if n is None else f"{n:,}" for n in counts), _spent(spend), saved)


def _spent(spend: RunCosts) -> str:
    """Return the cost as text.

    If a price is unknown, return the known part of the cost: `$0.12 + unknown`.
    """
    if spend.cost is None:
        return f"{money(spend.known)} + {UNKNOWN}" if spend.known else UNKNOWN
    return money(spend.cost)


def spending_document(spending: SpendingReport) -> JsonObject:
    """Return the spending as a JSON object."""
    return {
        "schema_version": 1,
        "pipeline": spending.pipeline,
        "version": spending.version,
        "dry_run": False,
        "since": spending.since,
        "tests": spending.tests,
        "total": _plain(spending.total),
        "stages": [{"stage": stage, **_plain(spend)} for stage, spend in spending.stages.items()],
        "models": [
            {"stage": stage, "model": model, **_plain(spend)}
            for (stage, model), spend in spending.models.items()
        ],
        "days": [{"day": day, **_plain(spend)} for day, spend in spending.days.items()],
    }


def _plain(spend: RunCosts) -> JsonObject:
    plain: JsonObject = asdict(spend)
    plain["input_tokens"], plain["output_tokens"] = plain.pop("input"), plain.pop("output")
    plain["cached"] = plain.pop("hits")
    return plain
