"""A pipeline's text -> its definition, or all of its faults."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loomgit.config.document import dotted
from loomgit.config.evaluators import duplicate_names, evaluator_faults, evaluator_spec
from loomgit.config.output_schema import object_schema
from loomgit.config.parts import all_of, check, missing_key
from loomgit.config.pipeline_model import (
    ConstantModel,
    ContextField,
    EvaluateModel,
    ExtractModel,
    GateModel,
    LoadModel,
    MonitoringModel,
    PipelineModel,
    TransformModel,
)
from loomgit.config.yamltext import parse_yaml
from loomgit.domain.definitions import (
    Alert,
    CacheRule,
    Evaluate,
    Extract,
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
from loomgit.domain.words import nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from loomgit.config.document import Document, Path
    from loomgit.config.evaluator_model import EvaluatorModel
    from loomgit.domain.place import Place, Places, Problem

_NO_PATH = re.compile(r"@|\{\{")  # a version, or a field of the record
KEYS = frozenset(TransformModel.keys())

# What only some types of transform take.
ONLY_FOR = {
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
    """Read a pipeline; `path` is relative to the project, for messages and places.

    `known_evaluators` are the types that plugins bring. Raises ProblemsFound with every fault.
    """
    document = parse_yaml(text, path)
    model = check(PipelineModel, document)
    problems = [*document.problems, *_rules(document, known_evaluators)]
    if isinstance(model, list):
        raise all_of([*problems, *model])
    if problems:
        raise all_of(problems)
    return _pipeline(model, document)


def evaluator_paths(document: Document) -> list[Path]:
    """Where the evaluators stand, in either form of `evaluate`."""
    listed = document.find(("evaluate",))
    where: Path = ("evaluate",) if isinstance(listed, list) else ("evaluate", "evaluators")
    found = document.find(where)
    return [(*where, index) for index in range(len(found))] if isinstance(found, list) else []


def _rules(document: Document, known: Collection[str]) -> Iterator[Problem]:
    """The faults that lie between keys."""
    yield from _transform_rules(document, ("transform",))
    if document.find(("load", "fallback", "value")) is None:
        yield from _transform_rules(document, ("load", "fallback"))
    evaluators = evaluator_paths(document)
    for path in evaluators:
        yield from evaluator_faults(document, path, known)
    yield from duplicate_names(document, evaluators)
    inner, outer = ("evaluate", "quality_gate"), ("load", "quality_gate")
    if document.find(inner) is not None and document.find(outer) is not None:
        yield document.problem(outer, "evaluate.quality_gate says this too", "write it once")
    for path in (inner, outer):
        threshold = (*path, "threshold")
        kind = document.find((*path, "type"))
        if document.find(threshold) is not None and kind not in (None, "weighted"):
            message = f"'{kind}' has no threshold of its own"
            yield document.problem(threshold, message, "only weighted takes one")


def _param_rules(document: Document, path: Path, params: object) -> Iterator[Problem]:
    """Parameters that Loom sets itself, and those that hold a secret, at any depth."""
    if not isinstance(params, dict):
        return
    for name, value in params.items():
        if path[-1] == "params" and name in RESERVED_PARAMS and not SECRET_PARAM.search(name):
            message = f"params: '{name}' is not passed on"
            hint = "params are the provider's own, such as top_p"
            yield document.problem((*path, name), message, hint)
        elif isinstance(name, str) and SECRET_PARAM.search(name):
            message = f"params: '{name}' holds a secret, and params are recorded with each run"
            hint = "give the key as `api_key` under `models` in .loom/config.yaml"
            yield document.problem((*path, name), message, hint)
        else:
            yield from _param_rules(document, (*path, name), value)


def _transform_rules(document: Document, path: Path) -> Iterator[Problem]:
    written = document.find(path)
    if not isinstance(written, dict):
        return
    yield from _param_rules(document, (*path, "params"), written.get("params"))
    kind = document.find((*path, "type"))
    kind = kind if kind is not None else "ai"
    if not isinstance(kind, str):
        return
    needed = {"ai": "prompt", "rag": "prompt", "program": "app"}.get(kind)
    if needed is None:
        return  # an unknown type: the model says so
    for key, kinds in ONLY_FOR.items():
        if kind not in kinds and document.find((*path, key)) is not None:
            takers = " and ".join(f"'{taker}'" for taker in kinds)
            message = f"a transform of type '{kind}' has no {key}"
            yield document.problem((*path, key), message, f"it is for type {takers}")
    if document.find((*path, needed)) is None:
        misspelt = [key for key in written if nearest(key, [needed]) and key not in KEYS]
        if not misspelt:
            yield missing_key(document, (*path, needed))


def _pipeline(model: PipelineModel, document: Document) -> Pipeline:
    written = model.evaluate
    evaluate = (
        written
        if isinstance(written, EvaluateModel)
        else EvaluateModel.model_construct(evaluators=written)
    )
    return Pipeline(
        name=model.name,
        path=document.path,
        extract=_extract(model.extract),
        transform=_transform(model.transform),
        load=_load(model.load),
        evaluate=_evaluate(evaluate, model.load.quality_gate),
        monitoring=_monitoring(model.monitoring or MonitoringModel.model_construct()),
        version=model.version,
        description=model.description,
        depends_on=model.depends_on,
        tags=model.tags,
        max_failure_rate=model.max_failure_rate,
        places=_places(document),
    )


def _places(document: Document) -> Places:
    """Dotted places; those of the short form `evaluate: [...]` under their long names as well."""
    places = document.places()
    if isinstance(document.find(("evaluate",)), list):
        for key, place in list(places.items()):
            if key.startswith("evaluate."):
                places[f"evaluate.evaluators.{key.removeprefix('evaluate.')}"] = place
    if "load.quality_gate" in places:
        places["evaluate.quality_gate"] = places["load.quality_gate"]
    return places


def _extract(model: ExtractModel) -> Extract:
    return Extract(
        source=model.source,
        query=model.query,
        key=model.key,
        incremental=Incremental(model.incremental.cursor) if model.incremental else None,
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
        batch_size=model.batch_size,
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


def _evaluate(model: EvaluateModel, gate_of_load: GateModel | None) -> Evaluate:
    evaluators: tuple[EvaluatorModel, ...] = model.evaluators
    return Evaluate(
        evaluators=tuple(evaluator_spec(evaluator) for evaluator in evaluators),
        gate=_gate(model.quality_gate or gate_of_load),
        batch_threshold=model.batch_threshold,
        model=model.model,
        sample=model.sample,
    )


def _load(model: LoadModel) -> Load:
    fallback = None
    if isinstance(model.fallback, ConstantModel):
        fallback = Fallback(value=model.fallback.value)
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


def named_files(text: str, path: str) -> list[tuple[str, str, Place]]:
    """The files that a pipeline names, whatever its other faults: the key, the path, its place.

    Files at another version are left out. Raises ProblemsFound for text that is not YAML.
    """
    document = parse_yaml(text, path)
    found: list[Path] = []
    for above in (("transform",), ("load", "fallback")):
        if document.find((*above, "prompt_version")) is None:
            found.append((*above, "prompt"))
        context = document.find((*above, "context"))
        if isinstance(context, list):
            found += [(*above, "context", index) for index in range(len(context))]
    found.append(("extract", "source"))
    found += [(*evaluator, "type") for evaluator in evaluator_paths(document)]
    return [
        (dotted(key), name, document.place(key))
        for key in found
        if isinstance(name := document.find(key), str) and not _NO_PATH.search(name)
    ]
