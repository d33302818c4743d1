"""A pipeline file as users write it; `loomgit.config.pipelines` makes definitions of it."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from msgspec import Struct
from pydantic import ConfigDict, Discriminator, Field, Tag

from loomgit.config.document import Plain, quote
from loomgit.config.evaluator_model import Evaluator
from loomgit.config.output_schema import OutputSchema  # noqa: TC001 - pydantic reads it
from loomgit.config.parts import LIST, MAP, MARK, TEXT, Part, shape
from loomgit.config.scalars import (
    Count,
    CountFromZero,
    Duration,
    FieldName,
    FilePath,
    Flag,
    JsonMap,
    JsonValue,
    Name,
    NotNegative,
    Read,
    SecondsOrDuration,
    Share,
    Text,
    Whole,
    Word,
    Wrong,
    choice,
    expected,
    parse_number,
    read_field,
    read_word,
)
from loomgit.domain.definitions import (
    AlertType,
    ContextFile,
    GateType,
    LoadMode,
    OnFailure,
    TransformType,
)

GATES = ("all_pass", "majority_pass", "any_pass", "weighted")
FIELD_TEMPLATE = re.compile(r"\{\{\s*(?:input\.)?([^\W\d]\w*)\s*\}\}")
MULTIPLE = re.compile(r"([0-9]+(?:\.[0-9]+)?)x")

GateName: TypeAlias = Annotated[GateType, choice("gate", GATES)]


class ContextField(Struct, frozen=True):
    """`{{ field }}`: the context is a field of the record."""

    field: str


class AlertLevel(Struct, frozen=True):
    """`0.7`, or `2x` for a multiple of the baseline."""

    value: float
    relative: bool


def _read_context_file(value: object) -> ContextFile:
    text = read_word(value, "a path")
    if "{{" in text:
        raise Wrong("a template cannot stand among paths", 'write context: "{{ field }}"')
    path, at, version = text.rpartition("@")
    if not at:
        return ContextFile(text)
    if not path or not version:
        raise Wrong(f"{quote(text)} lacks a part of path@version")
    return ContextFile(path, version)


def _read_context(value: object) -> ContextField | tuple[ContextFile, ...]:
    text = read_word(value, "a list of paths or a template")
    found = FIELD_TEMPLATE.fullmatch(text)
    if found:
        return ContextField(found[1])
    if "{{" in text:
        raise Wrong("a context template names one field of the record", 'write "{{ field }}"')
    return (_read_context_file(value),)


MOST_CALLS = 10_000  # in flight: each takes memory and a connection


def _read_concurrency(value: object) -> int | None:
    if value == "auto":
        return None
    number = parse_number(value) if isinstance(value, Plain) else None
    if not isinstance(number, int) or number < 1:
        raise expected("a whole number of at least 1 or auto", value)
    if number > MOST_CALLS:
        raise expected(f"at most {MOST_CALLS:,} calls in flight", value)
    return number


def _read_level(value: object) -> AlertLevel:
    found = MULTIPLE.fullmatch(value) if isinstance(value, str) else None
    if found and float(found[1]) > 0:
        return AlertLevel(float(found[1]), relative=True)
    number = parse_number(value) if isinstance(value, Plain) else None
    if number is None or number < 0:
        raise expected("a number such as 0.7 or a multiple such as 2x", value)
    return AlertLevel(float(number), relative=False)


def _read_destination(value: object) -> str:
    text = read_word(value, "a URL or a path")
    scheme = text.partition("://")[0]
    if text.startswith(("http://", "https://", "pipeline://")):
        raise Wrong(f"{scheme}:// is for sources only", "load to a database, a file or a bucket")
    return text


def _read_one(value: object) -> tuple[str, ...]:
    return (read_field(value, "a field or a list of fields"),)


Fields: TypeAlias = Annotated[
    Annotated[tuple[str, ...], Read(_read_one, {"type": "string"}), Tag(TEXT)]
    | Annotated[tuple[FieldName, ...], Field(min_length=1), Tag(LIST)],
    Discriminator(shape),
]
Context: TypeAlias = Annotated[
    Annotated[
        ContextField | tuple[ContextFile, ...], Read(_read_context, {"type": "string"}), Tag(TEXT)
    ]
    | Annotated[
        tuple[Annotated[ContextFile, Read(_read_context_file, {"type": "string"})], ...], Tag(LIST)
    ],
    Discriminator(shape),
]
Concurrency: TypeAlias = Annotated[
    int | None,
    Read(_read_concurrency, {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
]
Destination: TypeAlias = Annotated[str, Read(_read_destination, {"type": "string"})]


class IncrementalModel(Part):
    """Only records past the stored watermark"""

    cursor: FieldName = Field(description="The field that grows, such as created_at")


class ExtractModel(Part):
    """Where records come from"""

    source: Word = Field(
        description="postgres://, sqlite://, s3://, http(s)://, file:// or a bare path (CSV, JSON,"
        " JSONL, Parquet), or pipeline://NAME for another pipeline's output"
    )
    query: Text | None = Field(
        default=None,
        description="SQL with Jinja; its values are bound as parameters, never pasted in",
    )
    key: Fields = Field(
        default=(),
        description="The identity of a record; default: id, else the only *_id, else a hash",
    )
    incremental: IncrementalModel | None = None
    paginator: JsonValue = Field(default=None, description="HTTP: as dlt's rest_api names it")
    data_selector: Word | None = Field(
        default=None, description="HTTP: where in a reply the records are"
    )
    resolve: JsonMap = Field(default={}, description="HTTP: parameters taken from another resource")
    headers: dict[str, Text] = Field(default={}, description="HTTP: headers to send")
    params: JsonMap = Field(default={}, description="HTTP: query parameters")
    limit: Count | None = Field(default=None, description="The most records to take")
    snapshot: Flag = Field(default=False, description="Keep the extracted rows by content hash")


class CacheModel(Part):
    """Whether replies may come from the response cache"""

    enabled: Flag = Field(default=True, description="false: ask the model every time")
    ttl: Duration | None = Field(default=None, description="How long a reply serves: 7d, 12h, 30s")
    key_fields: tuple[FieldName, ...] = Field(
        default=(), description="The fields of the input that tell one request from another"
    )


class RetrieveModel(Part):
    """Search for rag, where the record brings no documents"""

    documents: tuple[Word, ...] = Field(min_length=1, description="Globs of the files to search")
    top_k: Count = Field(default=5, description="How many passages a record gets")
    query_field: FieldName = Field(
        default="question", description="The field of the record to search by"
    )
    retriever: Word = Field(
        default="full_text", description="full_text, or a name that a package offers"
    )


class TransformModel(Part):
    """How a record becomes an output"""

    type: Annotated[TransformType, choice("type", ("ai", "rag", "program"))] = Field(
        default="ai", description="`program` runs a loop app in place of a model"
    )
    prompt: FilePath | None = Field(
        default=None, description="The path of a Jinja2 file; it has input.*, context.* and vars.*"
    )
    prompt_version: Word | None = Field(
        default=None, description="A version tag or any Git revision; absent: the working tree"
    )
    context: Context = Field(
        default=(),
        description='Paths, each with an optional @version; or "{{ field }}" of the record',
    )
    retrieve: RetrieveModel | None = None
    model: Word | None = Field(default=None, description="Any model of the gateway")
    model_version: Word | None = Field(
        default=None, description="The dated snapshot, as 2024-07-18"
    )
    fallback_models: tuple[Word, ...] = Field(
        default=(), description="Tried in order after retries"
    )
    temperature: NotNegative | None = None
    seed: Whole | None = None
    max_tokens: Count | None = Field(default=None, description="The longest reply, in tokens")
    params: JsonMap = Field(default={}, description="Further parameters of the model")
    output: OutputSchema | None = Field(
        default=None,
        description="JSON Schema, or `field: type`: replies are asked for so, and validated",
    )
    batch_size: Count = Field(
        default=50, description="Records that travel, and are saved, together"
    )
    concurrency: Concurrency = Field(default=None, description="Calls in flight; auto adapts")
    cache: CacheModel | None = None
    app: Word | None = Field(default=None, description="The loop app, for type program")
    version: Word | None = Field(
        default=None, description="The version of the loop app; absent: active"
    )


class GateModel(Part):
    """The rule that turns a record's scores into passed or not"""

    type: GateName
    threshold: Share | None = Field(
        default=None, description="For weighted: the mean to reach; 0.7"
    )


def _short_gate(value: object) -> GateModel:
    kind = choice("gate", GATES).function(value)
    return GateModel.model_construct(type=kind, threshold=None)


QualityGate: TypeAlias = Annotated[
    Annotated[GateModel, Read(_short_gate, {"enum": list(GATES)}), Tag(TEXT)]
    | Annotated[GateModel, Tag(MAP)],
    Discriminator(shape),
]
GATE_HELP = "all_pass, majority_pass (more than half), any_pass, or weighted with a threshold"


class EvaluateModel(Part):
    """The evaluators and the gate"""

    evaluators: tuple[Evaluator, ...] = ()
    quality_gate: QualityGate | None = Field(default=None, description=GATE_HELP)
    batch_threshold: Share | None = Field(
        default=None, description="The share of records that must pass, or the run ends partial"
    )
    model: Word | None = Field(default=None, description="The judge; default: defaults.judge_model")
    sample: Share = Field(default=1.0, description="The share of records that are evaluated")


Evaluate: TypeAlias = Annotated[
    Annotated[tuple[Evaluator, ...], Tag(LIST)] | Annotated[EvaluateModel, Tag(MAP)],
    Discriminator(shape),
]


class ConstantModel(Part):
    """A constant output for records that fail"""

    value: JsonMap


def _fallback_form(value: object) -> str:
    constant = isinstance(value, dict) and "value" in value
    return f"{MARK}constant" if constant else f"{MARK}transform"


Fallback: TypeAlias = Annotated[
    Annotated[ConstantModel, Tag(f"{MARK}constant")]
    | Annotated[TransformModel, Tag(f"{MARK}transform")],
    Discriminator(_fallback_form),
]


class LoadModel(Part):
    """Where outputs go and what happens to records that fail"""

    destination: Destination = Field(description="As sources, http aside")
    mode: Annotated[LoadMode, choice("mode", ("upsert", "append", "replace"))] = Field(
        default="upsert", description="upsert by extract.key, append, or replace all"
    )
    on_failure: Annotated[
        OnFailure, choice("way to fail", ("quarantine", "skip", "fallback", "retry"))
    ] = Field(default="quarantine", description="What happens to a record that fails")
    fallback: Fallback | None = Field(default=None, description="For on_failure: fallback")
    retries: CountFromZero = Field(default=2, description="For on_failure: retry")
    include: tuple[FieldName, ...] = Field(
        default=(), description="Fields of the input to load as well"
    )
    lineage_columns: Flag = Field(
        default=False, description="Add _loom_run_id and _loom_record_key"
    )
    quarantine: Word | None = Field(default=None, description="Where failed records go, a URL")
    schema_: OutputSchema | None = Field(
        default=None, alias="schema", description="What a loaded output must fit; never coerced"
    )
    quality_gate: QualityGate | None = Field(default=None, description=GATE_HELP)


class LatencySlaModel(Part):
    """Limits for latency"""

    p95: SecondsOrDuration = Field(description="Seconds")


class QualityThresholdModel(Part):
    """Limits for scores"""

    min_score: Share = Field(description="The lowest mean score")


class AlertModel(Part):
    """When to tell whom"""

    type: Annotated[
        AlertType,
        choice("alert", ("score_degradation", "cost_spike", "latency_sla", "batch_quality")),
    ]
    threshold: Annotated[
        AlertLevel,
        Read(
            _read_level,
            {
                "anyOf": [
                    {"type": "number", "minimum": 0},
                    {"type": "string", "pattern": f"^{MULTIPLE.pattern}$"},
                ]
            },
        ),
    ] = Field(description="0.7, or 2x for a multiple of the baseline")
    channel: Word = Field(description="A channel of .loom/config.yaml")


class MonitoringModel(Part):
    """Limits over runs"""

    cost_budget: NotNegative | None = Field(default=None, description="USD")
    latency_sla: LatencySlaModel | None = None
    quality_threshold: QualityThresholdModel | None = None
    alerts: tuple[AlertModel, ...] = ()


class PipelineModel(Part):
    """A Loom pipeline: extract, transform, evaluate, load"""

    model_config = ConfigDict(title="Loom pipeline")

    name: Name
    version: Word | None = Field(
        default=None, description="The author's word for this state of the file"
    )
    description: Text | None = None
    depends_on: tuple[Name, ...] = Field(default=(), description="Pipelines that must run before")
    tags: tuple[Word, ...] = ()
    max_failure_rate: Share | None = Field(
        default=None, description="More failed records than this stop the run"
    )
    extract: ExtractModel
    transform: TransformModel
    evaluate: Evaluate = ()
    load: LoadModel
    monitoring: MonitoringModel | None = None
