"""Pipelines as a user defines them: frozen, typed, parsed once by `loomgit.config`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

from msgspec import Struct, field

from loomgit.domain.passages import RETRIEVED
from loomgit.domain.place import Place, Places
from loomgit.domain.values import Json, JsonMapping

TransformType = Literal["ai", "rag", "program"]
GateType = Literal["all_pass", "majority_pass", "any_pass", "weighted"]
LoadMode = Literal["upsert", "append", "replace"]
OnFailure = Literal["quarantine", "skip", "fallback", "retry"]
AlertType = Literal["score_degradation", "cost_spike", "latency_sla", "batch_quality"]


class Incremental(Struct, frozen=True):
    """Only records whose cursor field lies past the stored watermark."""

    cursor: str


class HttpOptions(Struct, frozen=True):
    """How an HTTP source is read; the words are those of dlt's `rest_api`."""

    paginator: Json = None
    data_selector: str | None = None
    resolve: JsonMapping = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    params: JsonMapping = field(default_factory=dict)


class Extract(Struct, frozen=True):
    """Where records come from. An empty `key` means: found by the rule of `find_key`."""

    source: str
    query: str | None = None
    key: tuple[str, ...] = ()
    incremental: Incremental | None = None
    http: HttpOptions = field(default_factory=HttpOptions)
    limit: int | None = None
    snapshot: bool = False


class ContextFile(Struct, frozen=True):
    """A context file by its path in the project, at a version or (None) in the working tree."""

    path: str
    version: str | None = None

    @property
    def name(self) -> str:
        """The name under `context.` in a prompt: the file's name without its ending."""
        return PurePosixPath(self.path).stem


class CacheRule(Struct, frozen=True):
    """Whether replies may be taken from the response cache; `ttl` in seconds, None for ever."""

    enabled: bool = True
    ttl: float | None = None
    key_fields: tuple[str, ...] = ()


class Retrieve(Struct, frozen=True):
    """Search for `rag`, where the record brings no documents of its own; `documents` are globs."""

    documents: tuple[str, ...]
    top_k: int = 5
    query_field: str = "question"
    retriever: str = "full_text"


class Transform(Struct, frozen=True):
    """How a record becomes an output.

    `context_field` is the record's field that holds its context (`context: "{{ field }}"`);
    `output` is a JSON Schema (object) or None; `concurrency` None means `auto`.
    """

    type: TransformType = "ai"
    prompt: str | None = None
    prompt_version: str | None = None
    context: tuple[ContextFile, ...] = ()
    context_field: str | None = None
    retrieve: Retrieve | None = None
    model: str | None = None
    model_version: str | None = None
    fallback_models: tuple[str, ...] = ()
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    params: JsonMapping = field(default_factory=dict)
    output: JsonMapping | None = None
    batch_size: int = 50
    concurrency: int | None = None
    cache: CacheRule | None = None
    app: str | None = None
    version: str | None = None

    @property
    def documents_field(self) -> str | None:
        """The record's field that prompts see as context: named, or that of what is retrieved."""
        return self.context_field or (RETRIEVED if self.retrieve is not None else None)


class EvaluatorSpec(Struct, frozen=True):
    """One configured evaluator; a record passes it when `score >= threshold`.

    `type` is a name of the registry or `path/to/file.py:function`; `config` is what its type takes,
    without `threshold` and `criteria`, which stand beside it wherever the user wrote them.
    """

    name: str
    type: str
    threshold: float = 0.7
    weight: float = 1.0
    criteria: str | None = None
    config: JsonMapping = field(default_factory=dict)


class Gate(Struct, frozen=True):
    """The rule that turns a record's scores into passed or not; `threshold` is for `weighted`."""

    type: GateType = "all_pass"
    threshold: float = 0.7


class Evaluate(Struct, frozen=True):
    """The evaluators and the gate. No evaluators: every record that was transformed passes."""

    evaluators: tuple[EvaluatorSpec, ...] = ()
    gate: Gate = field(default_factory=Gate)
    batch_threshold: float | None = None
    model: str | None = None
    sample: float = 1.0


class Fallback(Struct, frozen=True):
    """What a failed record gets instead: another transform or a constant output."""

    transform: Transform | None = None
    value: JsonMapping | None = None


class Load(Struct, frozen=True):
    """Where outputs go and what happens to records that fail. `schema` is a JSON Schema."""

    destination: str
    mode: LoadMode = "upsert"
    on_failure: OnFailure = "quarantine"
    fallback: Fallback | None = None
    retries: int = 2
    include: tuple[str, ...] = ()
    lineage_columns: bool = False
    quarantine: str | None = None
    schema: JsonMapping | None = None


class Alert(Struct, frozen=True):
    """When to tell whom. `relative` is true for a multiple of the baseline (`2x`)."""

    type: AlertType
    threshold: float
    relative: bool
    channel: str


class Monitoring(Struct, frozen=True):
    """Limits over runs: `cost_budget` in USD, `latency_p95` in seconds, `min_score` in [0, 1]."""

    cost_budget: float | None = None
    latency_p95: float | None = None
    min_score: float | None = None
    alerts: tuple[Alert, ...] = ()


class FrontMatter(Struct, frozen=True):
    """What a prompt says of itself between `---` lines; none of it is sent.

    `id` follows the prompt when its file is renamed; `output` is a JSON Schema.
    """

    id: str | None = None
    description: str | None = None
    model: str | None = None
    output: JsonMapping | None = None


class Pipeline(Struct, frozen=True):
    """A pipeline file, whole. `path` is relative to the project, with forward slashes.

    `places` maps dotted keys (`transform.prompt`, `evaluate.evaluators.0.config`) to where they
    stand in the file.
    """

    name: str
    path: str
    extract: Extract
    transform: Transform
    load: Load
    evaluate: Evaluate = field(default_factory=Evaluate)
    monitoring: Monitoring = field(default_factory=Monitoring)
    version: str | None = None
    description: str | None = None
    depends_on: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    max_failure_rate: float | None = None
    places: Places = field(default_factory=Places)

    def place(self, key: str) -> Place:
        """Where `key` stands, or the nearest key above it that the file has."""
        while key:
            if key in self.places:
                return self.places[key]
            key = key.rpartition(".")[0]
        return Place(self.path)
