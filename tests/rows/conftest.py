"""What the tests of this room share: a project's folder, and sources and sinks opened in it."""

from datetime import UTC, datetime

import pytest

from loomgit.domain.definitions import Extract, Load
from loomgit.domain.ports import QueryValues
from loomgit.rows.sinks import open_sink
from loomgit.rows.sources import open_source


@pytest.fixture
def connections():
    """The connections of the project; a module with a database replaces them."""
    return {}


@pytest.fixture
def source(tmp_path, connections):
    """Open a source in the project `tmp_path`; `x` and other variables by keyword."""

    def opened(url, query=None, *, key=(), limit=None, watermark=None, incremental=None, **vars_):
        return open_source(
            Extract(url, query=query, key=key, limit=limit, incremental=incremental),
            root=tmp_path,
            values=QueryValues(datetime(2026, 3, 4, tzinfo=UTC), watermark, vars_),
            connections=connections,
        )

    return opened


@pytest.fixture
def sink(tmp_path, connections):
    """Open a sink of the project `tmp_path`."""
    opened = []

    def one(url, mode="upsert", *, key=("id",), run="run-1", schema=None, examples=(), **settings):
        destination = open_sink(
            Load(url, mode=mode, schema=schema, **settings),
            key=key,
            root=tmp_path,
            stage=tmp_path / ".loom" / "state" / run,
            run=run,
            examples=examples,
            connections=connections,
        )
        opened.append(destination)
        return destination

    yield one
    for destination in opened:
        destination.abort()


@pytest.fixture
def put(sink):
    """Load the batches into a destination and commit, each time as a run of its own."""
    runs = iter(range(100))

    def one(url, *batches, mode="upsert", **options):
        destination = sink(url, mode, **{"run": f"put-{next(runs)}", **options})
        for part, rows in enumerate(batches):
            destination.load(part, rows)
        receipt = destination.commit()
        return receipt.inserted, receipt.updated, receipt.unchanged, receipt.duplicates

    return one
