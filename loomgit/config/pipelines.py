"""Parse the text of a pipeline file to a definition, or report all problems of the file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loomgit.config.document import dotted
from loomgit.config.evaluators import duplicate_name_problems, evaluator_problems, evaluator_spec
from loomgit.config.file_model import missing_key, problems_error, validate
from loomgit.config.monitoring_model import MonitoringModel
from loomgit.config.output_schema import object_schema
from loomgit.config.pipeline_model import (
    ConstantModel,
    ContextField,
    EvaluateModel,
    ExtractiveModel,
    ExtractModel,
    GateModel,
    LoadModel,
    PipelineModel,
    TransformModel,
)
from loomgit.config.yaml_text import parse_yaml
from loomgit.domain.definitions import (
    Alert,
    CacheRule,
    Evaluate,
    Extract,
    ExtractiveFallback,
    Fallback,
    Gate,
    HttpOptions,
    Incremental,
    Load,
    Monitoring,
    Pipeline,
    Retrieve,
    Transform,
)
from loomgit.domain.models import RESERVED_PARAMS, SECRET_PARAM
from loomgit.domain.suggestions import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from loomgit.config.document import Document, Path
    from loomgit.config.evaluator_model import EvaluatorModel
    from loomgit.domain.place import Place, Places, Problem

_VERSION_OR_TEMPLATE = re.compile(r"@|\{\{")
BATCH_SIZE = 50
BATCH_SIZE_WITHOUT_MODEL = 1000
NO_TRANSFORM = Transform("none", batch_size=BATCH_SIZE_WITHOUT_MODEL)
KEYS = frozenset(TransformModel.keys())

# The keys that only some types of transforms accept. Each key is mapped to these types.
TYPES_BY_KEY = {
    "retrieve": ("rag",),
    "app": ("program",),
    "version": ("program",),
    **dict.fromkeys(
        (
            "prompt",
            "prompt_version",
            "context",
            "model",
            "model_version",
            "fallback_models",
            "temperature",
            "seed",
            "max_tokens",
        ),
        ("ai", "rag"),
    ),
}


def parse_pipeline(
    text: str, path: str, *, known_evaluators: Collection[str] = frozenset()
) -> Pipeline:
    """Parse a pipeline; `path` is relative to the project and appears in messages.

    `known_evaluators` contains the evaluator types that plugins provide. Raises ProblemsFound with
    all problems.
    """
    document = parse_yaml(text, path)
    model = validate(PipelineModel, document)
    problems = [*document.problems, *_rules(document, known_evaluators)]
    if isinstance(model, list):
        raise problems_error([*problems, *model])
    if problems:
        raise problems_error(problems)
    return _pipeline(model, document)


def evaluator_paths(document: Document) -> list[Path]:
    """Return the path of keys to each evaluator, such as `("evaluate", "evaluators", 0)`.

    `evaluate` can be a list of evaluators (short form) or a map with the key `evaluators`.
    """
    evaluate = document.find(("evaluate",))
    path: Path = ("evaluate",) if isinstance(evaluate, list) else ("evaluate", "evaluators")
    items = document.find(path)
    return [(*path, index) for index in range(len(items))] if isinstance(items, list) else []


def _rules(document: Document, known: Collection[str]) -> Iterator[Problem]:
    """Yield the problems that the pydantic model cannot detect, such as conflicting keys."""
    yield from _transform_rules(document, ("transform",))
    if document.find(("load", "fallback", "value")) is None:
        yield from _transform_rules(document, ("load", "fallback"))
    evaluators = evaluator_paths(document)
    for path in evaluators:
        yield from evaluator_problems(document, path, known)
    yield from duplicate_name_problems(document, evaluators)
    inner, outer = ("evaluate", "quality_gate"), ("load", "quality_gate")
    if document.find(inner) is not None and document.find(outer) is not None:
        message = "evaluate.quality_gate is also set"
        yield document.problem(outer, message, "remove one of them")
    for path in (inner, outer):
        threshold = (*path, "threshold")
        kind = document.find((*path, "type"))
        if document.find(threshold) is not None and kind not in (None, "weighted"):
            message = f"'{kind}' does not accept a threshold"
            yield document.problem(threshold, message, "only 'weighted' accepts a threshold")


def _param_rules(document: Document, path: Path, params: object) -> Iterator[Problem]:
    """Yield a problem for each parameter that is a secret or that Loom sets itself.

    Secrets are found at any depth. Parameters that Loom sets itself are found only at the top level
    of `params`.
    """
    if not isinstance(params, dict):
        return
    for name, value in params.items():
        if path[-1] == "params" and name in RESERVED_PARAMS and not SECRET_PARAM.search(name):
            message = f"params: '{name}' is not passed on"
            hint = "params are for the provider's own parameters, such as top_p"
            yield document.problem((*path, name), message, hint)
        elif isinstance(name, str) and SECRET_PARAM.search(name):
            message = f"params: '{name}' is a secret, but params are recorded with each run"
            hint = "set the key as `api_key` under `models` in .loom/config.yaml"
            yield document.problem((*path, name), message, hint)
        else:
            yield from _param_rules(document, (*path, name), value)


def _transform_rules(document: Document, path: Path) -> Iterator[Problem]:
    transform = document.find(path)
    if not isinstance(transform, dict):
        return
    yield from _param_rules(document, (*path, "params"), transform.get("params"))
    kind = document.find((*path, "type"))
    kind = kind if kind is not None else "ai"
    if not isinstance(kind, str):
        return
    required = {"ai": "prompt", "rag": "prompt", "program": "app"}.get(kind)
    if required is None:
        return  # the pydantic model already reports the unknown type
    for key, kinds in TYPES_BY_KEY.items():
        if kind not in kinds and document.find((*path, key)) is not None:
            types = " and ".join(f"'{accepting}'" for accepting in kinds)
            message = f"a transform of type '{kind}' does not accept {key}"
            yield document.problem((*path, key), message, f"{key} is for type {types}")
    if document.find((*path, required)) is None:
        misspelt = [key for key in transform if nearest(key, [required]) and key not in KEYS]
        if not misspelt:
            yield missing_key(document, (*path, required))


def _pipeline(model: PipelineModel, document: Document) -> Pipeline:
    evaluate = model.evaluate
    if not isinstance(evaluate, EvaluateModel):
        evaluate = EvaluateModel.model_construct(evaluators=evaluate)
    return Pipeline(
        name=model.name,
        path=document.path,
        extract=_extract(model.extract),
        transform=NO_TRANSFORM if model.transform is None else _transform(model.transform),
        load=_load(model.load),
        evaluate=_evaluate(evaluate, model.load.quality_gate),
        monitoring=_monitoring(model.monitoring or MonitoringModel.model_construct()),
        version=model.version,
        description=model.description,
        depends_on=model.depends_on,
        tags=model.tags,
        vars=model.vars,
        max_failure_rate=model.max_failure_rate,
        places=_places(document),
    )


def _places(document: Document) -> Places:
    """Return a map from each dotted path to its position in the file.

    A path in a short form also has an entry for the long form, such as `evaluate.evaluators.0` for
    `evaluate.0`.
    """
    places = document.places()
    if isinstance(document.find(("evaluate",)), list):
        for key, place in list(places.items()):
            if key.startswith("evaluate."):
                places[f"evaluate.evaluators.{key.removeprefix('evaluate.')}"] = place
    if "load.quality_gate" in places:
        places["evaluate.quality_gate"] = places["load.quality_gate"]
    return places


def _extract(model: ExtractModel) -> Extract:
    incremental = model.incremental
    return Extract(
        source=model.source,
        query=model.query,
        key=model.key,
        incremental=Incremental(incremental.cursor, incremental.lag, incremental.initial)
        if incremental
        else None,
        http=HttpOptions(
            paginator=model.paginator,
            data_selector=model.data_selector,
            resolve=model.resolve,
            headers=model.headers,
            params=model.params,
        ),
        limit=model.limit,
        snapshot=model.snapshot,
    )


def _transform(model: TransformModel) -> Transform:
    context = model.context
    field = context.field if isinstance(context, ContextField) else None
    retrieve = model.retrieve
    cache = model.cache
    return Transform(
        type=model.type,
        prompt=model.prompt,
        prompt_version=model.prompt_version,
        context=() if isinstance(context, ContextField) else context,
        context_field=field,
        retrieve=Retrieve(
            retrieve.documents, retrieve.top_k, retrieve.query_field, retrieve.retriever
        )
        if retrieve
        else None,
        model=model.model,
        model_version=model.model_version,
        fallback_models=model.fallback_models,
        temperature=model.temperature,
        seed=model.seed,
        max_tokens=model.max_tokens,
        params=model.params,
        output=object_schema(model.output) if model.output is not None else None,
        batch_size=model.batch_size
        or (BATCH_SIZE_WITHOUT_MODEL if model.type == "program" else BATCH_SIZE),
        concurrency=model.concurrency,
        cache=CacheRule(cache.enabled, cache.ttl, cache.key_fields) if cache else None,
        app=model.app,
        version=model.version,
    )


def _gate(model: GateModel | None) -> Gate:
    if model is None:
        return Gate()
    if model.threshold is None:
        return Gate(model.type)
    return Gate(model.type, model.threshold)


def _evaluate(model: EvaluateModel, load_gate: GateModel | None) -> Evaluate:
    evaluators: tuple[EvaluatorModel, ...] = model.evaluators
    return Evaluate(
        evaluators=tuple(evaluator_spec(evaluator) for evaluator in evaluators),
        gate=_gate(model.quality_gate or load_gate),
        batch_threshold=model.batch_threshold,
        model=model.model,
        sample=model.sample,
    )


def _load(model: LoadModel) -> Load:
    fallback = None
    if isinstance(model.fallback, ConstantModel):
        fallback = Fallback(value=model.fallback.value)
    elif isinstance(model.fallback, ExtractiveModel):
        extract = model.fallback
        fallback = Fallback(
            extractive=ExtractiveFallback(extract.field, extract.output, extract.sentences)
        )
    elif model.fallback is not None:
        fallback = Fallback(transform=_transform(model.fallback))
    return Load(
        destination=model.destination,
        mode=model.mode,
        on_failure=model.on_failure,
        fallback=fallback,
        retries=model.retries,
        include=model.include,
        lineage_columns=model.lineage_columns,
        quarantine=model.quarantine,
        schema=object_schema(model.schema_) if model.schema_ is not None else None,
        evolve=model.evolve,
        on_rejected=model.on_rejected,
    )


def _monitoring(model: MonitoringModel) -> Monitoring:
    return Monitoring(
        cost_budget=model.cost_budget,
        latency_p95=model.latency_sla.p95 if model.latency_sla else None,
        min_score=model.quality_threshold.min_score if model.quality_threshold else None,
        alerts=tuple(
            Alert(alert.type, alert.threshold.value, alert.threshold.relative, alert.channel)
            for alert in model.alerts
        ),
    )


def find_referenced_files(text: str, path: str) -> list[tuple[str, str, Place]]:
    """Return `(dotted key, value, position)` for each key of a pipeline that can name a file.

    `path` is the path of the pipeline file. The text must be YAML, but need not be a valid
    pipeline. Some of the returned values are not files, but URLs or built-in evaluators. Values
    that contain `@` (such as `a.md@v1`) or `{{` are omitted. Raises ProblemsFound if the text is
    not YAML.
    """
    document = parse_yaml(text, path)
    keys: list[Path] = []
    for transform in (("transform",), ("load", "fallback")):
        if document.find((*transform, "prompt_version")) is None:
            keys.append((*transform, "prompt"))
        context = document.find((*transform, "context"))
        if isinstance(context, list):
            keys += [(*transform, "context", index) for index in range(len(context))]
    keys.append(("extract", "source"))
    keys += [(*evaluator, "type") for evaluator in evaluator_paths(document)]
    return [
        (dotted(key), name, document.place(key))
        for key in keys
        if isinstance(name := document.find(key), str) and not _VERSION_OR_TEMPLATE.search(name)
    ]
