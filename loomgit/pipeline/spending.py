"""The cost of stored runs by stage, model and day."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.spending import RunCosts, SpendingReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from loomgit.domain.runs import ModelCost, Run

STAGES = ("transform", "evaluate")


def sum_runs(
    runs: Iterable[Run], pipeline: str, version: str | None, since: str | None = None
) -> SpendingReport:
    """Sum up the costs of one pipeline's runs, which may come in any order.

    The caller has selected the runs by `version` and `since`. This function only copies the two
    values to the report.
    """
    total, tests = RunCosts(), 0
    stages = {stage: RunCosts() for stage in STAGES}
    models: dict[tuple[str, str], RunCosts] = {}
    days: dict[str, RunCosts] = {}
    for run in runs:
        tests += run.kind == "test"
        whole, day = costs_of_run(run), run.started[:10]
        total, days[day] = add_costs(total, whole), add_costs(days.get(day, RunCosts()), whole)
        parts = costs_by_model(run)
        for (stage, model), part in parts.items():
            models[stage, model] = add_costs(models.get((stage, model), RunCosts()), part)
        for stage in STAGES:
            stage_parts = [part for (name, _), part in parts.items() if name == stage]
            stage_sum = RunCosts()
            for part in stage_parts:
                stage_sum = add_costs(stage_sum, part, runs=0)
            if stage_parts:
                stages[stage] = add_costs(stages[stage], stage_sum, runs=1)
    ordered = sorted(models.items(), key=lambda item: (STAGES.index(item[0][0]), -item[1].known))
    return SpendingReport(
        pipeline, version, since, tests, total, stages, dict(ordered), dict(sorted(days.items()))
    )


def costs_of_run(run: Run) -> RunCosts:
    """Return the costs of one run."""
    cost = run.cost
    return RunCosts(
        runs=1,
        calls=cost.calls,
        hits=cost.cached,
        input=cost.tokens.get("input", 0),
        output=cost.tokens.get("output", 0),
        cost=cost.total,
        known=cost.known,
        unpriced=cost.unpriced,
        # If a run does not store its cost by model, the amount that cache hits saved is unknown.
        saved=_sum(part.saved for part in cost.models) if cost.models or not cost.cached else None,
    )


def costs_by_model(run: Run) -> dict[tuple[str, str], RunCosts]:
    """Return the costs of one run by stage and by the name of the model that answered.

    Test runs and old runs store their cost by stage only. If such a run called no judge, its tokens
    and calls belong to the transform. Otherwise, the tokens and calls are None, because they cannot
    be divided between the stages.
    """
    if run.cost.models:
        return _sum_by_model(run.cost.models)
    breakdown: Mapping[str, float | None] = run.cost.breakdown
    config = run.config
    model = f"{config.model}-{config.model_version}" if config.model_version else config.model
    judges = sorted({model for models in run.judges.values() for model in models})
    whole = costs_of_run(run)
    if not (run.cost.calls or run.cost.cached):
        return {}
    if not judges and not breakdown.get("evaluate"):
        return {("transform", model): whole}
    judge = ", ".join(judges) or str(run.question.get("judge"))
    return {
        ("transform", model): _cost_only(breakdown.get("transform")),
        ("evaluate", judge): _cost_only(breakdown.get("evaluate")),
    }


def _cost_only(cost: float | None) -> RunCosts:
    """Return the costs of a run if only its `cost` is stored. `cost` is in USD, or None.

    The numbers of tokens and calls are unknown.
    """
    return RunCosts(1, None, None, None, None, cost, cost or 0.0, int(cost is None), None)


def _sum_by_model(models: Iterable[ModelCost]) -> dict[tuple[str, str], RunCosts]:
    sums: dict[tuple[str, str], RunCosts] = {}
    for count in models:
        key = count.stage, count.model
        spend = RunCosts(
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
        sums[key] = add_costs(sums.get(key, RunCosts()), spend, runs=int(key not in sums))
    return sums


def add_costs(first: RunCosts, second: RunCosts, *, runs: int | None = None) -> RunCosts:
    """Return the sum of two costs. If `runs` is not None, it replaces `second.runs`."""
    return RunCosts(
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
