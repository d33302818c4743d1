"""Estimates the cost of a pipeline's next run.

The requests for a sample of the records are rendered and measured, but not sent.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

import orjson
from msgspec.structs import replace

from loomgit.domain.keys import find_key, record_key
from loomgit.domain.records import Output, Record, RefusedRow, make_record
from loomgit.domain.spending import Estimate, Price
from loomgit.domain.utc import in_utc
from loomgit.domain.values import as_text
from loomgit.evaluators.kinds import needs_judge
from loomgit.gateway.dry_run import DryRunGateway, find_stored_keys
from loomgit.gateway.reply_store import FILE
from loomgit.pipeline.estimate import (
    DEFAULT_REPLY_TOKENS,
    MILLION,
    WORDS,
    PlannedCall,
    estimate_stage,
    example_value,
    mean_reply_size,
)
from loomgit.pipeline.retrieval import RetrievalFailure
from loomgit.wiring.assembly import Assembly
from loomgit.wiring.unsupported import without_execution_date
from loomgit.workflows.begin_increment import open_increment, open_new_records
from loomgit.workflows.forecast.spending import load_runs
from loomgit.workflows.forecast.unknown_costs import unknown_costs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.models import Request
    from loomgit.domain.runs import Run
    from loomgit.domain.spending import ReplySize, StageEstimate
    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.gateway.dry_run import SizedRequest
    from loomgit.pipeline.plan import Plan
    from loomgit.pipeline.prompt import Prompt
    from loomgit.wiring.project import Wiring

SAMPLE = 200  # the maximum number of records for which requests are rendered
# The maximum number of records for which judge requests are rendered. Rendering them is slow.
JUDGED = 20
OUTPUTS = 1000  # earlier outputs are read from at most this many lines of a run's records file
READ = 5  # the mean reply length is computed from at most this many runs with paid calls
LOOKED = 50  # only this many of the newest runs are searched for paid calls and outputs
SEED = 0  # constant, so that the same records result in the same sample


def estimate(
    wiring: Wiring,
    pipeline: Pipeline,
    variables: Mapping[str, str],
    execution_date: datetime | None,
    *,
    limit: int | None = None,
) -> Estimate:
    """Estimate the cost of the pipeline's next run. No model is called, and nothing is stored.

    If `execution_date` is None, it is the current time. `limit` is the maximum number of records;
    None means all. Raises the errors that the run would raise before its first call: UserError,
    ProblemsFound or WorldError.
    """
    assembly = Assembly(wiring)
    warnings = [*without_execution_date(pipeline, execution_date)]
    for message in warnings:
        wiring.warn(message)
    plan, prompt = assembly.plan(pipeline, variables, in_utc(execution_date or datetime.now(UTC)))
    estimator = CostEstimator(assembly, plan, prompt, now_is_assumed=bool(warnings))
    return asyncio.run(estimator.estimate(limit))


class CostEstimator:
    """Estimates the cost of one run of a plan from rendered requests.

    `now_is_assumed` is true if the query uses `execution_date` and the user gave no date.
    """

    def __init__(
        self, assembly: Assembly, plan: Plan, prompt: Prompt, *, now_is_assumed: bool = False
    ) -> None:
        self._now_is_assumed = now_is_assumed
        self._assembly = assembly
        self._plan = plan
        self._prompt = prompt
        pipeline = plan.pipeline
        self._gateway = DryRunGateway(assembly.cache_rules(pipeline), _made_up_reply)
        specs = pipeline.evaluate.evaluators
        judged = tuple(spec for spec in specs if needs_judge(spec))
        # Leave out evaluators without a judge: they cost nothing, and some would run user code.
        self._judging = replace(
            plan, pipeline=replace(pipeline, evaluate=replace(pipeline.evaluate, evaluators=judged))
        )
        self._panel = assembly.panel(self._judging, self._gateway)
        rows = assembly.wiring.store.search(pipeline=pipeline.name)
        self._rows = [row for row in reversed(rows) if row.processed][:LOOKED]

    async def estimate(self, limit: int | None) -> Estimate:
        """Return the estimate for the first `limit` records, from a sample of these records."""
        plan = self._plan
        pipeline = plan.pipeline
        count, refused, sample = await asyncio.to_thread(self._sample, limit)
        outputs = await self._transform(sample)
        transform_requests = self._take_requests()
        judged, source = await self._judge(outputs)
        runs = self._runs()
        scale = count / len(sample) if sample else 0.0
        per_judged = scale * len(outputs) / len(judged) if judged else 0.0
        transform = self._stage("transform", transform_requests, scale, runs)
        evaluate = self._stage(
            "evaluate", self._take_requests(), per_judged * pipeline.evaluate.sample, runs
        )
        unknown = unknown_costs(
            self._assembly.wiring,
            plan,
            (*transform, *evaluate),
            refused=refused,
            now_is_assumed=self._now_is_assumed,
        )
        return Estimate(
            pipeline=pipeline.name,
            version=pipeline.version,
            records=count,
            sampled=len(sample),
            unrendered=len(sample) - len(outputs),
            transform=transform,
            evaluate=evaluate,
            budget=self._assembly.wiring.settings.run_budget(pipeline.monitoring.cost_budget),
            judged_from=source,
            unknown=tuple(unknown),
        )

    def _sample(self, limit: int | None) -> tuple[int, int, list[Record]]:
        """Return the number of records, the number of refused rows, and a random sample.

        The sample has at most `SAMPLE` records. Rows that the run would refuse are neither counted
        as records nor drawn. The sample is drawn by reservoir sampling, so only the sample is kept
        in memory.
        """
        pipeline = self._plan.pipeline
        increment = open_increment(self._assembly.wiring, pipeline)
        if increment is not None:
            increment.load()
        source = open_new_records(self._assembly, self._plan, increment, limit=limit)
        choice = random.Random(SEED)  # noqa: S311 - sampling needs no secure randomness
        count = refused = 0
        configured = pipeline.extract.key  # if no key is set, `find_key` below chooses a key
        rows: list[tuple[int, JsonObject]] = []
        for row in source.rows():
            if isinstance(row, RefusedRow) or make_record(0, row, configured).refused:
                refused += 1
                continue  # the run refuses the record before any call, so it costs nothing
            place = count if count < SAMPLE else choice.randrange(count + 1)
            if count < SAMPLE:
                rows.append((count, row))
            elif place < SAMPLE:
                rows[place] = count, row
            count += 1
        fields = tuple(dict.fromkeys(field for _, row in rows for field in row))
        key = find_key(fields, pipeline.extract.key)
        records = [Record(index, _key(row, key), row) for index, row in sorted(rows, key=_index)]
        return count, refused, records

    async def _transform(self, sample: Iterable[Record]) -> list[tuple[Record, Output]]:
        """Render the transform requests, and return the records with made-up outputs.

        The records include the retrieved documents. A record is left out if its search fails or its
        prompt cannot be rendered.
        """
        plan = self._plan
        if plan.program is not None:  # a program costs nothing, so it is not executed
            example = Output(_example_fields(plan.output), "", "", cost=0.0, calls=0)
            return [(record, example) for record in sample]
        retrieval = self._assembly.retrieval(plan)
        transformer = self._assembly.transformer(
            plan, self._prompt, self._gateway, plan.pipeline.transform.documents_field
        )
        outputs: list[tuple[Record, Output]] = []
        for record in sample:
            try:
                supplied = record if retrieval is None else await retrieval.supply(record)
            except RetrievalFailure:
                continue
            output, _ = await transformer.apply(supplied)
            if output is not None:
                outputs.append((supplied, output))
        return outputs

    async def _judge(
        self, outputs: Sequence[tuple[Record, Output]]
    ) -> tuple[list[Record], Literal["runs", "schema", ""]]:
        """Render the judge requests for a part of the outputs.

        Return the judged records and the source of the judged outputs: `runs` (an earlier run),
        `schema` (made up from the output schema) or "" (nothing is judged).
        """
        if not self._judging.pipeline.evaluate.evaluators or not outputs:
            return [], ""
        earlier = self._earlier_outputs()
        outputs_of_others = list(earlier.values())
        step = max(1, len(outputs) // JUDGED)
        chosen = outputs[::step][:JUDGED]
        for number, (record, output) in enumerate(chosen):
            fields = output.fields
            if outputs_of_others:
                fields = outputs_of_others[number % len(outputs_of_others)]
            fields = earlier.get(record.key, fields)
            await self._panel.judge(record, replace(output, fields=fields))
        return [record for record, _ in chosen], "runs" if earlier else "schema"

    def _earlier_outputs(self) -> dict[str, JsonObject]:
        """Return the outputs of the newest pipeline run that has outputs, by record key."""
        store = self._assembly.wiring.store
        for row in self._rows:
            path = store.records_path(row.uid)
            if row.kind != "pipeline" or not path.is_file():
                continue
            with path.open("rb") as file:
                lines = [orjson.loads(line) for line in islice(file, OUTPUTS)]
            outputs = {line["key"]: line["output"] for line in lines if line.get("output")}
            if outputs:
                return outputs
        return {}

    def _runs(self) -> list[Run]:
        """Return the newest runs with paid calls, at most `READ` runs."""
        runs: list[Run] = []
        wiring = self._assembly.wiring
        for row in self._rows:
            runs += [run for run in load_runs(wiring, [row]) if run.cost.calls]
            if len(runs) == READ:
                break
        return runs

    def _take_requests(self) -> list[SizedRequest]:
        """Return the requests that were rendered since the last call of this method."""
        requests = list(self._gateway.probed)
        self._gateway.probed.clear()
        return requests

    def _stage(
        self, stage: str, requests: Sequence[SizedRequest], scale: float, runs: Sequence[Run]
    ) -> tuple[StageEstimate, ...]:
        lanes = self._assembly.lanes(self._plan)
        prices, models = lanes.prices, lanes.models
        cached = self._cached_keys(requests)

        def price(model: str, tokens: int) -> Price | None:
            unit = prices.unit_price(model, prompt_tokens=tokens)
            return None if unit is None else Price(unit.input * MILLION, unit.output * MILLION)

        def replies(model: str) -> ReplySize | None:
            return mean_reply_size(runs, stage, model)

        def limit(request: Request) -> int | None:
            settings = models.get(request.model)
            return request.max_tokens or (settings.max_output_tokens if settings else None)

        calls = [
            PlannedCall(
                sized.request.model,
                sized.tokens,
                limit(sized.request),
                sized.request.schema,
                sized.key in cached,
            )
            for sized in requests
        ]
        return estimate_stage(calls, share=scale, replies=replies, price=price)

    def _cached_keys(self, requests: Sequence[SizedRequest]) -> frozenset[bytes]:
        """Return the keys of the requests for which the cache has a reply that is not expired."""
        rules = self._assembly.cache_rules(self._plan.pipeline)
        now = time.time()
        oldest = {
            sized.key: now - (rules[sized.request.purpose].ttl or now)
            for sized in requests
            if sized.key is not None
        }
        return find_stored_keys(self._assembly.wiring.store.folder / "cache" / FILE, oldest)


def _key(row: JsonObject, key: tuple[str, ...]) -> str:
    try:
        return record_key(row, key)
    except KeyError:
        return ""  # the run will report this error; the estimate does not need the key


def _index(row: tuple[int, JsonObject]) -> int:
    return row[0]


def _made_up_reply(request: Request) -> str:
    """Return an example of the requested schema, or filler text if the request has no schema."""
    if request.schema is None:
        return f"{WORDS} " * (DEFAULT_REPLY_TOKENS // 10)
    return as_text(example_value(request.schema))


def _example_fields(schema: JsonMapping | None) -> JsonObject:
    """Return an example of an output with this schema."""
    value = example_value(schema or {})
    return value if isinstance(value, dict) else {}
