"""Assembly: a pipeline made ready to run, from its definition to gateway, evaluators and rows.

With `loomgit.wiring` the only place that names concrete adapters. A run on the embedded model that
needs no judge loads no model library.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from loomgit.config.load import parse_front_matter
from loomgit.domain.keys import HASH_KEY, find_key
from loomgit.domain.place import Problem
from loomgit.domain.settings import EMBEDDED_MODEL
from loomgit.errors import ProblemsFound, UserError
from loomgit.evaluators import registry
from loomgit.gateway.embedded import EmbeddedGateway
from loomgit.gateway.live import LiteLlmGateway
from loomgit.gateway.prices import Prices
from loomgit.gateway.retry import RetryGateway
from loomgit.gateway.routing import RoutingGateway
from loomgit.limits import unsupported
from loomgit.pipeline.evaluate import Panel
from loomgit.pipeline.output import OutputReader
from loomgit.pipeline.plan import Plan
from loomgit.pipeline.prompt import Prompt, split_front_matter
from loomgit.pipeline.stages import FailurePolicy
from loomgit.pipeline.transform import Transformer
from loomgit.rows.quarantine import Quarantine
from loomgit.rows.sinks import open_sink
from loomgit.rows.sources import open_source
from loomgit.rows.spool import Spool
from loomgit.rows.sql import QueryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from loomgit.domain.definitions import EvaluatorSpec, FrontMatter, Pipeline, Transform
    from loomgit.domain.models import Completion, Request
    from loomgit.domain.ports import Evaluator, Gateway, QueryValues, Sink, Source
    from loomgit.domain.values import JsonMapping, JsonObject
    from loomgit.domain.versions import FileVersion
    from loomgit.wiring import Wiring

AUTO_CONCURRENCY = 16  # calls in flight where a pipeline says `auto`


class Assembly:
    """Makes what one run of a pipeline works with."""

    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring

    def gateway(self, plan: Plan) -> Gateway:
        """A gateway of this run: retry around the lanes, each lane made when it is first used.

        A pinned snapshot has the settings of its model where it has none of its own.
        """
        models = dict(self.wiring.settings.models)
        if plan.model in models:
            models.setdefault(plan.sampling.model, models[plan.model])
        prices = Prices(models)

        def embedded() -> Gateway:
            if EMBEDDED_MODEL not in models:
                return EmbeddedGateway()
            return EmbeddedGateway(lambda u: prices.cost(EMBEDDED_MODEL, EMBEDDED_MODEL, u))

        def live() -> Gateway:
            environment = self.wiring.environment
            return LiteLlmGateway(
                models, prices, reveal=environment.reveal, environment=environment.variables
            )

        return RetryGateway(RoutingGateway({"embedded": embedded, "litellm": live}, models))

    # -- a pipeline made ready

    def plan(
        self, pipeline: Pipeline, variables: Mapping[str, str], execution_date: datetime
    ) -> tuple[Plan, Prompt]:
        """The contents, model and variables of a run. Raises ProblemsFound with all faults."""
        transform = pipeline.transform
        problems: list[Problem] = [*unsupported(pipeline)]
        assert transform.prompt is not None  # the pipeline file was checked
        asked = {"transform.prompt": (transform.prompt, transform.prompt_version)} | {
            f"transform.context.{number}": (file.path, file.version)
            for number, file in enumerate(transform.context)
        }
        prompt_file, *files = self._read(pipeline, asked, problems)
        context = {
            file.name: found
            for file, found in zip(transform.context, files, strict=True)
            if found is not None
        }
        if problems or prompt_file is None:
            raise ProblemsFound(problems)
        prompt = self.prompt(prompt_file)
        names = [*context, *([transform.context_field] if transform.context_field else [])]
        faults = prompt.check(context=names, variables=variables, fields=None)
        if faults:
            raise ProblemsFound(faults)
        return self._plan(pipeline, prompt_file, prompt, context, variables, execution_date), prompt

    def _plan(
        self,
        pipeline: Pipeline,
        prompt_file: FileVersion,
        prompt: Prompt,
        context: dict[str, FileVersion],
        variables: Mapping[str, str],
        execution_date: datetime,
    ) -> Plan:
        defaults = self.wiring.settings.defaults
        front = self.front_matter(prompt_file)
        model = pipeline.transform.model or front.model or defaults.model
        scripts = [
            spec.type.partition(":")[0] for spec in pipeline.evaluate.evaluators if ":" in spec.type
        ]
        included = self._include_paths(prompt_file, prompt)
        instead = pipeline.load.fallback.transform if pipeline.load.fallback else None
        others = (
            [] if instead is None else [instead.prompt or "", *(f.path for f in instead.context)]
        )
        here = self.wiring.repository.hash_files([pipeline.path, *scripts, *filter(None, others)])
        return Plan(
            pipeline=pipeline,
            prompt=prompt_file,
            context=context,
            model=model,
            judge=pipeline.evaluate.model or defaults.judge_model or _own_judge(model),
            variables=dict(variables),
            execution_date=execution_date,
            output=dict(pipeline.transform.output or front.output or {}) or None,
            files={**here, **included},
        )

    def _include_paths(self, prompt_file: FileVersion, prompt: Prompt) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in prompt.includes:
            version = self._find_include(prompt_file, name)
            if version is not None:
                found[version.path] = version.blob
        return found

    def _read(
        self,
        pipeline: Pipeline,
        asked: Mapping[str, tuple[str, str | None]],
        problems: list[Problem],
    ) -> list[FileVersion | None]:
        """The (path, version) of each key, read together; None where it became a problem."""
        read: list[FileVersion | None] = []
        found = self.wiring.versions.read_all(list(asked.values()))
        for key, file in zip(asked, found, strict=True):
            if isinstance(file, UserError):
                name = key.removesuffix(f".{key.rpartition('.')[2]}") if key[-1].isdigit() else key
                problems.append(Problem(pipeline.place(key), f"{name}: {file.message}", file.hint))
            read.append(file if not isinstance(file, UserError) else None)
        return read

    def front_matter(self, file: FileVersion) -> FrontMatter:
        """What the prompt says of itself."""
        text, _, _ = split_front_matter(file.text)
        return parse_front_matter(text, file.path)

    def prompt(self, file: FileVersion) -> Prompt:
        """The compiled prompt; what it includes is read at its own version."""

        def include(name: str) -> str | None:
            found = self._find_include(file, name)
            return None if found is None else found.text

        return Prompt(file.path, file.text, include=include)

    def _find_include(self, file: FileVersion, name: str) -> FileVersion | None:
        beside = PurePosixPath(file.former_path or file.path).parent / name
        for path in (beside, PurePosixPath(name)):
            if ".." in path.parts or path.is_absolute():
                continue
            try:
                return self.wiring.versions.read(str(path), file.revision)
            except UserError:
                continue
        return None

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
        )

    def panel(self, plan: Plan, gateway: Gateway) -> Panel:
        """The evaluators and the gate. Raises ProblemsFound where an evaluator cannot be made."""
        evaluate = plan.pipeline.evaluate
        made, problems = self._evaluators(plan.pipeline, plan.judge, gateway)
        if problems:
            raise ProblemsFound(problems)
        return Panel(made, evaluate.gate, sample=evaluate.sample)

    def _evaluators(
        self, pipeline: Pipeline, judge: str | None, gateway: Gateway
    ) -> tuple[list[tuple[EvaluatorSpec, Evaluator]], list[Problem]]:
        made: list[tuple[EvaluatorSpec, Evaluator]] = []
        problems: list[Problem] = []
        root = self.wiring.root
        for number, spec in enumerate(pipeline.evaluate.evaluators):
            try:
                evaluator = registry.build(spec, judge=judge, gateway=gateway, root=root)
                made.append((spec, evaluator))
            except UserError as error:
                place = pipeline.place(f"evaluate.evaluators.{number}")
                problems.append(Problem(place, f"evaluate: {error.message}", error.hint))
        return made, problems

    def check_evaluators(self, pipeline: Pipeline) -> list[Problem]:
        """The faults of evaluators that show when they are made; no model is asked."""
        defaults = self.wiring.settings.defaults
        model = pipeline.transform.model or defaults.model
        judge = pipeline.evaluate.model or defaults.judge_model or _own_judge(model)
        return self._evaluators(pipeline, judge, _NoGateway())[1]

    def failure_policy(self, plan: Plan, gateway: Gateway) -> FailurePolicy:
        """`load.on_failure`, ready to use."""
        load = plan.pipeline.load
        if load.on_failure == "retry":
            return FailurePolicy(retries=load.retries)
        if load.on_failure != "fallback" or load.fallback is None:
            return FailurePolicy()
        if load.fallback.transform is None:
            return FailurePolicy(value=load.fallback.value)
        return FailurePolicy(transformer=self._fallback(plan, load.fallback.transform, gateway))

    def _fallback(self, plan: Plan, transform: Transform, gateway: Gateway) -> Transformer:
        pipeline = replace(plan.pipeline, transform=transform)
        second, prompt = self.plan(pipeline, plan.variables, plan.execution_date)
        return self.transformer(second, prompt, gateway, transform.context_field)

    # -- rows

    def source(self, pipeline: Pipeline, values: QueryValues, *, limit: int | None) -> Source:
        """The pipeline's source, cut to `limit` rows where a number is given."""
        limits = [n for n in (pipeline.extract.limit, limit) if n is not None]
        extract = replace(pipeline.extract, limit=min(limits, default=None))
        with placed(pipeline, "extract.source"):
            return open_source(
                extract, root=self.wiring.root, values=values, connections=self.wiring.connection
            )

    def check_destination(self, pipeline: Pipeline, fields: Sequence[str] | None) -> None:
        """Raise where the destination may not be written; writes nothing."""
        key = find_key(fields or (), pipeline.extract.key) or (HASH_KEY,)
        with TemporaryDirectory(prefix="loom-") as folder:
            output = pipeline.transform.output
            self.sink(pipeline, key, output=output, stage=Path(folder), run="check").check()

    def sink(
        self,
        pipeline: Pipeline,
        key: tuple[str, ...],
        *,
        output: JsonMapping | None,
        stage: Path,
        run: str,
    ) -> Sink:
        """The pipeline's destination; `stage` is a folder for its temporary files.

        Where `load.schema` is silent, the declared `output` says which columns there will be.
        """
        load = replace(pipeline.load, schema=pipeline.load.schema or output)
        with placed(pipeline, "load.destination"):
            return open_sink(
                load,
                key=key,
                root=self.wiring.root,
                stage=stage,
                run=run,
                connections=self.wiring.connection,
            )

    def spool(self, state: Path, rows: Iterator[JsonObject]) -> Spool:
        """Write the rows to the run's spool (blocking)."""
        return Spool.write(state / "spool.jsonl.zst", rows)

    def quarantine(self, pipeline: Pipeline) -> Quarantine:
        """The file that holds the pipeline's rejected records."""
        return Quarantine(
            self.wiring.store.folder / "state" / "quarantine" / f"{pipeline.name}.jsonl"
        )


class _NoGateway:
    """Stands where evaluators are made and not asked."""

    async def complete(self, request: Request) -> Completion:
        raise AssertionError(request.model)

    async def close(self) -> None:
        pass


def _own_judge(model: str) -> str | None:
    """A model judges its own output where no judge is named; the embedded one cannot judge."""
    return None if model == EMBEDDED_MODEL else model


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
