"""Builds the fallbacks of failed records that call no model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.place import Problem
from loomgit.errors import UserError
from loomgit.pipeline.extractive import make_summarizer
from loomgit.pipeline.stages import FailurePolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.values import JsonMapping


def policy_without_model(pipeline: Pipeline, output: JsonMapping | None) -> FailurePolicy:
    """Return the policy for a fallback that is a constant or an extract of the record's text.

    `output` is the declared output. Raises UserError if an extract cannot match it.
    """
    fallback = pipeline.load.fallback
    if fallback is None or fallback.extractive is None:
        return FailurePolicy(value=None if fallback is None else fallback.value)
    summarizer = make_summarizer(fallback.extractive, output, pipeline.load.schema)
    return FailurePolicy(summarizer=summarizer)


def extractive_problems(pipeline: Pipeline, output: JsonMapping | None) -> Iterator[Problem]:
    """Yield a problem if no output of an extractive fallback can match the declared `output`."""
    fallback = pipeline.load.fallback
    if fallback is None or fallback.extractive is None or pipeline.load.on_failure != "fallback":
        return
    try:
        make_summarizer(fallback.extractive, output, pipeline.load.schema)
    except UserError as error:
        key = "load.fallback" if fallback.extractive.output is None else "load.fallback.output"
        yield Problem(pipeline.place(key), f"load.fallback: {error.message}", error.hint)
