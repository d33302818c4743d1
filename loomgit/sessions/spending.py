"""What a pipeline cost: the store's runs added up."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

from loomgit.errors import LoomError
from loomgit.pipeline.spending import add_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.runs import Run, RunSummary
    from loomgit.domain.spending import Spending
    from loomgit.wiring.project import Wiring


def spending(wiring: Wiring, pipeline: Pipeline, since: datetime | None) -> Spending:
    """What the stored runs of a pipeline came to, those of its tests as well."""
    rows = wiring.store.search(pipeline=pipeline.name, since=since)
    shown = None if since is None else f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return add_up(load_runs(wiring, rows), pipeline.name, pipeline.version, shown)


def load_runs(wiring: Wiring, rows: Iterable[RunSummary]) -> Iterator[Run]:
    """The runs, one at a time; those that cannot be read are told and left out."""
    for row in rows:
        try:
            yield wiring.store.load(wiring.store.folder / row.path)
        except LoomError as error:
            wiring.warn(error.message)
