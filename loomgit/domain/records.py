"""A record on its way through a pipeline, and what became of it at each stage."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from loomgit.domain.keys import digest, record_key
from loomgit.domain.models import Spent, Usage
from loomgit.domain.ports import EvaluatorFailure
from loomgit.domain.values import Json, JsonMapping, JsonObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EXAMPLES = 20  # records that show a destination what rows will come
Stage = Literal["extract", "transform", "evaluate", "gate", "load"]
Trouble = Literal["", "product", "infrastructure", "unrecorded", "budget"]


class RefusedRow(Struct, frozen=True):
    """A row that its source cannot pass on exactly.

    `place` is the file and the line, or the number of the row; `text` is the row as the source has
    it, as far as that is text.
    """

    place: str
    reason: str
    text: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class Record(Struct, frozen=True):
    """One row: its place in the extraction (from 0), its identity, its fields.

    `refused` is the reason why the record cannot be processed; it is empty for all other records.
    """

    index: int
    key: str
    input: JsonObject
    refused: str = ""


def make_record(
    index: int, row: JsonObject | RefusedRow, key: Sequence[str], source: str = "the source"
) -> Record:
    """The record of a row of `source`, which messages name.

    It is refused where the row is, and where a field of `key` has no value: null, or empty text,
    which a CSV file cannot tell from null.
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
    """The first records that are not refused: EXAMPLES of them, or all there are."""
    return list(islice((record for record in records if not record.refused), EXAMPLES))


class Output(Struct, frozen=True):
    """What the transform made of a record: the fields to load, and the calls behind them.

    `text` is the reply without the model's `thinking`; `cost` is USD, None where a price is
    unknown; `latency` is seconds of waiting for the model, None for a cache hit. `calls` are those
    that a provider answered, `hits` replies that were kept from before; `replaced` counts halves
    of characters in whose place U+FFFD stands.
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


class Subject(Struct, frozen=True):
    """What an evaluator sees: the record, the output and what producing it took."""

    input: JsonMapping
    output: Json
    latency: float | None = None
    cost: float | None = None


class Score(Struct, frozen=True):
    """A number in [0, 1] with its reason; `judge` is the model as served, None without a model."""

    value: float
    reason: str
    judge: str | None = None
    usage: Usage = field(default_factory=Usage)
    cost: float | None = 0.0
    calls: int = 0
    hits: int = 0
    latency: float | None = None


class JudgeFailure(EvaluatorFailure):
    """A judge was asked and gave no answer that can be used: nothing was measured."""


class Assessment(Struct, frozen=True):
    """One evaluator's word on one record: a score, or the error that took its place.

    `spent` is what was paid for an error; a score has its own bill. `trouble` tells whose fault an
    error is: the output's (`product`), the world's or a judge's (`infrastructure`), a replay's that
    lacks the judge's reply (`unrecorded`), else the evaluator's own.
    """

    name: str
    threshold: float
    weight: float = 1.0
    score: Score | None = None
    error: str | None = None
    spent: Spent | None = None
    trouble: Trouble = ""

    @property
    def passed(self) -> bool:
        """Whether the score reaches the threshold; an evaluator that erred did not pass."""
        return self.score is not None and self.score.value >= self.threshold


class Failure(Struct, frozen=True):
    """Why a record did not get through: the stage, one line of reason, whether the world failed.

    `infrastructure` is true for provider and network errors and for a judge that gives no answer:
    those say nothing of the prompt; so does a reply that a replay lacks (`unrecorded`).
    """

    stage: Stage
    reason: str
    infrastructure: bool = False
    unrecorded: bool = False


class Outcome(Struct, frozen=True):
    """The end of a record's way: loaded when `failure` is None.

    `evaluated` is false where `evaluate.sample` left the record out; `replaced` is the failure that
    a fallback stands in for; `discarded` are the judgements of earlier attempts, which cost too.
    """

    record: Record
    output: Output | None = None
    assessments: tuple[Assessment, ...] = ()
    failure: Failure | None = None
    evaluated: bool = True
    fallback: bool = False
    replaced: Failure | None = None
    discarded: tuple[Assessment, ...] = ()
