"""Lists what a cost estimate does not contain, because only the run can show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.spending import UnknownCost
from loomgit.errors import ProblemsFound
from loomgit.evaluators.kinds import is_built_in
from loomgit.wiring.revision import ProjectRevision
from loomgit.wiring.unsupported import same_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.spending import StageEstimate
    from loomgit.pipeline.plan import Plan
    from loomgit.wiring.project import Wiring


def unknown_costs(
    wiring: Wiring,
    plan: Plan,
    parts: Sequence[StageEstimate],
    *,
    refused: int,
    now_is_assumed: bool,
) -> Iterator[UnknownCost]:
    """Yield what the estimate of a plan cannot know, with the reasons.

    `parts` are the estimates of all stages. `refused` is the number of rows that a run refuses.
    `now_is_assumed` is true if the query uses `execution_date` and the user gave no date. Further
    calls are left out if all models are free.
    """
    pipeline = plan.pipeline
    for part in parts:
        if part.price is None:
            reason = f"the price is unknown, so that the cost of {part.calls:,} calls is missing"
            yield UnknownCost("price", part.model, reason)
    yield from _unknown_records(wiring, pipeline, refused, now_is_assumed=now_is_assumed)
    for spec in pipeline.evaluate.evaluators:
        if not is_built_in(spec):
            reason = f"{spec.type} was not run; the cost of calls that it makes is missing"
            yield UnknownCost("evaluator", spec.name, reason)
    if any(part.cost != 0 for part in parts):
        yield from _further_calls(plan)
    reason = "the destination was not opened; a run checks it before the first call"
    yield UnknownCost("destination", pipeline.load.destination, reason)


def _unknown_records(
    wiring: Wiring, pipeline: Pipeline, refused: int, *, now_is_assumed: bool
) -> Iterator[UnknownCost]:
    source = pipeline.extract.source
    if refused:
        rows = "1 row is" if refused == 1 else f"{refused:,} rows are"
        yield UnknownCost("records", source, f"{rows} not counted; a run refuses such rows")
    if now_is_assumed:
        reason = "the query uses execution_date, and the estimate uses the current time"
        yield UnknownCost("records", source, f"{reason}; use --execution-date")
    for name in _upstream(wiring, pipeline):
        reason = f"the next run of {name} can change the number of records"
        yield UnknownCost("records", source, reason)


def _upstream(wiring: Wiring, pipeline: Pipeline) -> Iterator[str]:
    """Yield the names of the pipelines that run before `pipeline`. Invalid files are skipped."""
    catalog = ProjectRevision(wiring).catalog
    for name in catalog.pipeline_names():
        if name == pipeline.name:
            continue
        try:
            destination = catalog.pipeline(name).load.destination
        except ProblemsFound:
            continue
        writes = same_place(destination, pipeline.extract.source, wiring.connections)
        if writes or name in pipeline.depends_on:
            yield name


def _further_calls(plan: Plan) -> Iterator[UnknownCost]:
    """Yield the calls that depend on the results of other calls."""
    transform, load = plan.pipeline.transform, plan.pipeline.load
    if plan.model:
        repair = "one more call for each reply that is invalid or cut off"
        yield UnknownCost("repair", plan.model, repair)
    for model in transform.fallback_models:
        yield UnknownCost("fallback_model", model, f"calls after a failure of {plan.model}")
    if load.on_failure == "retry":
        times = "1 more attempt" if load.retries == 1 else f"up to {load.retries:,} more attempts"
        yield UnknownCost("retry", plan.model, f"{times} for each record that fails")
    if load.on_failure == "fallback" and load.fallback and load.fallback.transform is not None:
        model = load.fallback.transform.model or plan.model
        yield UnknownCost("fallback", model, "a call for each record that fails")
