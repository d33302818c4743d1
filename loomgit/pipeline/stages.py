"""One record's way: transform, evaluate, gate, and what `on_failure` says when one fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.records import Failure, Outcome, Output
from loomgit.domain.values import JsonMapping
from loomgit.pipeline.output import compile_schema, describe_faults
from loomgit.pipeline.retrieval import Retrieval, RetrievalFailure
from loomgit.pipeline.transform import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from loomgit.domain.definitions import Load
    from loomgit.domain.records import Record
    from loomgit.pipeline.evaluate import Panel
    from loomgit.pipeline.tally import Stopwatch


class FailurePolicy(Struct, frozen=True):
    """`load.on_failure` made ready: how often to ask again, what to take instead."""

    retries: int = 0
    value: JsonMapping | None = None
    transformer: Transformer | None = None
    retrieval: Retrieval | None = None  # the other transform's; None: the pipeline's


class Stages:
    """Takes records through transform, evaluate and gate. Raises Denied; all else is an Outcome."""

    def __init__(
        self,
        transformer: Transformer,
        panel: Panel,
        load: Load,
        policy: FailurePolicy,
        watches: Mapping[str, Stopwatch],
        retrieval: Retrieval | None = None,
    ) -> None:
        self._transformer = transformer
        self._panel = panel
        self._policy = policy
        self._validator = None if load.schema is None else compile_schema(load.schema)
        self._retrieval = retrieval
        self._refusal: Callable[[Record, JsonMapping], str] = lambda record, fields: ""
        self._transforming = watches["transform"]
        self._evaluating = watches["evaluate"]

    def load_into(self, refusal: Callable[[Record, JsonMapping], str]) -> None:
        """From now on an output for whose row `refusal` gives a reason fails at stage `load`."""
        self._refusal = refusal

    async def carry(self, record: Record) -> Outcome:
        """The record's outcome, after retries and fallback where the pipeline has them."""
        if record.refused:
            return Outcome(record, failure=Failure("extract", record.refused))
        outcome = await self.attempt(record, sample=0)
        for sample in range(1, self._policy.retries + 1):
            if outcome.failure is None:
                return outcome
            again = await self.attempt(record, sample=sample)
            outcome = replace(
                again,
                output=_together(outcome.output, again.output),
                discarded=(*outcome.discarded, *outcome.assessments),
            )
        if outcome.failure is None:
            return outcome
        return await self._fall_back(outcome)

    async def attempt(self, record: Record, *, sample: int) -> Outcome:
        """The outcome of one reply, the `sample`-th, with neither retry nor fallback."""
        with self._transforming:
            supplied = await _supply(self._retrieval, record)
            if isinstance(supplied, Failure):
                return Outcome(record, failure=supplied)
            output, failure = await self._transformer.apply(supplied, sample=sample)
        if failure is None and output is not None:
            failure = self._misfit(record, output.fields)
        if failure is not None or output is None:
            return Outcome(record, output, failure=failure)
        if not self._panel.selects(record):
            return Outcome(record, output, evaluated=False)
        with self._evaluating:
            assessments, failure = await self._panel.judge(supplied, output)
        return Outcome(record, output, assessments, failure)

    def _misfit(self, record: Record, fields: JsonMapping) -> Failure | None:
        """Why the output does not fit `load.schema` or the destination; nothing is coerced to make
        it fit."""
        if self._validator is not None:
            faults = describe_faults(self._validator, dict(fields))
            if faults:
                return Failure("load", f"load.schema: {faults}")
        reason = self._refusal(record, fields)
        return Failure("load", reason) if reason else None

    async def _fall_back(self, failed: Outcome) -> Outcome:
        policy = self._policy
        if policy.value is not None:
            paid = failed.output or Output({}, "", "", calls=0)
            output = replace(paid, fields=dict(policy.value))
        elif policy.transformer is not None:
            with self._transforming:
                supplied = await _supply(policy.retrieval or self._retrieval, failed.record)
                if isinstance(supplied, Failure):
                    return failed
                second, failure = await policy.transformer.apply(supplied)
            if failure is not None or second is None:
                return replace(failed, output=_together(failed.output, second))
            output = _together(failed.output, second) or second
        else:
            return failed
        misfit = self._misfit(failed.record, output.fields)
        if misfit is not None:
            return replace(failed, output=output, failure=misfit)
        return replace(failed, output=output, failure=None, fallback=True, replaced=failed.failure)


async def _supply(retrieval: Retrieval | None, record: Record) -> Record | Failure:
    """The record with the documents that it is answered from, or why it has none."""
    try:
        return record if retrieval is None else await retrieval.supply(record)
    except RetrievalFailure as error:
        return Failure("transform", str(error), infrastructure=error.infrastructure)


def _together(first: Output | None, second: Output | None) -> Output | None:
    """The second output with the calls of both on its bill."""
    if first is None or second is None:
        return second or first
    known = first.cost is not None and second.cost is not None
    waits = [wait for wait in (first.latency, second.latency) if wait is not None]
    return replace(
        second,
        usage=first.usage + second.usage,
        cost=(first.cost or 0.0) + (second.cost or 0.0) if known else None,
        latency=sum(waits) if waits else None,
        calls=first.calls + second.calls,
        hits=first.hits + second.hits,
        cached=first.cached and second.cached,
    )
