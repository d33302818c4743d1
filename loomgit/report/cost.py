"""What a pipeline costs, expected and spent, as lines and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import asdict

from loomgit.report.comparison import aligned
from loomgit.report.text import UNKNOWN, money, named, title

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.spending import Estimate, Price, Spend, Spending, StageEstimate
    from loomgit.domain.values import JsonObject

FIGURES = ("CALLS", "CACHED", "INPUT", "OUTPUT", "COST", "SAVED")
NOT_KEPT = "-"


def estimate_lines(estimate: Estimate) -> Iterator[str]:
    """The estimate, in the mission's order; what it rests on stands below."""
    asked = sum(part.input for part in estimate.transform)
    yield f"Cost Estimate for: {estimate.pipeline}"
    yield ""
    yield "Input:"
    yield f"  Records: {estimate.records:,}"
    mean = asked / estimate.records if estimate.records else 0
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
    of = "all" if estimate.sampled == estimate.records else f"{estimate.sampled:,} of"
    yield f"Input: the prompts of {of} {estimate.records:,} records, at 4 bytes a token."
    if estimate.unrendered:
        yield f"  {estimate.unrendered:,} of them make no prompt and ask nothing."
    for stage, parts in (("Transform", estimate.transform), ("Evaluate", estimate.evaluate)):
        for part in parts:
            yield f"{stage} output: {_reply(part)}."
            if part.kept:
                yield (
                    f"  {part.kept:.0%} of the sampled replies are in the cache and would cost "
                    "nothing again; they are not taken off."
                )
    if estimate.judged_from == "schema":
        yield "Judged: made-up outputs of the declared form, since no earlier run has any."


def _reply(part: StageEstimate) -> str:
    reply = part.reply
    each = f"{reply.tokens:,.0f} tokens a reply"
    match reply.basis:
        case "runs":
            runs = f"{reply.runs:,} earlier run{'s' if reply.runs > 1 else ''}"
            return f"{each}, the mean of {reply.seen:,} replies in {runs}"
        case "max_tokens":
            return f"{each}, the limit: an upper bound"
        case "schema":
            return f"{each}, assumed from the form that is asked for"
    return f"{each}, assumed: no earlier run, no max_tokens and no output says more"


def price_hints(estimate: Estimate) -> Iterator[str]:
    """The entries to write where a price is unknown."""
    for model in estimate.unpriced:
        yield (
            f"the price of {model} is not known; write it into .loom/config.yaml, in USD per "
            f"million tokens: models: {{{model}: {{input_price: ..., output_price: ...}}}}"
        )


def estimate_document(estimate: Estimate) -> JsonObject:
    """The same as one JSON object."""
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


def spending_lines(spending: Spending) -> Iterator[str]:
    """What was spent: by stage and model, then by day."""
    since = f" since {spending.since}" if spending.since else ""
    total = spending.total
    if not total.runs:
        yield f"No runs of {spending.pipeline}{since}."
        return
    yield f"Cost of: {named(spending.pipeline, spending.version)}{since}"
    tests = f", {spending.tests:,} of them of tests" if spending.tests else ""
    yield f"Runs: {total.runs:,}{tests}"
    yield ""
    rows: list[tuple[str, ...]] = [("STAGE", "MODEL", *FIGURES)]
    for (stage, model), spend in spending.models.items():
        rows.append((title(stage), model, *_figures(spend)))
    yield from aligned(rows)
    yield ""
    rows = [("DAY", "RUNS", *FIGURES)]
    for day, spend in spending.days.items():
        rows.append((day, f"{spend.runs:,}", *_figures(spend)))
    rows.append(("Total", f"{total.runs:,}", *_figures(total)))
    yield from aligned(rows)
    yield ""
    yield f"Total Cost: {money(total.cost)}"
    if total.unpriced:
        yield (
            f"  {money(total.known)} are known; {total.unpriced:,} calls have no known price "
            "(`models:` in .loom/config.yaml gives them one)"
        )
    if any(spend.calls is None for spend in spending.models.values()):
        yield "- : test runs, and runs of older versions, keep the costs of stages and no more."


def _figures(spend: Spend) -> tuple[str, ...]:
    counts = (spend.calls, spend.hits, spend.input, spend.output)
    saved = NOT_KEPT if spend.hits is None else money(spend.saved)
    return (*(NOT_KEPT if n is None else f"{n:,}" for n in counts), _spent(spend), saved)


def _spent(spend: Spend) -> str:
    """What is known and that more is not: `$0.12 + unknown`."""
    if spend.cost is None:
        return f"{money(spend.known)} + {UNKNOWN}" if spend.known else UNKNOWN
    return money(spend.cost)


def spending_document(spending: Spending) -> JsonObject:
    """The same as one JSON object."""
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


def _plain(spend: Spend) -> JsonObject:
    plain: JsonObject = asdict(spend)
    plain["input_tokens"], plain["output_tokens"] = plain.pop("input"), plain.pop("output")
    plain["cached"] = plain.pop("hits")
    return plain
