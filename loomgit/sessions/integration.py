"""Integration tests: the whole pipeline, for real, into a destination that is thrown away."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.execution import Execution
from loomgit.wiring.assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.ports import Gateway
    from loomgit.domain.runs import Run
    from loomgit.domain.suites import IntegrationCase
    from loomgit.pipeline.events import Event
    from loomgit.wiring.bench import Bench, Subject


def run_integration(
    bench: Bench,
    pipeline: Pipeline,
    test: IntegrationCase,
    *,
    gateway: Callable[[Subject], Gateway],
) -> Run:
    """Run the pipeline as the test says, with a gateway of its own; nothing of it stays but what it
    wrote to a destination that the test names.

    Raises UserError, ProblemsFound, WorldError or Denied where it cannot begin, KeyboardInterrupt
    where somebody stopped it.
    """
    if test.destination:
        bench.wiring.trust.check_destination(bench.wiring, test.destination)
    with TemporaryDirectory(prefix="loom-integration-") as folder:
        destination = test.destination or f"sqlite://{Path(folder) / 'loaded.db'}/loaded"
        pipeline = replace(pipeline, load=replace(pipeline.load, destination=destination))
        subject = bench.prepare(pipeline, model=test.policy.model)
        execution = Execution(
            Assembly(bench.wiring.with_store(Path(folder))),
            subject.plan,
            subject.prompt,
            now=datetime.now(UTC),
            limit=test.records,
            on_event=_ignore,
            gateway=gateway(subject),
        )
        run = asyncio.run(execution.run())
    if execution.interrupted:
        raise KeyboardInterrupt
    return run


def _ignore(event: Event) -> None:
    del event
