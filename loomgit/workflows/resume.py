"""Resumes unfinished runs: finds the run, and checks that its inputs are still the same."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import asdict, replace

from loomgit.domain.keys import digest
from loomgit.domain.unfinished_runs import FORMAT, Attempt, UnfinishedRun
from loomgit.domain.values import JsonMapping
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.ports import Sink
    from loomgit.domain.versions import Commit
    from loomgit.history.store import RunStore
    from loomgit.pipeline.plan import Plan

JOURNAL = "journal"  # the name of the journal in the folder of an unfinished run
_TARGET = "the target"


class RunValues(Struct, frozen=True):
    """The values with which a run starts. `execution_date` is None if the user gave none.

    `full_refresh` is true if the run ignores the watermark of an incremental extraction. `earlier`
    is the unfinished run that the run resumes, or None. The other values are then those of the
    unfinished run.
    """

    variables: JsonMapping
    execution_date: datetime | None
    limit: int | None
    full_refresh: bool = False
    earlier: UnfinishedRun | None = None


def choose_values(
    store: RunStore, resume: str | None, pipeline: str, target: str | None, given: RunValues
) -> RunValues:
    """Return the values of a run of `pipeline`.

    `resume` is the run_id or uid of an unfinished run, `latest`, or None. The result is `given` if
    `resume` is None, or if `resume` is `latest` and no run of the pipeline with this `target` is
    unfinished. Raises UserError if there is no such run, if the run retried rejected records, or if
    a given value differs from that of the run.
    """
    run = None
    if resume is not None:
        run = (
            store.unfinished.find_latest(pipeline, {_TARGET: digest(target)})
            if resume == "latest"
            else (store.unfinished.get(resume))
        )
    if run is None:
        return given
    if run.pipeline != pipeline:
        raise UserError(f"run {resume} is a run of {run.pipeline}, not of {pipeline}")
    if not run.reads_source:
        raise UserError(
            f"run {resume} retried rejected records, so it cannot be resumed",
            hint=f"`loom quarantine retry {pipeline}` retries the records that are still rejected",
        )
    execution_date = datetime.fromisoformat(run.execution_date)
    values: dict[str, tuple[object, object]] = {
        "--vars": (dict(given.variables) or None, run.variables),
        "--execution-date": (given.execution_date, execution_date),
        "--limit": (given.limit, run.limit),
        "--full-refresh": (given.full_refresh or None, run.full_refresh),
    }
    for option, (value, original) in values.items():
        if value is not None and value != original:
            raise UserError(
                f"{option} differs from its value in run {run.last.run_id}",
                hint=f"omit {option}: a resumed run keeps its values",
            )
    variables: JsonMapping = run.variables  # type: ignore[assignment]  # decoded from JSON
    return RunValues(variables, execution_date, run.limit, run.full_refresh, run)


def require_same_inputs(run: UnfinishedRun, plan: Plan, target: str | None) -> None:
    """Raise UserError with the names of the inputs that have changed since the run started."""
    changed = run.changed_inputs(run_inputs(plan, target))
    if changed:
        raise UserError(
            f"run {run.last.run_id} cannot be resumed: {', '.join(changed)} changed since it "
            "started",
            hint="undo the change, or start a new run without --resume",
        )


def require_complete_journal(
    parts: Collection[int], sink: Sink, folder: Path, pipeline: Pipeline
) -> None:
    """Raise UserError if the journal of a resumed run has lost parts that the run has loaded.

    `parts` are the numbers of the parts in the journal, which is in `folder`. The destination would
    ignore the records that the resumed run would put into the lost parts.
    """
    lost = [part for part in sink.loaded_parts() if part >= 0 and part not in parts]
    if lost:
        batches = "1 batch" if len(lost) == 1 else f"{len(lost):,} batches"
        give_up = f"remove {folder} to give up the run, and start a new run"
        if pipeline.load.mode == "append":
            give_up += "; it adds all rows again, so first delete the rows that the run has loaded"
        raise UserError(
            f"{folder / JOURNAL}: the journal is damaged: it lacks {batches} that the run has "
            f"loaded into {pipeline.load.destination}, so the run cannot be resumed",
            hint=give_up,
        )


def begin_attempt(
    earlier: UnfinishedRun | None,
    plan: Plan,
    attempt: Attempt,
    *,
    limit: int | None,
    commit: Commit,
    reads_source: bool,
    target: str | None,
    full_refresh: bool,
) -> UnfinishedRun:
    """Return the unfinished run with a new attempt: `earlier`, or a new run."""
    if earlier is not None:
        return replace(earlier, attempts=(*earlier.attempts, attempt), format=FORMAT)
    return UnfinishedRun(
        uid=attempt.uid,
        pipeline=plan.pipeline.name,
        execution_date=plan.execution_date.isoformat(),
        variables=dict(plan.given),
        limit=limit,
        inputs=run_inputs(plan, target),
        fingerprint=plan.fingerprint(),
        commit=commit,
        attempts=(attempt,),
        reads_source=reads_source,
        target=target,
        full_refresh=full_refresh,
    )


def run_inputs(plan: Plan, target: str | None) -> dict[str, str]:
    """Return a hash of each input that can change the result of a record or the loaded rows.

    The keys are names for messages. Settings that only decide when a run stops, such as
    `max_failure_rate`, `batch_threshold` and `monitoring`, are not included, and neither are
    settings of speed, such as `concurrency` and `batch_size`.
    """
    pipeline = plan.pipeline
    evaluate = pipeline.evaluate
    documents = plan.dependencies()
    inputs: dict[str, object] = {
        path: entry for path, entry in documents.items() if path != pipeline.path
    }
    inputs |= {
        "extract": asdict(pipeline.extract),
        "load": asdict(pipeline.load),
        "the model": [asdict(plan.sampling), pipeline.transform.fallback_models],
        "the output": plan.output,
        "the evaluators": [plan.question(), evaluate.sample, plan.judging()["judge_endpoint"]],
        "the thresholds and the gate": [
            *((spec.name, spec.threshold, spec.weight) for spec in evaluate.evaluators),
            asdict(evaluate.gate),
        ],
        "the variables": dict(plan.variables),
        _TARGET: target,
    }
    hashes = {name: digest(value) for name, value in inputs.items()}
    if pipeline.path in documents:
        # The fingerprint covers the settings of the pipeline that have no name above.
        hashes[f"a setting in {pipeline.path}"] = plan.fingerprint()
    return hashes
