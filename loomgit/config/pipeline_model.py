"""The pydantic model of a pipeline file; `loomgit.config.pipelines` makes a definition from it."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from msgspec import Struct
from pydantic import ConfigDict, Discriminator, Field, Tag

from loomgit.config.document import UnquotedScalar, is_null, quote
from loomgit.config.evaluator_model import Evaluator
from loomgit.config.file_model import LIST, MAP, TAG_PREFIX, TEXT, FileModel, union_tag
from loomgit.config.incremental_model import IncrementalModel  # noqa: TC001 - pydantic reads it
from loomgit.config.monitoring_model import MonitoringModel  # noqa: TC001 - pydantic reads it
from loomgit.config.output_schema import OutputSchema  # noqa: TC001 - pydantic reads it
from loomgit.config.scalars import (
    Count,
    CountFromZero,
    Duration,
    FieldName,
    FilePath,
    Flag,
    Integer,
    InvalidValue,
    JsonMap,
    JsonValue,
    Name,
    NonBlankText,
    NotNegative,
    Reader,
    Share,
    Text,
    VariableValue,
    choice,
    expected,
    parse_number,
    read_field,
    read_nonblank_text,
)
from loomgit.domain.definitions import (
    ContextFile,
    Evolve,
    GateType,
    LoadMode,
    OnFailure,
    OnRejected,
    TransformType,
)
from loomgit.domain.suggestions import nearest

EXTRACTIVE = ["extractive"]
GATES = ("all_pass", "majority_pass", "any_pass", "weighted")
FIELD_TEMPLATE = re.compile(r"\{\{\s*(?:input\.)?([^\W\d]\w*)\s*\}\}")

GateName: TypeAlias = Annotated[GateType, choice("gate", GATES)]


class ContextField(Struct, frozen=True):
    """The field of the record that contains the context of a prompt, written as `{{ field }}`."""

    field: str


def _read_context_file(value: object) -> ContextFile:
    text = read_nonblank_text(value, "a path")
    if "{{" in text:
        raise InvalidValue(
            "a list of paths cannot contain a template", 'write context: "{{ field }}"'
        )
    path, separator, version = text.rpartition("@")
    if not separator:
        return ContextFile(text)
    if not path or not version:
        raise InvalidValue(f"expected path@version, found {quote(text)}")
    return ContextFile(path, version)


def _read_context(value: object) -> ContextField | tuple[ContextFile, ...]:
    text = read_nonblank_text(value, "a list of paths or a template")
    template = FIELD_TEMPLATE.fullmatch(text)
    if template:
        return ContextField(template[1])
    if "{{" in text:
        message = "a context template can only name one field of the record"
        raise InvalidValue(message, 'write "{{ field }}"')
    return (_read_context_file(value),)


MAX_CONCURRENCY = 10_000  # the maximum; each concurrent call needs memory and a connection


def _read_concurrency(value: object) -> int | None:
    if value == "auto":
        return None
    number = parse_number(value) if isinstance(value, UnquotedScalar) else None
    if not isinstance(number, int) or number < 1:
        raise expected("auto or a whole number of at least 1", value)
    if number > MAX_CONCURRENCY:
        raise expected(f"at most {MAX_CONCURRENCY:,} concurrent calls", value)
    return number


def _read_destination(value: object) -> str:
    text = read_nonblank_text(value, "a URL or a path")
    scheme = text.partition("://")[0]
    if text.startswith(("http://", "https://", "pipeline://")):
        message = f"{scheme}:// is only for sources"
        raise InvalidValue(message, "use a database, a file or a bucket")
    return text


def _read_single_field(value: object) -> tuple[str, ...]:
    return (read_field(value, "a field or a list of fields"),)


Fields: TypeAlias = Annotated[
    Annotated[tuple[str, ...], Reader(_read_single_field, {"type": "string"}), Tag(TEXT)]
    | Annotated[tuple[FieldName, ...], Field(min_length=1), Tag(LIST)],
    Discriminator(union_tag),
]
Context: TypeAlias = Annotated[
    Annotated[
        ContextField | tuple[ContextFile, ...], Reader(_read_context, {"type": "string"}), Tag(TEXT)
    ]
    | Annotated[
        tuple[Annotated[ContextFile, Reader(_read_context_file, {"type": "string"})], ...],
        Tag(LIST),
    ],
    Discriminator(union_tag),
]
Concurrency: TypeAlias = Annotated[
    int | None,
    Reader(_read_concurrency, {"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}]}),
]
Destination: TypeAlias = Annotated[str, Reader(_read_destination, {"type": "string"})]


class ExtractModel(FileModel):
    """The source of the records"""

    source: NonBlankText = Field(
        description="postgres://, sqlite://, mysql:// and other dialects of SQLAlchemy, s3://,"
        " http(s)://, file:// or a bare path (CSV, JSON, JSONL, Parquet), or pipeline://NAME for"
        " another pipeline's output"
    )
    query: Text | None = Field(
        default=None,
        description="SQL with Jinja; values become bound parameters, never part of the SQL text",
    )
    key: Fields = Field(
        default=(),
        description="The identity of a record; default: id, else the only *_id, else a hash",
    )
    incremental: IncrementalModel | None = Field(
        default=None, description="Read only the records that earlier runs have not read"
    )
    paginator: JsonValue = Field(default=None, description="HTTP: a paginator of dlt's rest_api")
    data_selector: NonBlankText | None = Field(
        default=None, description="HTTP: the path of the records in a response"
    )
    resolve: JsonMap = Field(default={}, description="HTTP: parameters from another resource")
    headers: dict[str, Text] = Field(default={}, description="HTTP: request headers")
    params: JsonMap = Field(default={}, description="HTTP: query parameters")
    limit: Count | None = Field(default=None, description="The maximum number of records")
    snapshot: Flag = Field(default=False, description="Save the extracted rows by content hash")


class CacheModel(FileModel):
    """Whether the response cache can supply replies"""

    enabled: Flag = Field(default=True, description="false: call the model for every request")
    ttl: Duration | None = Field(default=None, description="The maximum age: 7d, 12h, 30s")
    key_fields: tuple[FieldName, ...] = Field(
        default=(), description="The fields of the input that distinguish requests"
    )


class RetrieveModel(FileModel):
    """The search for documents in a transform of type rag, if the records contain no documents"""

    documents: tuple[NonBlankText, ...] = Field(
        min_length=1, description="Globs of the files to search"
    )
    top_k: Count = Field(default=5, description="The number of passages for each record")
    query_field: FieldName = Field(
        default="question", description="The field of the record that contains the search query"
    )
    retriever: NonBlankText = Field(
        default="full_text", description="full_text, or a retriever that a package provides"
    )


class TransformModel(FileModel):
    """How Loom creates an output from a record"""

    type: Annotated[TransformType, choice("type", ("ai", "rag", "program"))] = Field(
        default="ai", description="`program` runs a loop app instead of a model"
    )
    prompt: FilePath | None = Field(
        default=None,
        description="The path of a Jinja2 file, which can use input.*, context.* and vars.*",
    )
    prompt_version: NonBlankText | None = Field(
        default=None, description="A version tag or any Git revision; default: the working tree"
    )
    context: Context = Field(
        default=(),
        description='Paths, each with an optional @version; or "{{ field }}" of the record',
    )
    retrieve: RetrieveModel | None = None
    model: NonBlankText | None = Field(default=None, description="Any model of the gateway")
    model_version: NonBlankText | None = Field(
        default=None, description="The dated snapshot, for example 2024-07-18"
    )
    fallback_models: tuple[NonBlankText, ...] = Field(
        default=(), description="Models to try in this order if all retries fail"
    )
    temperature: NotNegative | None = None
    seed: Integer | None = None
    max_tokens: Count | None = Field(default=None, description="The longest reply, in tokens")
    params: JsonMap = Field(default={}, description="Other parameters of the model")
    output: OutputSchema | None = Field(
        default=None,
        description="JSON Schema, or `field: type`; requested from the model, and validated",
    )
    batch_size: Count | None = Field(
        default=None,
        description="The number of records that are processed and saved together; default: 50, or"
        " 1000 for type program",
    )
    concurrency: Concurrency = Field(default=None, description="Concurrent calls; auto adapts")
    cache: CacheModel | None = None
    app: NonBlankText | None = Field(default=None, description="The loop app, for type program")
    version: NonBlankText | None = Field(
        default=None, description="The version of the loop app; default: the active one"
    )


class GateModel(FileModel):
    """The rule that decides whether a record passes, based on the scores of its output"""

    type: GateName
    threshold: Share | None = Field(
        default=None, description="For weighted: the lowest mean that passes; default: 0.7"
    )


def _read_short_gate(value: object) -> GateModel:
    kind = choice("gate", GATES).function(value)
    return GateModel.model_construct(type=kind, threshold=None)


QualityGate: TypeAlias = Annotated[
    Annotated[GateModel, Reader(_read_short_gate, {"enum": list(GATES)}), Tag(TEXT)]
    | Annotated[GateModel, Tag(MAP)],
    Discriminator(union_tag),
]
GATE_HELP = "all_pass, majority_pass (more than half), any_pass, or weighted with a threshold"


class EvaluateModel(FileModel):
    """The evaluators and the quality gate"""

    evaluators: tuple[Evaluator, ...] = ()
    quality_gate: QualityGate | None = Field(default=None, description=GATE_HELP)
    batch_threshold: Share | None = Field(
        default=None, description="The share of records that must pass, else the run is partial"
    )
    model: NonBlankText | None = Field(
        default=None, description="The judge; default: defaults.judge_model"
    )
    sample: Share = Field(default=1.0, description="The share of records to evaluate")


Evaluate: TypeAlias = Annotated[
    Annotated[tuple[Evaluator, ...], Tag(LIST)] | Annotated[EvaluateModel, Tag(MAP)],
    Discriminator(union_tag),
]


class ConstantModel(FileModel):
    """A constant output for records that fail"""

    value: JsonMap


class ExtractiveModel(FileModel):
    """The most central sentences of the record's own text; calls no model"""

    type: Annotated[str, choice("type", EXTRACTIVE)]
    field: FieldName | None = Field(
        default=None, description="The input field with the text; default: the longest text"
    )
    output: FieldName | None = Field(
        default=None,
        description="The output field for the sentences; default: the first field of type string",
    )
    sentences: Count = Field(default=3, description="The maximum number of sentences")


def _read_short_fallback(value: object) -> ExtractiveModel:
    kind = choice("fallback", EXTRACTIVE).function(value)
    return ExtractiveModel.model_construct(type=kind, field=None, output=None, sentences=3)


def _fallback_form(value: object) -> str:
    if isinstance(value, str) and not is_null(value):
        return TEXT
    if not isinstance(value, dict):
        return f"{TAG_PREFIX}transform"
    if "value" in value:
        return f"{TAG_PREFIX}constant"
    is_extractive = nearest(str(value.get("type")), EXTRACTIVE) is not None
    return f"{TAG_PREFIX}{'extractive' if is_extractive else 'transform'}"


Fallback: TypeAlias = Annotated[
    Annotated[ExtractiveModel, Reader(_read_short_fallback, {"enum": EXTRACTIVE}), Tag(TEXT)]
    | Annotated[ExtractiveModel, Tag(f"{TAG_PREFIX}extractive")]
    | Annotated[ConstantModel, Tag(f"{TAG_PREFIX}constant")]
    | Annotated[TransformModel, Tag(f"{TAG_PREFIX}transform")],
    Discriminator(_fallback_form),
]


class LoadModel(FileModel):
    """The destination of the outputs, and the handling of failed records"""

    destination: Destination = Field(
        description="The same forms as extract.source, except http(s):// and pipeline://"
    )
    mode: Annotated[LoadMode, choice("mode", ("upsert", "append", "replace"))] = Field(
        default="upsert", description="upsert by extract.key, append, or replace all rows"
    )
    evolve: Annotated[Evolve, choice("evolution", ("add",))] | None = Field(
        default=None,
        description="add: add the columns that the table or file lacks; default: report them",
    )
    on_rejected: Annotated[OnRejected, choice("policy", ("keep", "delete"))] = Field(
        default="keep",
        description="keep or delete the earlier row of a record that the gate rejects",
    )
    on_failure: Annotated[
        OnFailure, choice("policy", ("quarantine", "skip", "fallback", "retry"))
    ] = Field(default="quarantine", description="What happens to a failed record")
    fallback: Fallback | None = Field(
        default=None,
        description="For on_failure: fallback; another transform, a constant, or extractive",
    )
    retries: CountFromZero = Field(
        default=2, description="For on_failure: retry; the number of retries"
    )
    include: tuple[FieldName, ...] = Field(
        default=(), description="Fields of the input to load with the output"
    )
    lineage_columns: Flag = Field(
        default=False, description="Add the columns _loom_run_id and _loom_record_key"
    )
    quarantine: NonBlankText | None = Field(default=None, description="The URL for failed records")
    schema_: OutputSchema | None = Field(
        default=None,
        alias="schema",
        description="The schema of loaded outputs; values are never converted",
    )
    quality_gate: QualityGate | None = Field(default=None, description=GATE_HELP)


class PipelineModel(FileModel):
    """A Loom pipeline: extract, transform, evaluate, load"""

    model_config = ConfigDict(title="Loom pipeline")

    name: Name
    version: NonBlankText | None = Field(
        default=None, description="The author's version of this file"
    )
    description: Text | None = None
    depends_on: tuple[Name, ...] = Field(default=(), description="Pipelines that must run first")
    tags: tuple[NonBlankText, ...] = ()
    max_failure_rate: Share | None = Field(
        default=None, description="The run stops if a higher share of the records fails"
    )
    vars: dict[str, VariableValue] = Field(
        default={}, description="Default values of {{ vars.NAME }}; --vars replaces them"
    )
    extract: ExtractModel
    transform: TransformModel | None = Field(
        default=None, description="Without it, the record is the output"
    )
    evaluate: Evaluate = ()
    load: LoadModel
    monitoring: MonitoringModel | None = None
