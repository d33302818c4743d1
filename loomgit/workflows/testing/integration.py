"""Runs integration tests: the whole pipeline with real calls. By default, the destination is
temporary."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.wiring.assembly import Assembly
from loomgit.wiring.unsupported import warn_without_date
from loomgit.workflows.plan_execution import PlanExecution

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.ports import Gateway
    from loomgit.domain.runs import Run
    from loomgit.domain.suites import IntegrationCase
    from loomgit.domain.variables import GivenValues
    from loomgit.pipeline.events import Event
    from loomgit.wiring.revision import PipelineVersion, ProjectRevision


def run_integration(
    revision: ProjectRevision,
    pipeline: Pipeline,
    test: IntegrationCase,
    given: GivenValues,
    *,
    gateway: Callable[[PipelineVersion], Gateway],
) -> Run:
    """Run the pipeline with the model, destination and number of records that the test defines.

    `given` contains the variables and the execution date of the test. `gateway` opens the gateway
    for the run. The record of the run is not stored. The loaded rows are kept only if the test
    names a destination. An incremental pipeline ignores its watermark.

    Raises UserError, ProblemsFound, WorldError or Denied if the run cannot
    start, and KeyboardInterrupt if the run was interrupted.
    """
    if test.destination:
        revision.wiring.trust.check_destination(revision.wiring, test.destination)
    with TemporaryDirectory(prefix="loom-integration-") as folder:
        destination = test.destination or f"sqlite://{Path(folder) / 'loaded.db'}/loaded"
        # Without `load.quarantine`, rejected records go to the temporary store.
        load = replace(pipeline.load, destination=destination, quarantine=None)
        pipeline = replace(pipeline, load=load)
        version = revision.prepare(pipeline, model=test.policy.model, given=given)
        warn_without_date(revision.wiring, pipeline, given)
        execution = PlanExecution(
            Assembly(revision.wiring.with_store(Path(folder))),
            version.plan,
            version.prompt,
            now=datetime.now(UTC),
            limit=test.records,
            on_event=_ignore,
            gateway=gateway(version),
            full_refresh=True,
        )
        run = asyncio.run(execution.run())
    if execution.interrupted:
        raise KeyboardInterrupt
    return run


def _ignore(event: Event) -> None:
    del event
