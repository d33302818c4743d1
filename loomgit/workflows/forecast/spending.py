"""Adds up the cost of a pipeline's stored runs."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from loomgit.errors import LoomError
from loomgit.pipeline.spending import sum_runs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.runs import Run, RunSummary
    from loomgit.domain.spending import SpendingReport
    from loomgit.wiring.project import Wiring


def spending(wiring: Wiring, pipeline: Pipeline, since: datetime | None) -> SpendingReport:
    """Return the cost of a pipeline's stored runs since `since`, including its test runs."""
    rows = wiring.store.search(pipeline=pipeline.name, since=since)
    start = None if since is None else f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return sum_runs(load_runs(wiring, rows), pipeline.name, pipeline.version, start)


def load_runs(wiring: Wiring, rows: Iterable[RunSummary]) -> Iterator[Run]:
    """Load runs one at a time. A run that cannot be read is omitted with a warning."""
    for row in rows:
        try:
            yield wiring.store.load(wiring.store.folder / row.path)
        except LoomError as error:
            wiring.warn(error.message)
