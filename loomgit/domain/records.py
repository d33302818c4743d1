"""A record on its way through a pipeline, and its result at each stage."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from loomgit.domain.keys import digest, record_key
from loomgit.domain.models import CallTotals, Usage
from loomgit.domain.values import Json, JsonMapping, JsonObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EXAMPLES = 20  # the number of records from which Loom learns the fields of the rows
Stage = Literal["extract", "transform", "evaluate", "gate", "load"]
Trouble = Literal["", "product", "infrastructure", "unrecorded", "budget"]


class RefusedRow(Struct, frozen=True):
    """A row that Loom cannot store exactly.

    `place` is the file and line of the row, or the number of the row. `text` is the original text
    of the row, empty if the source is not a text file.
    """

    place: str
    reason: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class RowBatch(Struct, frozen=True):
    """Adjacent rows with the same fields. Each item of `rows` has the values of one row.

    The values are in the order of `names`.
    """

    names: tuple[str, ...]
    rows: Sequence[Sequence[Json]]

    def objects(self) -> Iterator[JsonObject]:
        """Yield each row as a mapping from the names of its fields to their values."""
        for row in self.rows:
            yield dict(zip(self.names, row, strict=True))


class Record(Struct, frozen=True):
    """One row of the source: its position in the extraction (from 0), its key, and its fields.

    `refused` is the reason why the record cannot be processed. It is empty if the record is usable.
    """

    index: int
    key: str
    input: JsonObject
    refused: str = ""


def make_record(
    index: int, row: JsonObject | RefusedRow, key: Sequence[str], source: str = "the source"
) -> Record:
    """Return the record of a row. `source` is the name of the row's source in messages.

    The record is refused if `row` is a RefusedRow, or if a key field is missing, null or empty
    text. Empty text is treated like null, because a CSV file cannot distinguish them.
    """
    if isinstance(row, RefusedRow):
        shown: JsonObject = {"place": row.place, "text": row.text}
        return Record(index, digest(shown)[:32], shown, refused=str(row))
    for name in key:
        if row.get(name) is None or row[name] == "":
            reason = f"record {index + 1} of {source} has no value in its key field '{name}'"
            return Record(index, digest(row)[:32], row, refused=reason)
    return Record(index, record_key(row, key), row)


def first_usable(records: Iterable[Record]) -> list[Record]:
    """Return the first records that are not refused, at most EXAMPLES of them."""
    return list(islice((record for record in records if not record.refused), EXAMPLES))


class Output(Struct, frozen=True):
    """The result of the transform stage for a record: the fields to load, and data about the calls.

    `text` is the reply without the model's `thinking`. `cost` is in USD, None if a price is
    unknown. `latency` is the waiting time for the model in seconds, None for a cache hit. `calls`
    is the number of calls that a provider answered, and `hits` the number of replies from the
    cache. `replaced` is the number of unpaired surrogates that were replaced by U+FFFD.
    """

    fields: JsonObject
    text: str
    model: str
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    latency: float | None = None
    calls: int = 1
    cached: bool = False
    hits: int = 0
    thinking: str = ""
    replaced: int = 0


class EvaluationInput(Struct, frozen=True):
    """The input of an evaluator: the record, its output, and the latency and cost of the output."""

    input: JsonMapping
    output: Json
    latency: float | None = None
    cost: float | None = None


class Score(Struct, frozen=True):
    """A number in [0, 1] with a reason.

    `judge` is the name that the provider reports for the judge model. It is None if no model was
    called. `cost` is in USD, None if a price is unknown. `latency` is in seconds.
    """

    value: float
    reason: str
    judge: str | None = None
    usage: Usage = field(default_factory=Usage)
    cost: float | None = 0.0
    calls: int = 0
    hits: int = 0
    latency: float | None = None


class EvaluatorFailure(Exception):
    """An evaluator cannot judge the output. The text is the reason in one line.

    `spent` is the cost of the failed evaluation, None if no model was called. `product` is true if
    the output is the cause (for example, it lacks the field to judge), and false if the evaluator
    or its judge is the cause.
    """

    def __init__(
        self, reason: str, spent: CallTotals | None = None, *, product: bool = False
    ) -> None:
        super().__init__(reason)
        self.spent = spent
        self.product = product


class JudgeFailure(EvaluatorFailure):
    """A judge model gave no usable answer, so the output has no score."""


class Assessment(Struct, frozen=True):
    """The result of one evaluator for one record: a score or an error.

    `spent` is the cost of an evaluation that ended with an error. The cost of a score is in
    `score`. `trouble` is the cause of an error: `product` (the output), `infrastructure` (the
    provider, the network, or a judge without a usable answer), `unrecorded` (a replay without a
    recorded reply of the judge), or empty (the evaluator itself).
    """

    name: str
    threshold: float
    weight: float = 1.0
    score: Score | None = None
    error: str | None = None
    spent: CallTotals | None = None
    trouble: Trouble = ""

    @property
    def passed(self) -> bool:
        """Whether the score reaches the threshold. An evaluator that failed does not pass."""
        return self.score is not None and self.score.value >= self.threshold


class RecordFailure(Struct, frozen=True):
    """The failure of a record: the stage, and the reason in one line.

    `infrastructure` is true for a provider error, a network error, or a judge without an answer.
    `unrecorded` is true if a replay finds no recorded reply. If `infrastructure` or `unrecorded` is
    true, the prompt is not the cause of the failure.
    """

    stage: Stage
    reason: str
    infrastructure: bool = False
    unrecorded: bool = False


class RecordOutcome(Struct, frozen=True):
    """The final result of a record. The record is loaded if `failure` is None.

    `evaluated` is false if the record was not chosen for evaluation (`evaluate.sample`). `fallback`
    is true if a fallback output is used; `replaced` is then the original failure. `discarded` are
    the assessments of earlier attempts at the record. They are kept because they have a cost.
    `resumed` is true if the outcome comes from the journal of a resumed run: an earlier process
    has paid for its calls. `attempts` is the number of attempts at the output, without a fallback.
    `refusals` is the number of earlier outputs whose rows the destination has refused.
    """

    record: Record
    output: Output | None = None
    assessments: tuple[Assessment, ...] = ()
    failure: RecordFailure | None = None
    evaluated: bool = True
    fallback: bool = False
    replaced: RecordFailure | None = None
    discarded: tuple[Assessment, ...] = ()
    resumed: bool = False
    attempts: int = 1
    refusals: int = 0

    @property
    def is_final(self) -> bool:
        """Whether a resumed run keeps the outcome. It processes a record again after an outage."""
        return self.failure is None or not self.failure.infrastructure
