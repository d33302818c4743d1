"""Runs a pipeline: checks its definition and the options, and executes its plan."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loomgit.domain.utc import in_utc
from loomgit.errors import ProblemsFound, UserError
from loomgit.gateway.combined_budgets import combine_budgets
from loomgit.pipeline.events import Warned
from loomgit.wiring.assembly import Assembly
from loomgit.wiring.quarantines import (
    invalid_quarantine,
)
from loomgit.wiring.unsupported import (
    invalid_destination,
    without_execution_date,
)
from loomgit.workflows.plan_execution import PlanExecution
from loomgit.workflows.resume import (
    RunValues,
    choose_values,
    require_same_inputs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.ports import Source
    from loomgit.domain.runs import Run
    from loomgit.gateway.budget import Budget
    from loomgit.pipeline.events import Event
    from loomgit.wiring.project import Wiring


def run_pipeline(
    wiring: Wiring,
    pipeline: Pipeline,
    *,
    variables: Mapping[str, str],
    execution_date: datetime | None,
    limit: int | None,
    budget: float | Budget | None,
    on_event: Callable[[Event], None],
    resume: str | None = None,
    source: Source | None = None,
    full_refresh: bool = False,
) -> Run:
    """Check and run a pipeline, and return the stored run; see `loomgit.api.Project.run`.

    `source` replaces the source of the pipeline. It has only some of the pipeline's records.
    """
    if limit is not None and limit < 1:
        raise UserError(f"limit must be at least 1, not {limit}")
    if limit is not None and pipeline.load.mode == "replace":
        raise UserError(
            f"{pipeline.place('load.mode')}: with `mode: replace`, a limit would leave no more "
            f"than {limit} rows in {pipeline.load.destination}",
            hint="use another destination for a trial run",
        )
    date = None if execution_date is None else in_utc(execution_date)
    given = RunValues(variables, date, limit, full_refresh)
    target = wiring.settings.target
    values = choose_values(wiring.store, resume, pipeline.name, target, given)
    now = datetime.now(UTC)
    assembly = Assembly(wiring)
    problems = assembly.refusals(pipeline)
    problems += invalid_destination(pipeline, wiring.connections)  # before the extraction
    problems += invalid_quarantine(pipeline, wiring.connections)
    try:
        plan, prompt = assembly.plan(pipeline, values.variables, values.execution_date or now)
    except ProblemsFound as error:
        raise ProblemsFound([*problems, *error.problems]) from error
    if problems:
        raise ProblemsFound(problems)
    if values.earlier is not None:
        require_same_inputs(values.earlier, plan, target)
    lowest = wiring.settings.run_budget(pipeline.monitoring.cost_budget)
    gateway = assembly.gateway(plan, budget=combine_budgets(budget, lowest))
    for message in without_execution_date(pipeline, values.execution_date):
        on_event(Warned(message))
    execution = PlanExecution(
        assembly,
        plan,
        prompt,
        now=now,
        limit=values.limit,
        on_event=on_event,
        gateway=gateway,
        earlier=values.earlier,
        source=source,
        full_refresh=values.full_refresh,
    )
    return asyncio.run(execution.run())
