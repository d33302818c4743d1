"""Adds the position in the pipeline file to errors that have none."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from loomgit.domain.place import Problem
from loomgit.errors import ProblemsFound, UserError
from loomgit.rows.sql import QueryError
from loomgit.rows.sqlite import MissingColumn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.definitions import Pipeline


@contextmanager
def placed_source_errors(pipeline: Pipeline) -> Iterator[None]:
    """Context for reading a source, which adds a position to each UserError without a position.

    It is the position of `extract.query`, or of `extract.source` if there is no query.

    A missing column that is the cursor gets the position of `extract.incremental.cursor`.
    """
    try:
        yield
    except ProblemsFound:
        raise
    except UserError as error:
        incremental = pipeline.extract.incremental
        missing = error.column if isinstance(error, MissingColumn) else ""
        if incremental is not None and missing == incremental.cursor:
            key = "extract.incremental.cursor"
        elif error.documents()[0]["line"] is not None:
            raise
        else:
            key = "extract.query" if pipeline.extract.query else "extract.source"
        problem = Problem(pipeline.place(key), f"{key}: {error.message}", error.hint)
        raise ProblemsFound([problem]) from error


@contextmanager
def placed(pipeline: Pipeline, key: str) -> Iterator[None]:
    """Context that adds the file and line of `key` to a UserError.

    For a QueryError, `extract.query` is used instead of `key`. A ProblemsFound is not changed.
    """
    try:
        yield
    except ProblemsFound:
        raise
    except QueryError as error:
        problem = Problem(pipeline.place("extract.query"), error.message, error.hint)
        raise ProblemsFound([problem]) from error
    except UserError as error:
        problem = Problem(pipeline.place(key), f"{key}: {error.message}", error.hint)
        raise ProblemsFound([problem]) from error
