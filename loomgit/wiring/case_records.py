"""Reads the records that are cases of tests and comparisons."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.cursors import first_parameter
from loomgit.domain.keys import find_key
from loomgit.domain.ports import QueryValues
from loomgit.domain.records import Record, RefusedRow, make_record
from loomgit.domain.utc import in_utc
from loomgit.errors import UserError
from loomgit.wiring.unsupported import warn_without_date

if TYPE_CHECKING:
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.variables import GivenValues
    from loomgit.wiring.assembly import Assembly


def read_records(
    assembly: Assembly,
    pipeline: Pipeline,
    dataset: str | None,
    limit: int | None,
    given: GivenValues,
    *,
    warn: bool,
) -> list[Record]:
    """Return the records of a data set, in its order; see `ProjectRevision.records`."""
    if dataset is not None:
        extract = replace(pipeline.extract, source=dataset, query=None, limit=None)
        pipeline = replace(pipeline, extract=extract)
    if warn:
        warn_without_date(assembly.wiring, pipeline, given)
    variables = assembly.variables(pipeline, given.variables)
    date = in_utc(given.execution_date or datetime.now(UTC))
    values = QueryValues(date, first_parameter(pipeline.extract.incremental), variables)
    source = dataset or pipeline.extract.source
    rows = list(assembly.source(pipeline, values, limit=limit).rows())
    fields = dict.fromkeys(
        name for row in rows[:100] if not isinstance(row, RefusedRow) for name in row
    )
    key = find_key(tuple(fields), pipeline.extract.key)
    found: dict[str, Record] = {}
    for index, row in enumerate(rows):
        record = make_record(index, row, key, source)
        if record.refused:  # leaving out the row would change the mean scores
            raise UserError(
                f"{pipeline.place('extract')}: {record.refused}",
                hint="correct the row, or leave it out",
            )
        found[record.key] = record  # if several records have the same key, the last is used
    return list(found.values())
