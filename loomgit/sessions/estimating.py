"""What the next run of a pipeline will cost: a sample of its records, rendered and sized."""

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
from loomgit.domain.ports import QueryValues
from loomgit.domain.records import Output, Record, RefusedRow, make_record
from loomgit.domain.spending import Estimate, Price
from loomgit.domain.values import as_text
from loomgit.evaluators.kinds import needs_judge
from loomgit.gateway.probe import ProbeGateway, find_kept
from loomgit.gateway.reply_store import FILE
from loomgit.pipeline.estimate import (
    MILLION,
    PLAIN_REPLY,
    WORDS,
    Asked,
    estimate_stage,
    example,
    seen_replies,
)
from loomgit.pipeline.retrieval import RetrievalFailure
from loomgit.sessions.spending import load_runs
from loomgit.wiring.assembly import Assembly

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Literal

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.models import Request
    from loomgit.domain.runs import Run
    from loomgit.domain.spending import ReplySize, StageEstimate
    from loomgit.domain.values import JsonObject
    from loomgit.gateway.probe import Probed
    from loomgit.pipeline.plan import Plan
    from loomgit.pipeline.prompt import Prompt
    from loomgit.wiring.project import Wiring

SAMPLE = 200  # records that are rendered
JUDGED = 20  # of those whose judging is rendered: each takes a while
OUTPUTS = 1000  # of an earlier run that are read for judges
READ = 5  # of the newest runs, for the length of replies
LOOKED = 50  # runs among which those are looked for
SEED = 0  # the sample of the same records is the same


def estimate(
    wiring: Wiring, pipeline: Pipeline, variables: Mapping[str, str], *, limit: int | None = None
) -> Estimate:
    """What a run of the pipeline's records will cost; no model is asked and no result is written.

    Raises what the run would before it asked anything: UserError, ProblemsFound or WorldError.
    """
    assembly = Assembly(wiring)
    plan, prompt = assembly.plan(pipeline, variables, datetime.now(UTC))
    return asyncio.run(Estimating(assembly, plan, prompt).estimate(limit))


class Estimating:
    """Sizes one plan's requests, by rendering them as the run will."""

    def __init__(self, assembly: Assembly, plan: Plan, prompt: Prompt) -> None:
        self._assembly = assembly
        self._plan = plan
        self._prompt = prompt
        pipeline = plan.pipeline
        self._gateway = ProbeGateway(assembly.cache_rules(pipeline), _made_up)
        specs = pipeline.evaluate.evaluators
        judged = tuple(spec for spec in specs if needs_judge(spec))
        # An evaluator that asks no model would run for nothing, and may be the user's own program.
        self._judging = replace(
            plan, pipeline=replace(pipeline, evaluate=replace(pipeline.evaluate, evaluators=judged))
        )
        self._panel = assembly.panel(self._judging, self._gateway)
        rows = assembly.wiring.store.search(pipeline=pipeline.name)
        self._rows = [row for row in reversed(rows) if row.processed][:LOOKED]

    async def estimate(self, limit: int | None) -> Estimate:
        """The estimate, from a sample of the first `limit` records."""
        plan = self._plan
        pipeline = plan.pipeline
        count, sample = await asyncio.to_thread(self._sample, limit)
        outputs = await self._transform(sample)
        transforming = self._taken()
        judged, source = await self._judge(outputs)
        runs = self._runs()
        scale = count / len(sample) if sample else 0.0
        per_judged = scale * len(outputs) / len(judged) if judged else 0.0
        return Estimate(
            pipeline=pipeline.name,
            version=pipeline.version,
            records=count,
            sampled=len(sample),
            unrendered=len(sample) - len(outputs),
            transform=self._stage("transform", transforming, scale, runs),
            evaluate=self._stage(
                "evaluate", self._taken(), per_judged * pipeline.evaluate.sample, runs
            ),
            budget=pipeline.monitoring.cost_budget,
            judged_from=source,
        )

    def _sample(self, limit: int | None) -> tuple[int, list[Record]]:
        """The number of records, and some of them: each is as likely as the others to be there."""
        pipeline = self._plan.pipeline
        values = QueryValues(self._plan.execution_date, None, dict(self._plan.variables))
        choice = random.Random(SEED)  # noqa: S311 - a sample, no secret
        count = 0
        configured = pipeline.extract.key  # a key that is found is found in the records below
        kept: list[tuple[int, JsonObject]] = []
        for row in self._assembly.source(pipeline, values, limit=limit).rows():
            if isinstance(row, RefusedRow) or make_record(0, row, configured).refused:
                continue  # it fails before any call
            place = count if count < SAMPLE else choice.randrange(count + 1)
            if count < SAMPLE:
                kept.append((count, row))
            elif place < SAMPLE:
                kept[place] = count, row
            count += 1
        fields = tuple(dict.fromkeys(field for _, row in kept for field in row))
        key = find_key(fields, pipeline.extract.key)
        return count, [Record(index, _key(row, key), row) for index, row in sorted(kept, key=_at)]

    async def _transform(self, sample: Iterable[Record]) -> list[tuple[Record, Output]]:
        """Records as the prompt saw them, with a made-up output each; those that make no prompt
        are left out."""
        plan = self._plan
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
        """Let a part of the sample be judged; whose output that was."""
        if not self._judging.pipeline.evaluate.evaluators or not outputs:
            return [], ""
        earlier = self._earlier_outputs()
        any_of = list(earlier.values())
        step = max(1, len(outputs) // JUDGED)
        chosen = outputs[::step][:JUDGED]
        for number, (record, output) in enumerate(chosen):
            fields = any_of[number % len(any_of)] if any_of else output.fields
            fields = earlier.get(record.key, fields)
            await self._panel.judge(record, replace(output, fields=fields))
        return [record for record, _ in chosen], "runs" if earlier else "schema"

    def _earlier_outputs(self) -> dict[str, JsonObject]:
        """Outputs of the newest run that has some, by their records' keys."""
        store = self._assembly.wiring.store
        for row in self._rows:
            path = store.folder / "records" / f"{row.uid}.jsonl"
            if row.kind != "pipeline" or not path.is_file():
                continue
            with path.open("rb") as file:
                lines = [orjson.loads(line) for line in islice(file, OUTPUTS)]
            found = {line["key"]: line["output"] for line in lines if line.get("output")}
            if found:
                return found
        return {}

    def _runs(self) -> list[Run]:
        """The newest runs in which something was paid for."""
        found: list[Run] = []
        wiring = self._assembly.wiring
        for row in self._rows:
            found += [run for run in load_runs(wiring, [row]) if run.cost.calls]
            if len(found) == READ:
                break
        return found

    def _taken(self) -> list[Probed]:
        taken = list(self._gateway.probed)
        self._gateway.probed.clear()
        return taken

    def _stage(
        self, stage: str, probed: Sequence[Probed], scale: float, runs: Sequence[Run]
    ) -> tuple[StageEstimate, ...]:
        lanes = self._assembly.lanes(self._plan)
        prices, models = lanes.prices, lanes.models
        kept = self._kept(probed)

        def price(model: str, tokens: int) -> Price | None:
            found = prices.unit_price(model, prompt_tokens=tokens)
            return None if found is None else Price(found.input * MILLION, found.output * MILLION)

        def replies(model: str) -> ReplySize | None:
            return seen_replies(runs, stage, model)

        def limit(request: Request) -> int | None:
            settings = models.get(request.model)
            return request.max_tokens or (settings.max_output_tokens if settings else None)

        asked = [
            Asked(
                one.request.model,
                one.tokens,
                limit(one.request),
                one.request.schema,
                one.key in kept,
            )
            for one in probed
        ]
        return estimate_stage(asked, share=scale, replies=replies, price=price)

    def _kept(self, probed: Sequence[Probed]) -> frozenset[bytes]:
        """The keys of those requests that a kept reply would answer."""
        rules = self._assembly.cache_rules(self._plan.pipeline)
        now = time.time()
        wanted = {
            one.key: now - (rules[one.request.purpose].ttl or now)
            for one in probed
            if one.key is not None
        }
        return find_kept(self._assembly.wiring.store.folder / "cache" / FILE, wanted)


def _key(row: JsonObject, key: tuple[str, ...]) -> str:
    try:
        return record_key(row, key)
    except KeyError:
        return ""  # the run will say so; the size of its prompt is what it is


def _at(kept: tuple[int, JsonObject]) -> int:
    return kept[0]


def _made_up(request: Request) -> str:
    """A reply of the form that is asked for."""
    if request.schema is None:
        return f"{WORDS} " * (PLAIN_REPLY // 10)
    return as_text(example(request.schema))
