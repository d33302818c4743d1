"""A run: everything that one invocation did at one revision, as it is kept under `.loom/runs`.

The field names are the JSON's; the mission's run JSON is a subset of it.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

# The store rebuilds these classes from JSON, so the type is needed when the program runs.
from loomgit.domain.versions import Commit

SCHEMA_VERSION = 1
Status = Literal["success", "partial", "failed", "budget_exceeded"]
Kind = Literal["pipeline", "test"]
Cause = Literal["", "gate", "world", "user", "stopped"]


class RunConfig(Struct, frozen=True):
    """What was run: versions as names, the blobs behind them, the hash of all that can matter."""

    prompt_version: str | None
    prompt_blob: str | None
    model: str
    model_version: str | None
    context_versions: dict[str, str]
    context_blobs: dict[str, str]
    parameters: dict[str, object]
    fingerprint: str


class Results(Struct, frozen=True):
    """Records by what became of them.

    `records_validated` passed the gate, `records_rejected` did not get there (`records_failed` of
    them by a failed transform or evaluator, the rest by their scores); `records_validated` splits
    into what the destination gained: `inserted`, `updated`, `unchanged`, `duplicates` of a key, and
    the rows that the destination itself has `kept_out`.
    A record that a fallback stands in for is rejected, and loaded. `reasons` counts why.
    `cause` tells an end that was no success: its own thresholds (`gate`), a provider, disk or
    database (`world`), something to change first (`user`), somebody (`stopped`).
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
    reasons: dict[str, int] = field(default_factory=dict)
    cause: Cause = ""
    message: str = ""


class ScoreSummary(Struct, frozen=True):
    """One evaluator's scores over the run (std: of the sample, ddof 1); `errors` have no score.

    The figures are None where nothing was scored.
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
    """What one model did at one stage: `model` as served, `asked` as it was asked for.

    `calls` are replies that were paid for, `hits` those that were kept from before; the tokens are
    those of the calls, `cached` a part of `input`. `cost` is USD, None where the price of one of
    `unpriced` calls is unknown, `known` what is known of it; `saved` is what the hits cost once.
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
    """USD by stage. A total is None where a call's price is unknown; `known` is what is known.

    `models` splits it by stage and model; it is empty where nobody kept count (test runs, and runs
    of before there was such a split).
    """

    total: float | None
    known: float
    breakdown: dict[str, float | None]
    tokens: dict[str, int]
    calls: int
    cached: int
    unpriced: int
    models: tuple[ModelCost, ...] = ()


class Performance(Struct, frozen=True):
    """Seconds: wall time of the run, of each stage while it was at work, and of a model call."""

    duration: float
    latency: dict[str, float | None]
    stages: dict[str, float]


class Case(Struct, frozen=True):
    """One test case's result: `key` hashes all that can change its scores, `definition` the
    question itself (in JSON: `def`)."""

    id: str
    key: str
    definition: str
    scores: dict[str, list[float | None]]
    samples: int
    passed: int
    cost: float | None
    latency: float | None


class TestRecord(Struct, frozen=True):
    """What became of one test: its name within the file (`unit::obvious_positive`), its verdict,
    its lines (text, verdict, actual)."""

    __test__ = False  # the name is the field's word, not a test of ours

    name: str
    file: str
    verdict: str
    checks: tuple[dict[str, object], ...] = ()
    message: str = ""


class RecordsFile(Struct, frozen=True):
    """The line-a-record file under `.loom/records`: its name, its sha256, its lines."""

    path: str
    sha256: str
    count: int


class Run(Struct, frozen=True):
    """A run file, whole.

    `question` is what every case was asked besides its input: evaluators, judge; `judges` are the
    models that served each evaluator, `served` those that answered the prompt, by their own names.
    `cases` are kept up to a thousand; a bigger run has them in its records file alone.
    `limit` is the number of records at which the run stopped reading, None if it read all.
    `question_from` is the commit whose evaluators, tests and data were asked in place of those of
    the run's own commit; it is empty for all other runs.
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


class RunSummary(Struct, frozen=True):
    """A line of `loom runs list`: what the index keeps of a run file at `path`.

    `blobs` are the contents that it ran: prompt, context files, pipeline file and what they
    include. `scores` are the means by evaluator, None where nothing was scored, `scored` the number
    of scores behind each. `limit` and `question_from` are those of the run.
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
