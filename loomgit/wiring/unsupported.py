"""Finds valid keys that this version of Loom does not support.

A key that would change the result is an error. Any other key causes a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.place import Problem
from loomgit.errors import UserError
from loomgit.rows.address import PostgresAddress, parse_address, parse_destination
from loomgit.rows.sql import uses_execution_date
from loomgit.wiring.documents import is_outside, searching

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.settings import Connection, Settings
    from loomgit.domain.variables import GivenValues
    from loomgit.wiring.project_files import ProjectFiles


def unsupported(pipeline: Pipeline, connections: Mapping[str, Connection]) -> Iterator[Problem]:
    """Yield a problem for each part of a pipeline that this version of Loom cannot run."""
    transform, extract = pipeline.transform, pipeline.extract
    if pipeline.load.mode == "replace" and same_place(
        extract.source, pipeline.load.destination, connections
    ):
        yield Problem(
            pipeline.place("load.destination"),
            "load.destination: this is the source, and mode: replace would destroy it",
            "load into another file or table, or use mode: upsert",
        )
    paths = [("transform.prompt", transform.prompt or "")]
    paths += [(f"transform.context.{n}", file.path) for n, file in enumerate(transform.context)]
    for key, _, retrieve in searching(pipeline):
        globs = enumerate(retrieve.documents)
        paths += [(f"{key}.retrieve.documents.{n}", glob) for n, glob in globs]
    for key, path in paths:
        if is_outside(path):
            yield Problem(pipeline.place(key), f"'{path}' is outside the project")
    names = [file.name for file in transform.context]
    for number, name in enumerate(names):
        if name in names[:number]:
            yield Problem(
                pipeline.place(f"transform.context.{number}"),
                f"transform.context: two files have the name '{name}' in the prompt",
                "rename one of them",
            )


def invalid_destination(
    pipeline: Pipeline, connections: Mapping[str, Connection]
) -> Iterator[Problem]:
    """Yield a problem if `load.destination` is not a valid address. Nothing is opened."""
    try:
        parse_destination(pipeline.load.destination, connections)
    except UserError as error:
        message = f"load.destination: {error.message}"
        yield Problem(pipeline.place("load.destination"), message, error.hint)


def same_place(source: str, destination: str, connections: Mapping[str, Connection]) -> bool:
    """Return whether two URLs refer to the same file or table."""
    try:
        first, second = (parse_address(text, connections) for text in (source, destination))
    except UserError:
        return False  # the error is reported when the source or the destination is opened
    if isinstance(first, PostgresAddress) and isinstance(second, PostgresAddress):
        # A table without a schema may be the table with a schema.
        schemas = {first.schema, second.schema} - {None}
        return (first.database, first.table) == (second.database, second.table) and len(schemas) < 2
    return first == second


def without_effect(pipeline: Pipeline, settings: Settings) -> Iterator[str]:
    """Yield a warning for each key that has no effect in this version."""
    load = pipeline.load
    ignored = {
        "monitoring.latency_sla": pipeline.monitoring.latency_p95 is not None,
        "monitoring.quality_threshold": pipeline.monitoring.min_score is not None,
        "monitoring.alerts": bool(pipeline.monitoring.alerts),
        "extract.snapshot": pipeline.extract.snapshot,
        "extract.headers": pipeline.extract.http != type(pipeline.extract.http)(),
        "load.fallback": load.fallback is not None and load.on_failure != "fallback",
    }
    for key, given in ignored.items():
        if given:
            yield f"{pipeline.place(key)}: {key} has no effect in this version"
    configured = {
        "defaults.store": settings.defaults.store is not None,
        "channels": bool(settings.channels),
    }
    for key, given in configured.items():
        if given:
            yield f".loom/config.yaml: {key} has no effect in this version"


def _not_yet(pipeline: Pipeline, key: str, what: str) -> Problem:
    return Problem(pipeline.place(key), f"{key}: this version does not support {what}")


def without_execution_date(pipeline: Pipeline, execution_date: datetime | None) -> Iterator[str]:
    """Yield a warning if the query uses `execution_date`, but no date is given.

    In this case, the date is the time of the run. A query for later records then selects nothing.
    """
    query = pipeline.extract.query
    if execution_date is None and query is not None and uses_execution_date(query):
        place = pipeline.place("extract.query")
        yield f"{place}: extract.query uses execution_date, which is now; use --execution-date"


def warn_without_date(wiring: ProjectFiles, pipeline: Pipeline, given: GivenValues) -> None:
    """Warn about a query that uses `execution_date` without a date, once for each pipeline."""
    for message in without_execution_date(pipeline, given.execution_date):
        about = f"execution_date of {pipeline.name}"
        wiring.warn_once(f"{message} or `execution_date:` in the test file", about)
