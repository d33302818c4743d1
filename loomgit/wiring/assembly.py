"""Builds the adapters of a run from a pipeline's definition: gateway, evaluators, source and sink.

Only `loomgit.wiring` names concrete adapters. A run that uses the embedded model and no judge does
not import a model library.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.definitions import CacheRule
from loomgit.domain.keys import HASH_KEY
from loomgit.domain.place import Problem
from loomgit.errors import ProblemsFound, UserError
from loomgit.evaluators import registry
from loomgit.gateway.budget import Budget
from loomgit.gateway.call_locks import CallLocks
from loomgit.gateway.cassette import Cassette, cassette_path, hash_origin, parse_entries
from loomgit.gateway.chain import Chain, Lanes, Recording, build
from loomgit.gateway.reply_store import FILE, ReplyStore
from loomgit.pipeline.evaluate import Panel
from loomgit.pipeline.loaded_row import example_rows
from loomgit.pipeline.stages import FailurePolicy
from loomgit.rows.destination_lock import lock_destination
from loomgit.rows.sinks import open_sink
from loomgit.rows.sources import open_source
from loomgit.wiring.fallback_policy import policy_without_model
from loomgit.wiring.placed_errors import placed, placed_source_errors
from loomgit.wiring.planning import default_judge
from loomgit.wiring.transformers import Transformers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from loomgit.domain.cursor_window import CursorReading, CursorWindow
    from loomgit.domain.definitions import EvaluatorSpec, Pipeline, Transform
    from loomgit.domain.models import Completion, Purpose, Request
    from loomgit.domain.ports import Evaluator, Gateway, QueryValues, Sink, Source
    from loomgit.domain.records import Record
    from loomgit.domain.settings import Replay
    from loomgit.domain.values import JsonMapping
    from loomgit.domain.watermarks import LoadedParts
    from loomgit.gateway.cassette import CassetteEntry
    from loomgit.gateway.shared_calls import CallClaims
    from loomgit.pipeline.plan import Plan

AUTO_CONCURRENCY = 64  # the number of concurrent calls if `concurrency` is `auto`


class Assembly(Transformers):
    """Builds the objects that one run of a pipeline uses."""

    def concurrency(self, pipeline: Pipeline) -> int:
        """Return the maximum number of concurrent calls of a pipeline."""
        configured = pipeline.transform.concurrency
        return configured or self.wiring.settings.defaults.concurrency or AUTO_CONCURRENCY

    def gateway(
        self,
        plan: Plan,
        *,
        replay: Replay = "off",
        recording: Recording | None = None,
        budget: float | Budget | None = None,
        check_keys: bool = True,
        claims: CallClaims | None = None,
        replies: ReplyStore | None = None,
        outage: float | None = None,
    ) -> Chain:
        """Return the gateway of a run.

        `budget` is in USD; several runs can share a `Budget`. `claims` stops two processes from
        making the same call. `replies` and `recording` replace the project's cached replies and the
        revision's cassette. A model's circuit breaker opens after `outage` seconds of failures.

        Raises Denied if a key is missing (checked only if `check_keys` is true and the run calls
        models). Raises Untrusted if an untrusted revision sends a key to another address, UserError
        if there is a budget but a model's price is unknown, and ProblemsFound if the cassette is
        damaged.
        """
        settings, pipeline = self.wiring.settings, plan.pipeline
        transform, called = pipeline.transform, plan.sampling.model
        lanes = self.lanes(plan)
        models = [*filter(None, (called, *transform.fallback_models, plan.judge))]
        if replay != "only":
            self.wiring.trust.check_calls(self.wiring, plan)
        if check_keys and replay in ("off", "record"):
            for model in models:
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
            fallbacks={called: transform.fallback_models} if transform.fallback_models else None,
            models=models,
            outage=outage,
        )

    def recording(
        self, plan: Plan, mode: Replay, elsewhere: Mapping[str, CassetteEntry] | None = None
    ) -> Recording | None:
        """Return the revision's cassette and the replay `mode`, or None if `mode` is `off`.

        If the cassette has no entry for a call, the entry in `elsewhere` with the same key is
        replayed. Raises ProblemsFound if the cassette is damaged.
        """
        if mode == "off":
            return None
        path = cassette_path(plan.pipeline.name)
        cassette = Cassette(self.wiring.root / path, path, elsewhere)
        context = {version.path: version.blob for version in plan.context.values()}
        return Recording(cassette, mode, hash_origin(plan.prompt.blob, context))

    def recorded(self, plan: Plan) -> Mapping[str, CassetteEntry]:
        """Return the cassette's entries by key. Raises ProblemsFound if the cassette is damaged."""
        path = cassette_path(plan.pipeline.name)
        return parse_entries(self.wiring.tree.read([path]).get(path, b""), path)

    def lanes(self, plan: Plan) -> Lanes:
        """Return the lanes (the connections to the providers) for a plan's models, with prices.

        If a pinned model snapshot has no settings, the settings of its model apply.
        """
        wiring, called = self.wiring, plan.sampling.model
        models = dict(wiring.settings.models)
        if plan.model in models:
            models.setdefault(called, models[plan.model])
        return Lanes(models, wiring.environment.reveal, wiring.environment.variables)

    def cache_rules(self, pipeline: Pipeline) -> dict[Purpose, CacheRule]:
        """Return the cache rules for the calls of the stages `transform` and `evaluate`."""
        rule = CacheRule(enabled=self.wiring.settings.defaults.cache)
        return {"transform": pipeline.transform.cache or rule, "evaluate": rule}

    def replies(self) -> ReplyStore:
        """Return the project's cached replies.

        A committed `.loom/cache` is not used, because a commit could add replies that no model
        returned. A cache in the `.git` folder is used instead.
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

    def panel(self, plan: Plan, gateway: Gateway) -> Panel:
        """Return the evaluators and the gate. Raises ProblemsFound if an evaluator cannot be built,
        and Untrusted if an untrusted revision changes the evaluator code."""
        evaluate, trust = plan.pipeline.evaluate, self.wiring.trust
        trust.check_code(self.wiring, evaluate.evaluators)
        # `check_code` checks only evaluator code. Other modules must come from a trusted tree.
        root = (self.wiring if trust.trusts(self.wiring) else trust.reference).root
        evaluators: list[tuple[EvaluatorSpec, Evaluator]] = []

        def build_evaluator(spec: EvaluatorSpec) -> None:
            evaluator = registry.build_evaluator(spec, judge=plan.judge, gateway=gateway, root=root)
            evaluators.append((spec, evaluator))

        if problems := _evaluator_problems(plan.pipeline, build_evaluator):
            raise ProblemsFound(problems)
        return Panel(evaluators, evaluate.gate, sample=evaluate.sample)

    def check_evaluators(self, pipeline: Pipeline) -> list[Problem]:
        """Return the problems of the evaluators. Calls no model and runs no code of the project."""
        defaults = self.wiring.settings.defaults
        model = pipeline.transform.model or defaults.model
        judge = pipeline.evaluate.model or defaults.judge_model
        judge = judge or default_judge(model, self.wiring.settings.models)
        check = partial(
            registry.check_evaluator, judge=judge, gateway=_NoGateway(), root=self.wiring.root
        )
        return _evaluator_problems(pipeline, check)

    def failure_policy(self, plan: Plan, gateway: Gateway) -> FailurePolicy:
        """Return the policy for failed records that `load.on_failure` defines."""
        load = plan.pipeline.load
        if load.on_failure == "retry":
            return FailurePolicy(retries=load.retries)
        if load.on_failure != "fallback" or load.fallback is None:
            return FailurePolicy()
        if load.fallback.transform is None:
            return policy_without_model(plan.pipeline, plan.output)
        return self._fallback(plan, load.fallback.transform, gateway)

    def _fallback(self, plan: Plan, transform: Transform, gateway: Gateway) -> FailurePolicy:
        if transform.type == "program" and transform.output is None:
            transform = replace(transform, output=plan.output)  # the rows have the same columns
        pipeline = replace(plan.pipeline, transform=transform)
        fallback, prompt = self.plan(pipeline, plan.variables, plan.execution_date)
        return FailurePolicy(
            transformer=self.transformer(fallback, prompt, gateway, transform.documents_field),
            retrieval=self.retrieval(fallback, "load.fallback"),
        )

    # -- rows

    def source(
        self,
        pipeline: Pipeline,
        values: QueryValues,
        *,
        limit: int | None,
        window: CursorWindow | None = None,
        reading: CursorReading | None = None,
    ) -> Source:
        """Return the pipeline's source, with at most `limit` rows if `limit` is a number.

        If `window` is given, the source has only the rows in the window (see `open_source`).
        """
        limits = [n for n in (pipeline.extract.limit, limit) if n is not None]
        extract = replace(pipeline.extract, limit=min(limits, default=None))
        trust = self.wiring.trust
        trust.check_source(self.wiring, extract)
        with placed(pipeline, "extract.source"):
            return open_source(
                extract,
                root=self.wiring.root,
                values=values,
                connections=self.wiring.connections,
                confined=not trust.trusts(self.wiring),
                window=window,
                reading=reading,
            )

    def reading(self, pipeline: Pipeline) -> AbstractContextManager[None]:
        """Return a context for reading a source; see `placed_source_errors`."""
        return placed_source_errors(pipeline)

    def check_destination(
        self,
        pipeline: Pipeline,
        key: tuple[str, ...],
        first: Sequence[Record],
        output: JsonMapping | None,
    ) -> None:
        """Check the destination without writing to it.

        Raises LoomError if the destination is not writable, or if it cannot store the example rows
        (see `sink`).
        """
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
        loaded: LoadedParts | None = None,
    ) -> Sink:
        """Return the pipeline's destination, checked. `stage` is a folder for its temporary files.

        `key` lists the fields that identify a record, and is empty if a hash identifies the record.
        Example rows for the check are made from the `first` records and the declared `output`. If
        `load.schema` is missing, the output defines the columns.
        """
        load, examples = pipeline.load, example_rows(pipeline, key, first, output)
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
                connections=self.wiring.connections,
                loaded=loaded,
            )
            sink.check()
        return sink

    def lock(self, pipeline: Pipeline) -> AbstractContextManager[Callable[[], None]]:
        """Return a context that excludes other runs of the pipeline from its destination.

        It yields a function that raises WorldError if the lock is lost.
        """
        connections = self.wiring.connections
        return lock_destination(pipeline, root=self.wiring.root, connections=connections)


def _evaluator_problems(
    pipeline: Pipeline, check: Callable[[EvaluatorSpec], None]
) -> list[Problem]:
    """Return a problem for each evaluator for which `check` raises UserError."""
    problems = []
    for number, spec in enumerate(pipeline.evaluate.evaluators):
        try:
            check(spec)
        except UserError as error:
            place = pipeline.place(f"evaluate.evaluators.{number}")
            problems.append(Problem(place, f"evaluate: {error.message}", error.hint))
    return problems


class _NoGateway:
    """A gateway for evaluators that are only built to be checked. It is never called."""

    async def complete(self, request: Request) -> Completion:
        raise AssertionError(request.model)

    async def close(self) -> None:
        pass
