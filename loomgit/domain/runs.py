"""Runs, as Loom stores them in JSON files under `.loom/runs`.

The field names are the keys of the JSON files. `RUN_FIELDS` in `loomgit.domain.run_fields` contains
a text for each field, which users see.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

# The store decodes JSON into these classes, so the type `Commit` is needed at run time.
from loomgit.domain.versions import Commit

SCHEMA_VERSION = 1
Status = Literal["success", "partial", "failed", "budget_exceeded"]
INTERRUPTED = "interrupted"  # in a list of runs: the run was killed, and has no record
Kind = Literal["pipeline", "test"]
Cause = Literal["", "gate", "world", "user", "stopped"]


class RunConfig(Struct, frozen=True):
    """The configuration of a run.

    The fields with `version` in their names contain names of versions. The fields with `blob` in
    their names contain Git's ids of file contents. `fingerprint` is the hash of everything that can
    change the results. `program` is the version of the app whose program transforms the records.
    """

    prompt_version: str | None
    prompt_blob: str | None
    model: str
    model_version: str | None
    context_versions: dict[str, str]
    context_blobs: dict[str, str]
    parameters: dict[str, object]
    fingerprint: str
    program: str | None = None


class Results(Struct, frozen=True):
    """The numbers of records of a run, by outcome.

    `records_validated` is the number of records that passed the gate. `records_rejected` is the
    number of all other records. `records_failed` counts the rejected records with a failed
    transform or evaluator; the other rejected records have low scores. `records_fallback` counts
    the rejected records that were loaded with a fallback output.

    The rows given to the destination are divided into `inserted`, `updated`, `unchanged`,
    `duplicates` (rows with a key that occurs again later) and `kept_out` (rows that the destination
    itself rejects). `kept_rows` and `deleted` are rows of earlier runs whose records a gate of this
    run has rejected; `load.on_rejected` chooses between them. `reasons` maps the reasons of
    rejections to numbers of records. In a test run, the records are the test cases.

    If the run did not succeed, `cause` is `gate` (the run missed its own thresholds), `world` (a
    provider, a disk or a database failed), `user` (the user must correct a mistake) or `stopped`
    (a person stopped the run).
    """

    status: Status
    records_processed: int = 0
    records_validated: int = 0
    records_rejected: int = 0
    rejection_rate: float = 0.0
    records_failed: int = 0
    records_evaluated: int = 0
    records_fallback: int = 0
    records_loaded: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicates: int = 0
    kept_out: int = 0
    kept_rows: int = 0
    deleted: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    cause: Cause = ""
    message: str = ""


class ScoreSummary(Struct, frozen=True):
    """The summary of one evaluator's scores in a run.

    `n` is the number of scores, `errors` the number of records without a score, and `passed` the
    number of scores that reach `threshold`. `std` is the sample standard deviation (ddof 1). The
    statistics are None if there are no scores.
    """

    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    n: int
    errors: int
    threshold: float
    passed: int


class ModelCost(Struct, frozen=True):
    """The calls, tokens and cost of one model at one stage.

    `model` is the name that the provider reports, and `asked` the name in Loom's request. `calls`
    is the number of paid replies, and `hits` the number of replies from the cache. The token counts
    do not include cache hits. `input` is the number of input tokens, and `cached` the number of
    those that came from the provider's cache. `cost` is in USD, None if the price of a call is
    unknown. `unpriced` is the number of such calls, and `known` is the cost of the other calls.
    `saved` is the original cost of the hits.
    """

    stage: str
    asked: str
    model: str
    calls: int = 0
    hits: int = 0
    input: int = 0
    output: int = 0
    cached: int = 0
    cost: float | None = 0.0
    known: float = 0.0
    unpriced: int = 0
    saved: float | None = 0.0


class Cost(Struct, frozen=True):
    """The cost of a run in USD, with a `breakdown` by stage.

    A sum is None if it includes a call with an unknown price. `known` is the cost of the calls with
    a known price, and `unpriced` the number of the other calls. `cached` is the number of replies
    from the cache. `models` is the cost by stage and model. It is empty for test runs. It is also
    empty for runs that an older version of Loom stored without this cost.

    The other fields contain the cost of this attempt only. If the run resumes an earlier run,
    `all_attempts` is the cost of all attempts together; else it is None.
    """

    total: float | None
    known: float
    breakdown: dict[str, float | None]
    tokens: dict[str, int]
    calls: int
    cached: int
    unpriced: int
    models: tuple[ModelCost, ...] = ()
    all_attempts: float | None = None


class Performance(Struct, frozen=True):
    """The times of a run in seconds.

    `duration` is the wall time of the run. `stages` maps each stage to its active time. `latency`
    maps `p50`, `p95` and `p99` to percentiles of the time that a record waited for the model.
    """

    duration: float
    latency: dict[str, float | None]
    stages: dict[str, float]


class Case(Struct, frozen=True):
    """The result of one test case.

    `key` is a hash of everything that can change the scores. `definition` (`def` in JSON) is a hash
    of the input, the expectation and the evaluation settings only. `scores` maps each evaluator to
    one score per sample, None if a score is missing. `passed` is the number of samples that pass
    the gate. `cost` (USD) and `latency` (seconds) are means of the samples, None if unknown.
    """

    id: str
    key: str
    definition: str
    scores: dict[str, list[float | None]]
    samples: int
    passed: int
    cost: float | None
    latency: float | None


class TestRecord(Struct, frozen=True):
    """The stored result of one test.

    `name` is the name of the test within its file (`unit::obvious_positive`). `checks` are the
    lines of the result, with the keys `text`, `verdict` and `actual`.
    """

    __test__ = False  # pytest must not collect this class

    name: str
    file: str
    verdict: str
    checks: tuple[dict[str, object], ...] = ()
    message: str = ""


class RecordsFile(Struct, frozen=True):
    """A records file under `.loom/records`, with one line for each record.

    `path` is the file's name, `sha256` the hash of its content, and `count` the number of its
    lines.
    """

    path: str
    sha256: str
    count: int


class WatermarkChange(Struct, frozen=True):
    """The watermark of an incremental extraction, before and after a run.

    `cursor` is the name of the field. `before` is None if the run has read all records, or those
    from `initial`. `after` is None if no run has read a record yet.
    """

    cursor: str
    before: str | None
    after: str | None


class Run(Struct, frozen=True):
    """A run: the content of one run file.

    It contains everything that one invocation did at one revision. `question` contains the
    evaluation settings that all cases share: evaluators, their code and the judge. `judges` maps
    each evaluator to the models that answered as its judge. `served` are the models that answered
    the prompt. The names of the models are those that the providers report.

    `cases` has at most 1,000 cases; a larger run stores its cases in its records file only. `limit`
    is the number of records after which the run stopped reading, None if the run read all records.
    If the evaluators, tests and data come from another commit than the run's own, `question_from`
    is this other commit; else it is empty. If the run resumes an earlier run, `resumes` is the uid
    of the first attempt; else it is empty. `target` is the name of the target, None
    if the settings have no targets. `watermark` is None if the extraction is not incremental.
    """

    schema_version: int
    run_id: str
    uid: str
    kind: Kind
    pipeline: str
    pipeline_version: str | None
    execution_date: str
    started: str
    commit: Commit
    scope: str
    config: RunConfig
    results: Results
    evaluation: dict[str, ScoreSummary]
    cost: Cost
    performance: Performance
    selected: int
    total: int
    complete: bool
    environment: dict[str, str]
    source: str
    destination: str
    snapshot: str = ""
    records: RecordsFile | None = None
    question: dict[str, object] = field(default_factory=dict)
    judges: dict[str, list[str]] = field(default_factory=dict)
    cases: tuple[Case, ...] = ()
    files: dict[str, str] = field(default_factory=dict)
    tests: tuple[TestRecord, ...] = ()
    served: list[str] = field(default_factory=list)
    limit: int | None = None
    question_from: str = ""
    resumes: str = ""
    target: str | None = None
    watermark: WatermarkChange | None = None


class RunSummary(Struct, frozen=True):
    """An entry in the index of runs. `loom runs list` shows each entry as one line.

    `path` is the path of the run file. `blobs` are the ids of the Git blobs that the run used: the
    prompt, the context files, the pipeline file, and the files that these include. `scores` maps
    each evaluator to its mean score, or to None if the evaluator has no scores. `scored` maps each
    evaluator to its number of scores. `limit`, `question_from` and `target` are the same as in
    `Run`.
    """

    uid: str
    run_id: str
    kind: str
    pipeline: str
    started: str
    commit: str
    branch: str
    dirty: bool
    fingerprint: str
    status: str
    complete: bool
    processed: int
    validated: int
    score: float | None
    cost: float | None
    duration: float
    path: str
    blobs: list[str]
    scores: dict[str, float | None]
    scored: dict[str, int]
    limit: int | None = None
    question_from: str = ""
    target: str | None = None
