"""What stored runs came to, by stage, model and day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.spending import Spend, Spending

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from loomgit.domain.runs import ModelCost, Run

STAGES = ("transform", "evaluate")


def add_up(
    runs: Iterable[Run], pipeline: str, version: str | None, since: str | None = None
) -> Spending:
    """The runs of one pipeline, which may come in any order."""
    total, tests = Spend(), 0
    stages = {stage: Spend() for stage in STAGES}
    models: dict[tuple[str, str], Spend] = {}
    days: dict[str, Spend] = {}
    for run in runs:
        tests += run.kind == "test"
        whole, day = spend_of(run), run.started[:10]
        total, days[day] = plus(total, whole), plus(days.get(day, Spend()), whole)
        parts = parts_of(run)
        for (stage, model), part in parts.items():
            models[stage, model] = plus(models.get((stage, model), Spend()), part)
        for stage in STAGES:
            same = [part for (other, _), part in parts.items() if other == stage]
            one = Spend()
            for part in same:
                one = plus(one, part, runs=0)
            if same:
                stages[stage] = plus(stages[stage], one, runs=1)
    ordered = sorted(models.items(), key=lambda item: (STAGES.index(item[0][0]), -item[1].known))
    return Spending(
        pipeline, version, since, tests, total, stages, dict(ordered), dict(sorted(days.items()))
    )


def spend_of(run: Run) -> Spend:
    """One run, whole."""
    cost = run.cost
    return Spend(
        runs=1,
        calls=cost.calls,
        hits=cost.cached,
        input=cost.tokens.get("input", 0),
        output=cost.tokens.get("output", 0),
        cost=cost.total,
        known=cost.known,
        unpriced=cost.unpriced,
        # Who kept no count by model did not keep what was saved either.
        saved=_sum(part.saved for part in cost.models) if cost.models or not cost.cached else None,
    )


def parts_of(run: Run) -> dict[tuple[str, str], Spend]:
    """One run by (stage, model as served).

    A run without a count by model has its costs by stage; its tokens and calls are the transform's
    where nothing was judged, and else belong to nobody alone.
    """
    if run.cost.models:
        return _counted(run.cost.models)
    breakdown: Mapping[str, float | None] = run.cost.breakdown
    config = run.config
    asked = f"{config.model}-{config.model_version}" if config.model_version else config.model
    judges = sorted({model for models in run.judges.values() for model in models})
    whole = spend_of(run)
    if not (run.cost.calls or run.cost.cached):
        return {}
    if not judges and not breakdown.get("evaluate"):
        return {("transform", asked): whole}
    judged = breakdown.get("evaluate")
    return {
        ("transform", asked): _unsplit(breakdown.get("transform")),
        ("evaluate", ", ".join(judges) or str(run.question.get("judge"))): _unsplit(judged),
    }


def _unsplit(cost: float | None) -> Spend:
    return Spend(1, None, None, None, None, cost, cost or 0.0, int(cost is None), None)


def _counted(models: Iterable[ModelCost]) -> dict[tuple[str, str], Spend]:
    found: dict[tuple[str, str], Spend] = {}
    for count in models:
        name = count.stage, count.model
        one = Spend(
            0,
            count.calls,
            count.hits,
            count.input,
            count.output,
            count.cost,
            count.known,
            count.unpriced,
            count.saved,
        )
        found[name] = plus(found.get(name, Spend()), one, runs=int(name not in found))
    return found


def plus(first: Spend, second: Spend, *, runs: int | None = None) -> Spend:
    """Both together; `runs` are those that the second one adds, where they are not its own."""
    return Spend(
        runs=first.runs + (second.runs if runs is None else runs),
        calls=_plus(first.calls, second.calls),
        hits=_plus(first.hits, second.hits),
        input=_plus(first.input, second.input),
        output=_plus(first.output, second.output),
        cost=_add(first.cost, second.cost),
        known=first.known + second.known,
        unpriced=first.unpriced + second.unpriced,
        saved=_add(first.saved, second.saved),
    )


def _plus(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def _add(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _sum(amounts: Iterable[float | None]) -> float | None:
    total: float | None = 0.0
    for amount in amounts:
        total = _add(total, amount)
    return total
