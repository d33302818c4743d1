"""Pipeline definitions: frozen, typed values that `loomgit.config` parses from YAML files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

from msgspec import Struct, field

from loomgit.domain.passages import RETRIEVED
from loomgit.domain.place import Place, Places
from loomgit.domain.values import Json, JsonMapping

TransformType = Literal["none", "ai", "rag", "program"]
GateType = Literal["all_pass", "majority_pass", "any_pass", "weighted"]
LoadMode = Literal["upsert", "append", "replace"]
Evolve = Literal["add"]
OnRejected = Literal["keep", "delete"]
OnFailure = Literal["quarantine", "skip", "fallback", "retry"]
AlertType = Literal["score_degradation", "cost_spike", "latency_sla", "batch_quality"]


class Lag(Struct, frozen=True):
    """How far below the watermark an incremental extraction reads again.

    `amount` is in seconds if `is_duration` is true, and in units of the cursor otherwise.
    """

    amount: int | float
    is_duration: bool

    @property
    def nanoseconds(self) -> int:
        """The duration in nanoseconds."""
        return round(self.amount * 10**9)


class Incremental(Struct, frozen=True):
    """Incremental extraction: only the records that earlier runs have not read.

    `cursor` is the name of a field that orders the records. The first run reads the records whose
    cursor is at least `initial`; None means all records.
    """

    cursor: str
    lag: Lag | None = None
    initial: int | float | str | None = None


class HttpOptions(Struct, frozen=True):
    """The options of an HTTP source. They have the names and meanings of dlt's `rest_api`."""

    paginator: Json = None
    data_selector: str | None = None
    resolve: JsonMapping = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    params: JsonMapping = field(default_factory=dict)


class Extract(Struct, frozen=True):
    """The extract stage: the source of the records.

    If `key` is empty, `loomgit.domain.keys.find_key` chooses the key fields.
    """

    source: str
    query: str | None = None
    key: tuple[str, ...] = ()
    incremental: Incremental | None = None
    http: HttpOptions = field(default_factory=HttpOptions)
    limit: int | None = None
    snapshot: bool = False


class ContextFile(Struct, frozen=True):
    """A context file: its path in the project, and its version (None: the working tree)."""

    path: str
    version: str | None = None

    @property
    def name(self) -> str:
        """The name under `context.` in a prompt: the file name without its extension."""
        return PurePosixPath(self.path).stem


class CacheRule(Struct, frozen=True):
    """The rule that decides whether replies may come from the cache.

    `ttl` is the lifetime of a reply in seconds; None means forever. `key_fields` are the fields of
    the record that replace the rendered prompt in the cache key. If there are none, the key
    contains the rendered prompt.
    """

    enabled: bool = True
    ttl: float | None = None
    key_fields: tuple[str, ...] = ()


class Retrieve(Struct, frozen=True):
    """The retrieval settings of a `rag` transform that searches documents of the project.

    `documents` are globs. `query_field` is the record's field that contains the search query.
    `top_k` is the maximum number of passages.
    """

    documents: tuple[str, ...]
    top_k: int = 5
    query_field: str = "question"
    retriever: str = "full_text"


class Transform(Struct, frozen=True):
    """The transform stage: how a record becomes an output.

    The type `none` stands for a pipeline file without `transform`: the record is the output.
    `context_field` is the record's field that contains the context (`context: "{{ field }}"`).
    `output` is a JSON Schema (object) or None. If `concurrency` is None, the setting is `auto`.
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
        """The record's field that prompts see as context, or None.

        This is `context_field` if it is set. Otherwise, it is the field with the retrieved
        documents if the stage retrieves documents.
        """
        return self.context_field or (RETRIEVED if self.retrieve is not None else None)


class EvaluatorSpec(Struct, frozen=True):
    """The configuration of one evaluator. A record passes the evaluator if `score >= threshold`.

    `type` is a name in the registry or `path/to/file.py:function`. `config` contains the options of
    the type, without `threshold` and `criteria`. These two are always separate fields, even if the
    pipeline file has them under `config`.
    """

    name: str
    type: str
    threshold: float = 0.7
    weight: float = 1.0
    criteria: str | None = None
    config: JsonMapping = field(default_factory=dict)


class Gate(Struct, frozen=True):
    """The quality gate: the rule that decides whether a record passes, based on its scores.

    `threshold` applies to the type `weighted` only.
    """

    type: GateType = "all_pass"
    threshold: float = 0.7


class Evaluate(Struct, frozen=True):
    """The evaluate stage: the evaluators and the gate.

    If there are no evaluators, every transformed record passes. `sample` is the fraction of the
    records to evaluate.
    """

    evaluators: tuple[EvaluatorSpec, ...] = ()
    gate: Gate = field(default_factory=Gate)
    batch_threshold: float | None = None
    model: str | None = None
    sample: float = 1.0


class ExtractiveFallback(Struct, frozen=True):
    """A fallback output of sentences from the record's text, without a model.

    `field` is the input field with the text; None means the longest text of the record. `output` is
    the output field for the sentences; None means the first field for a text. `sentences` is the
    maximum number of sentences.
    """

    field: str | None = None
    output: str | None = None
    sentences: int = 3


class Fallback(Struct, frozen=True):
    """The replacement for the output of a failed record.

    It is another transform, a constant output, or an extract of the record's text.
    """

    transform: Transform | None = None
    value: JsonMapping | None = None
    extractive: ExtractiveFallback | None = None


class Load(Struct, frozen=True):
    """The load stage: the destination of the outputs, and the treatment of failed records.

    `schema` is a JSON Schema. If `evolve` is `add`, columns that the destination lacks are added.
    If it is None, a missing column is an error. `on_rejected` says what happens to the row that an
    earlier run has loaded for a record, if a gate of this run rejects the record.
    """

    destination: str
    mode: LoadMode = "upsert"
    on_failure: OnFailure = "quarantine"
    fallback: Fallback | None = None
    retries: int = 2
    include: tuple[str, ...] = ()
    lineage_columns: bool = False
    quarantine: str | None = None
    schema: JsonMapping | None = None
    evolve: Evolve | None = None
    on_rejected: OnRejected = "keep"


class Alert(Struct, frozen=True):
    """An alert: a limit, and the channel that receives a message when the limit is exceeded.

    `relative` is true if `threshold` is a multiple of the baseline (`2x`).
    """

    type: AlertType
    threshold: float
    relative: bool
    channel: str


class Monitoring(Struct, frozen=True):
    """The limits and alerts of a pipeline's runs.

    `cost_budget` is in USD, `latency_p95` in seconds, `min_score` in [0, 1].
    """

    cost_budget: float | None = None
    latency_p95: float | None = None
    min_score: float | None = None
    alerts: tuple[Alert, ...] = ()


class FrontMatter(Struct, frozen=True):
    """The metadata of a prompt file, between `---` lines. Loom never sends it to a model.

    `id` identifies the prompt even if its file is renamed. `output` is a JSON Schema.
    """

    id: str | None = None
    description: str | None = None
    model: str | None = None
    output: JsonMapping | None = None


class Pipeline(Struct, frozen=True):
    """A pipeline: the content of one pipeline file.

    `path` is relative to the project, with forward slashes. `places` maps dotted keys
    (`transform.prompt`, `evaluate.evaluators.0.config`) to their positions in the file. `vars` are
    the default values of the variables: text, numbers, booleans or null.
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
    vars: JsonMapping = field(default_factory=dict)
    places: Places = field(default_factory=Places)

    def place(self, key: str) -> Place:
        """Return the position of `key`. If the file lacks `key`, use the nearest parent key."""
        while key:
            if key in self.places:
                return self.places[key]
            key = key.rpartition(".")[0]
        return Place(self.path)
