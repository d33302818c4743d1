"""Assembly: a pipeline made ready to run, from its definition to gateway, evaluators and rows.

With `loomgit.wiring.project` the only place that names concrete adapters. A run on the embedded
model that needs no judge loads no model library.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.definitions import CacheRule
from loomgit.domain.keys import HASH_KEY
from loomgit.domain.passages import RETRIEVED
from loomgit.domain.place import Problem
from loomgit.errors import ProblemsFound, UserError
from loomgit.evaluators import registry
from loomgit.gateway.budget import Budget
from loomgit.gateway.call_locks import CallLocks
from loomgit.gateway.cassette import Cassette, cassette_of, origin_of, parse_entries
from loomgit.gateway.chain import Chain, Lanes, Recording, build
from loomgit.gateway.reply_store import FILE, ReplyStore
from loomgit.gateway.stand_in import StandIn
from loomgit.pipeline.evaluate import Panel
from loomgit.pipeline.loaded_row import example_output, loaded_row
from loomgit.pipeline.output import OutputReader
from loomgit.pipeline.retrieval import Retrieval
from loomgit.pipeline.stages import FailurePolicy
from loomgit.pipeline.transform import Transformer
from loomgit.retrieval.registry import open_retriever
from loomgit.rows.quarantine import Quarantine
from loomgit.rows.sinks import open_sink
from loomgit.rows.sources import open_source
from loomgit.rows.spool import Spool
from loomgit.rows.sql import QueryError
from loomgit.wiring.documents import read_documents
from loomgit.wiring.planning import Planning, own_judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from loomgit.domain.definitions import EvaluatorSpec, Pipeline, Transform
    from loomgit.domain.models import Completion, Purpose, Request
    from loomgit.domain.ports import Evaluator, Gateway, QueryValues, Sink, Source
    from loomgit.domain.records import Record, RefusedRow
    from loomgit.domain.settings import Replay
    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.gateway.cassette import Entry
    from loomgit.gateway.once import Claims
    from loomgit.pipeline.plan import Plan
    from loomgit.pipeline.prompt import Prompt

AUTO_CONCURRENCY = 64  # calls in flight where a pipeline says `auto`


class Assembly(Planning):
    """Makes what one run of a pipeline works with."""

    def gateway(
        self,
        plan: Plan,
        *,
        replay: Replay = "off",
        recording: Recording | None = None,
        budget: float | Budget | None = None,
        check_keys: bool = True,
        claims: Claims | None = None,
        replies: ReplyStore | None = None,
        outage: float | None = None,
    ) -> Chain:
        """The gateway of this run; a budget in USD may be shared with other runs as a `Budget`,
        calls with other processes as `claims`, the project's `replies` with other gateways; a model
        that is out for `outage` seconds is given up. `recording` stands for the tree's own cassette
        where another one is recorded in.

        A pinned snapshot has the settings of its model where it has none of its own. Raises Denied
        for a key that is seen to be missing (where something is asked, and `check_keys`), Untrusted
        for a revision that sends a key elsewhere, UserError for a budget with a model of unknown
        price, ProblemsFound for a damaged cassette.
        """
        settings, pipeline = self.wiring.settings, plan.pipeline
        transform, asked = pipeline.transform, plan.sampling.model
        lanes = self.lanes(plan)
        named = [asked, *transform.fallback_models]
        if plan.judge is not None:
            named.append(plan.judge)
        if replay != "only":
            self.wiring.trust.check_models(self.wiring, [plan.model, *named])
            self.wiring.trust.check_params(self.wiring, pipeline)
        if check_keys and replay in ("off", "record"):
            for model in named:
                lanes.check(model)
        return build(
            lanes,
            concurrency=transform.concurrency or settings.defaults.concurrency,
            store=replies or self.replies(),
            rules=self.cache_rules(pipeline),
            claims=claims,
            locks=CallLocks(self._cache_folder() / "calls.lock"),
            recording=recording or self.recording(plan, replay),
            budget=Budget(budget) if isinstance(budget, float | int) else budget,
            fallbacks={asked: transform.fallback_models} if transform.fallback_models else None,
            models=named,
            outage=outage,
        )

    def recording(
        self, plan: Plan, mode: Replay, elsewhere: Mapping[str, Entry] | None = None
    ) -> Recording | None:
        """The cassette of this tree in use, with what is recorded `elsewhere` behind it; None where
        none is used. Raises ProblemsFound for a damaged one."""
        if mode == "off":
            return None
        shown = cassette_of(plan.pipeline.name)
        cassette = Cassette(self.wiring.root / shown, shown, elsewhere)
        context = {version.path: version.blob for version in plan.context.values()}
        return Recording(cassette, mode, origin_of(plan.prompt.blob, context))

    def recorded(self, plan: Plan) -> Mapping[str, Entry]:
        """What this tree holds recorded. Raises ProblemsFound where that is damaged."""
        shown = cassette_of(plan.pipeline.name)
        return parse_entries(self.wiring.tree.read([shown]).get(shown, b""), shown)

    def lanes(self, plan: Plan) -> Lanes:
        """The ways to the models of a plan, with their prices."""
        wiring, asked = self.wiring, plan.sampling.model
        models = dict(wiring.settings.models)
        if plan.model in models:
            models.setdefault(asked, models[plan.model])
        return Lanes(models, wiring.environment.reveal, wiring.environment.variables)

    def cache_rules(self, pipeline: Pipeline) -> dict[Purpose, CacheRule]:
        """Whether, and for how long, kept replies are used again."""
        rule = CacheRule(enabled=self.wiring.settings.defaults.cache)
        return {"transform": pipeline.transform.cache or rule, "evaluate": rule}

    def replies(self) -> ReplyStore:
        """The project's replies that were kept.

        If the cache is committed, another one in the `.git` folder takes its place: a change could
        bring in replies that no model gave.
        """
        if self._has_committed_cache():
            self.wiring.warn("the committed .loom/cache is not used")
        return ReplyStore(self._cache_folder() / FILE, warn=self.wiring.warn)

    def _has_committed_cache(self) -> bool:
        path = self.wiring.store.folder / "cache" / FILE
        return path.exists() and self.wiring.is_committed(f".loom/cache/{FILE}")

    def _cache_folder(self) -> Path:
        wiring = self.wiring
        committed = self._has_committed_cache()
        folder = wiring.repository.common_dir / "loom" if committed else wiring.store.folder
        return folder / "cache"

    def transformer(
        self, plan: Plan, prompt: Prompt, gateway: Gateway, context_field: str | None
    ) -> Transformer:
        """The transform of a plan."""
        return Transformer(
            prompt,
            gateway,
            plan.sampling,
            context={name: file.text for name, file in plan.context.items()},
            context_field=context_field,
            variables=plan.variables,
            reader=OutputReader(plan.output),
            stand_in=self._stand_in(plan),
        )

    def _stand_in(self, plan: Plan) -> StandIn | None:
        """What `cache.key_fields` make of a record, where the pipeline has them."""
        rule = plan.pipeline.transform.cache
        if rule is None or not rule.key_fields:
            return None
        searched = {f"{RETRIEVED}:{path}": blob for path, blob in plan.documents.items()}
        return StandIn(
            rule.key_fields,
            prompt=plan.prompt.blob,
            context={name: file.blob for name, file in plan.context.items()} | searched,
            variables=plan.variables,
            warn=self.wiring.warn,
        )

    def retrieval(self, plan: Plan, key: str = "transform") -> Retrieval | None:
        """What gives the records their documents, None where the pipeline searches none; `key` is
        where the transform stands in the file.

        Raises ProblemsFound for documents that cannot be searched, WorldError.
        """
        transform, pipeline, tree = plan.pipeline.transform, plan.pipeline, self.wiring.tree
        retrieve, field = transform.retrieve, transform.documents_field
        if retrieve is None or field is None:
            return None

        def read() -> dict[str, str]:
            return read_documents(tree, pipeline, key, dict(plan.documents))

        folder = self.wiring.repository.common_dir / "loom" / "documents"
        with placed(pipeline, f"{key}.retrieve.retriever"):
            retriever = open_retriever(retrieve.retriever, plan.documents, read, folder)
        return Retrieval(
            retriever, field=field, query_field=retrieve.query_field, count=retrieve.top_k
        )

    def panel(self, plan: Plan, gateway: Gateway) -> Panel:
        """The evaluators and the gate. Raises ProblemsFound where an evaluator cannot be made,
        Untrusted for a revision that brings code of its own."""
        evaluate, trust = plan.pipeline.evaluate, self.wiring.trust
        trust.check_code(self.wiring, evaluate.evaluators)
        # A tree that is not trusted has the same evaluators, but maybe other modules beside them.
        root = (self.wiring if trust.trusts(self.wiring) else trust.reference).root
        made: list[tuple[EvaluatorSpec, Evaluator]] = []

        def make(spec: EvaluatorSpec) -> None:
            evaluator = registry.build(spec, judge=plan.judge, gateway=gateway, root=root)
            made.append((spec, evaluator))

        if problems := _faults(plan.pipeline, make):
            raise ProblemsFound(problems)
        return Panel(made, evaluate.gate, sample=evaluate.sample)

    def check_evaluators(self, pipeline: Pipeline) -> list[Problem]:
        """The faults of evaluators that show without a call to a model; no code of the project
        runs."""
        defaults = self.wiring.settings.defaults
        model = pipeline.transform.model or defaults.model
        judge = pipeline.evaluate.model or defaults.judge_model or own_judge(model)
        check = partial(registry.check, judge=judge, gateway=_NoGateway(), root=self.wiring.root)
        return _faults(pipeline, check)

    def failure_policy(self, plan: Plan, gateway: Gateway) -> FailurePolicy:
        """`load.on_failure`, ready to use."""
        load = plan.pipeline.load
        if load.on_failure == "retry":
            return FailurePolicy(retries=load.retries)
        if load.on_failure != "fallback" or load.fallback is None:
            return FailurePolicy()
        if load.fallback.transform is None:
            return FailurePolicy(value=load.fallback.value)
        return self._fallback(plan, load.fallback.transform, gateway)

    def _fallback(self, plan: Plan, transform: Transform, gateway: Gateway) -> FailurePolicy:
        pipeline = replace(plan.pipeline, transform=transform)
        second, prompt = self.plan(pipeline, plan.variables, plan.execution_date)
        return FailurePolicy(
            transformer=self.transformer(second, prompt, gateway, transform.documents_field),
            retrieval=self.retrieval(second, "load.fallback"),
        )

    # -- rows

    def source(self, pipeline: Pipeline, values: QueryValues, *, limit: int | None) -> Source:
        """The pipeline's source, cut to `limit` rows where a number is given."""
        limits = [n for n in (pipeline.extract.limit, limit) if n is not None]
        extract = replace(pipeline.extract, limit=min(limits, default=None))
        trust = self.wiring.trust
        trust.check_source(self.wiring, extract.source)
        with placed(pipeline, "extract.source"):
            return open_source(
                extract,
                root=self.wiring.root,
                values=values,
                connections=self.wiring.connection,
                confined=not trust.trusts(self.wiring),
            )

    @contextmanager
    def reading(self, pipeline: Pipeline) -> Iterator[None]:
        """Around the use of a source: an error that names no line of a file gets the place of
        `extract.source`, or of `extract.query`."""
        try:
            yield
        except ProblemsFound:
            raise
        except UserError as error:
            if error.documents()[0]["line"] is not None:
                raise
            key = "extract.query" if pipeline.extract.query else "extract.source"
            problem = Problem(pipeline.place(key), f"{key}: {error.message}", error.hint)
            raise ProblemsFound([problem]) from error

    def check_destination(
        self,
        pipeline: Pipeline,
        key: tuple[str, ...],
        first: Sequence[Record],
        output: JsonMapping | None,
    ) -> None:
        """Raise where the destination may not be written, or would refuse rows like those of the
        `first` records; writes nothing."""
        with TemporaryDirectory(prefix="loom-") as folder:
            self.sink(pipeline, key, first, output=output, stage=Path(folder), run="check")

    def sink(
        self,
        pipeline: Pipeline,
        key: tuple[str, ...],
        first: Sequence[Record],
        *,
        output: JsonMapping | None,
        stage: Path,
        run: str,
    ) -> Sink:
        """The pipeline's destination, checked; `stage` is a folder for its temporary files.

        `key` are the fields that identify a record, empty where it is identified by a hash. The
        `first` records and the declared `output` show what rows will be loaded; where `load.schema`
        is silent, the output says which columns there will be.
        """
        load, fields = pipeline.load, example_output(output)
        examples = [loaded_row(load, key, each.key, each.input, fields, {}) for each in first]
        if examples:
            key = key or (HASH_KEY,)
        with placed(pipeline, "load.destination"):
            sink = open_sink(
                replace(load, schema=load.schema or output),
                key=key,
                examples=examples,
                root=self.wiring.root,
                stage=stage,
                run=run,
                connections=self.wiring.connection,
            )
            sink.check()
        return sink

    def spool(self, state: Path, rows: Iterator[JsonObject | RefusedRow]) -> Spool:
        """Write the rows to the run's spool (blocking)."""
        return Spool.write(state / "spool.jsonl.zst", rows)

    def quarantine(self, pipeline: Pipeline) -> Quarantine:
        """The file that holds the pipeline's rejected records."""
        return Quarantine(
            self.wiring.store.folder / "state" / "quarantine" / f"{pipeline.name}.jsonl"
        )


def _faults(pipeline: Pipeline, make: Callable[[EvaluatorSpec], None]) -> list[Problem]:
    """The evaluators that `make` refuses, each with its place."""
    problems = []
    for number, spec in enumerate(pipeline.evaluate.evaluators):
        try:
            make(spec)
        except UserError as error:
            place = pipeline.place(f"evaluate.evaluators.{number}")
            problems.append(Problem(place, f"evaluate: {error.message}", error.hint))
    return problems


class _NoGateway:
    """Stands where evaluators are made and not asked."""

    async def complete(self, request: Request) -> Completion:
        raise AssertionError(request.model)

    async def close(self) -> None:
        pass


@contextmanager
def placed(pipeline: Pipeline, key: str) -> Iterator[None]:
    """Put the place of `key` before what a user must change there."""
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
