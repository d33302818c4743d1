"""Opens the incremental extraction of a run, and begins it when the destination is locked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.ports import QueryValues
from loomgit.errors import UserError
from loomgit.wiring.watermarks import open_watermark_store
from loomgit.workflows.increment import Increment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.ports import Source
    from loomgit.pipeline.plan import Plan
    from loomgit.wiring.assembly import Assembly
    from loomgit.wiring.project import Wiring


def open_increment(
    wiring: Wiring, pipeline: Pipeline, *, full_refresh: bool = False, only_remembers: bool = False
) -> Increment | None:
    """Return the incremental extraction of a run, or None if the pipeline reads all records.

    See `Increment` for the arguments. Raises ProblemsFound if the destination is not valid.
    """
    incremental = pipeline.extract.incremental
    if incremental is None:
        return None
    return Increment(
        pipeline,
        incremental,
        open_watermark_store(wiring, pipeline),
        wiring.settings.target or "",
        full_refresh=full_refresh,
        only_remembers=only_remembers,
    )


def begin_increment(increment: Increment, wiring: Wiring, state: Path, *, has_spool: bool) -> None:
    """Begin an attempt of the run with the folder `state`, while the destination is locked.

    Raises UserError if the records that the run would load are already loaded.
    """
    increment.begin(state.name, state, has_spool=has_spool)
    pipeline, target = increment.pipeline, wiring.settings.target
    unfinished = wiring.store.unfinished
    for run in unfinished.all() if not has_spool else ():
        is_other = run.uid != state.name and run.reads_source
        if not is_other or (run.pipeline, run.target) != (pipeline.name, target):
            continue
        if increment.published_before(unfinished.folder(run)):
            raise UserError(
                f"run {run.last.run_id} has loaded records into {pipeline.load.destination}, and "
                "was killed before it could set the watermark",
                hint=f"`loom run {run.pipeline} --resume {run.last.run_id}` completes it",
            )


def open_new_records(
    assembly: Assembly, plan: Plan, increment: Increment | None, *, limit: int | None
) -> Source:
    """Return the source of a plan, with only the records that are not done."""
    values = QueryValues(plan.execution_date, None, dict(plan.variables))
    if increment is None:
        return assembly.source(plan.pipeline, values, limit=limit)
    return assembly.source(
        plan.pipeline,
        replace(values, watermark=increment.parameter),
        limit=limit,
        window=increment.window,
        reading=increment.reading,
    )


def warn_of_full_refresh(pipeline: Pipeline, *, given: bool) -> Iterator[str]:
    """Yield a warning if `--full-refresh` is given, and does nothing or repeats rows."""
    if not given:
        return
    if pipeline.extract.incremental is None:
        yield f"{pipeline.path}: --full-refresh has no effect without extract.incremental"
    elif pipeline.load.mode == "append":
        yield (
            f"{pipeline.place('load.mode')}: --full-refresh with mode: append loads the records "
            f"again that {pipeline.load.destination} already contains"
        )
