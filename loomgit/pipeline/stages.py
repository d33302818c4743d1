"""The stages of one record: transform, evaluate, gate, and `on_failure` if a stage fails."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.json_schema import compile_schema, describe_faults
from loomgit.domain.record_calls import calls_for
from loomgit.domain.records import Output, RecordFailure, RecordOutcome
from loomgit.domain.values import JsonMapping
from loomgit.pipeline.extractive import ExtractiveSummarizer
from loomgit.pipeline.retrieval import Retrieval, RetrievalFailure
from loomgit.pipeline.transform import BatchTransformer, RecordTransformer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loomgit.domain.definitions import Load
    from loomgit.domain.records import Record
    from loomgit.pipeline.evaluate import Panel
    from loomgit.pipeline.run_statistics import Stopwatch


class FailurePolicy(Struct, frozen=True):
    """The treatment of failed records, from `load.on_failure` of the pipeline.

    A failed record is retried up to `retries` times. After that, its fallback output is the fixed
    `value`, the output of `summarizer`, or the output of `transformer`. If all are None, there is
    no fallback.
    """

    retries: int = 0
    value: JsonMapping | None = None
    summarizer: ExtractiveSummarizer | None = None
    transformer: RecordTransformer | None = None
    retrieval: Retrieval | None = None  # for `transformer`; default: the pipeline's retrieval


class Stages:
    """Passes records through transform, evaluate and gate.

    Raises Denied if a provider denies all calls. All other failures are part of the RecordOutcome.
    """

    def __init__(
        self,
        transformer: RecordTransformer,
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

    def set_load_check(self, refusal: Callable[[Record, JsonMapping], str]) -> None:
        """Set the function that checks whether the destination accepts an output.

        `refusal` receives a record and its output fields. It returns the reason why the destination
        refuses the row that would be loaded, or "" if the destination accepts the row. A refused
        output fails at the stage `load`.
        """
        self._refusal = refusal

    async def process(self, record: Record) -> RecordOutcome:
        """Return the outcome of a record, after the pipeline's retries and fallback."""
        if record.refused:
            return RecordOutcome(record, failure=RecordFailure("extract", record.refused))
        with calls_for(record):
            return await self._repair(await self.attempt(record, sample=0))

    @property
    def transforms_batches(self) -> bool:
        """Whether `process_all` is possible, and no record of a batch waits for a model."""
        fallback = self._policy.transformer
        return (
            isinstance(self._transformer, BatchTransformer)
            and self._retrieval is None
            and (fallback is None or isinstance(fallback, BatchTransformer))
        )

    async def process_all(self, records: Sequence[Record]) -> list[RecordOutcome]:
        """Return the outcomes of records, after the pipeline's retries and fallback.

        The records are transformed together, and then evaluated one after the other. Therefore,
        evaluators that wait for a model should use `process`.
        """
        transformer = self._transformer
        assert isinstance(transformer, BatchTransformer)  # see `transforms_batches`
        usable = [record for record in records if not record.refused]
        with self._transforming:
            results = iter(await transformer.apply_all(usable))
        outcomes = []
        for record in records:
            if record.refused:
                failure = RecordFailure("extract", record.refused)
                outcomes.append(RecordOutcome(record, failure=failure))
            else:
                outcome = await self._judge(record, record, *next(results))
                if outcome.failure is not None:
                    with calls_for(record):
                        outcome = await self._repair(outcome)
                outcomes.append(outcome)
        return outcomes

    async def process_refused(self, outcome: RecordOutcome, reason: str) -> RecordOutcome:
        """Return the outcome of a record after the destination has refused its row.

        `reason` is the reason of the refusal. The record gets the retries that are left, and then
        its fallback. If the refused row contains the fallback output, the record fails.
        """
        failed = refuse(outcome, reason)
        with calls_for(outcome.record):
            return failed if outcome.fallback else await self._repair(failed)

    async def replace_refused(self, outcome: RecordOutcome, reason: str) -> RecordOutcome:
        """Return the outcome of a record whose row was refused at the end of the run.

        The record gets its fallback output if this needs no model. Otherwise, it fails.
        """
        failed = refuse(outcome, reason)
        has_output = self._policy.value is not None or self._policy.summarizer is not None
        return await self._fall_back(failed) if has_output and not outcome.fallback else failed

    async def _repair(self, outcome: RecordOutcome) -> RecordOutcome:
        """Retry a failed record as often as the policy allows, and then use its fallback."""
        while outcome.failure is not None and outcome.attempts <= self._policy.retries:
            retried = await self.attempt(outcome.record, sample=outcome.attempts)
            outcome = replace(
                retried,
                output=_with_bill_of(outcome.output, retried.output),
                discarded=(*outcome.discarded, *outcome.assessments),
                attempts=outcome.attempts + 1,
                refusals=outcome.refusals,
            )
        return outcome if outcome.failure is None else await self._fall_back(outcome)

    async def attempt(self, record: Record, *, sample: int) -> RecordOutcome:
        """Return the outcome of one attempt, without retries and fallback.

        `sample` is the number of the attempt (from 0). Each attempt requests a different reply.
        """
        with self._transforming:
            supplied = await _supply(self._retrieval, record)
            if isinstance(supplied, RecordFailure):
                return RecordOutcome(record, failure=supplied)
            output, failure = await self._transformer.apply(supplied, sample=sample)
        return await self._judge(record, supplied, output, failure)

    async def _judge(
        self,
        record: Record,
        supplied: Record,
        output: Output | None,
        failure: RecordFailure | None,
    ) -> RecordOutcome:
        """Return the outcome of an output. `supplied` is the record with its documents."""
        if failure is None and output is not None:
            failure = self._misfit(record, output.fields)
        if failure is not None or output is None:
            return RecordOutcome(record, output, failure=failure)
        if not self._panel.selects(record):
            return RecordOutcome(record, output, evaluated=False)
        with self._evaluating:
            assessments, failure = await self._panel.judge(supplied, output)
        return RecordOutcome(record, output, assessments, failure)

    def _misfit(self, record: Record, fields: JsonMapping) -> RecordFailure | None:
        """Return a failure if an output does not match `load.schema` or the destination, else None.

        Loom does not coerce values to make them match.
        """
        if self._validator is not None:
            faults = describe_faults(self._validator, dict(fields))
            if faults:
                return RecordFailure("load", f"load.schema: {faults}")
        reason = self._refusal(record, fields)
        return RecordFailure("load", reason) if reason else None

    async def _fall_back(self, failed: RecordOutcome) -> RecordOutcome:
        policy = self._policy
        fields = policy.value
        if policy.summarizer is not None:
            fields = await asyncio.to_thread(policy.summarizer.summarize, failed.record.input)
        if fields is not None:
            original = failed.output or Output({}, "", "", calls=0)
            output = replace(original, fields=dict(fields))
        elif policy.transformer is not None:
            with self._transforming:
                supplied = await _supply(policy.retrieval or self._retrieval, failed.record)
                if isinstance(supplied, RecordFailure):
                    return failed
                second, failure = await policy.transformer.apply(supplied)
            if failure is not None or second is None:
                return replace(failed, output=_with_bill_of(failed.output, second))
            output = _with_bill_of(failed.output, second) or second
        else:
            return failed
        misfit = self._misfit(failed.record, output.fields)
        if misfit is not None:
            return replace(failed, output=output, failure=misfit)
        return replace(failed, output=output, failure=None, fallback=True, replaced=failed.failure)


def refuse(outcome: RecordOutcome, reason: str) -> RecordOutcome:
    """Return the failed outcome of a record whose row the destination has refused."""
    return replace(
        outcome,
        failure=RecordFailure("load", reason),
        fallback=False,
        replaced=None,
        refusals=outcome.refusals + 1,
    )


async def _supply(retrieval: Retrieval | None, record: Record) -> Record | RecordFailure:
    """Return the record with its documents, or the failure of the retrieval."""
    try:
        return record if retrieval is None else await retrieval.supply(record)
    except RetrievalFailure as error:
        return RecordFailure("transform", str(error), infrastructure=error.infrastructure)


def _with_bill_of(first: Output | None, second: Output | None) -> Output | None:
    """Return the second output, but with the calls, tokens, cost and latency of both outputs added.

    If one of the outputs is None, return the other output.
    """
    if first is None or second is None:
        return second or first
    known = first.cost is not None and second.cost is not None
    latencies = [wait for wait in (first.latency, second.latency) if wait is not None]
    return replace(
        second,
        usage=first.usage + second.usage,
        cost=(first.cost or 0.0) + (second.cost or 0.0) if known else None,
        latency=sum(latencies) if latencies else None,
        calls=first.calls + second.calls,
        hits=first.hits + second.hits,
        cached=first.cached and second.cached,
    )
