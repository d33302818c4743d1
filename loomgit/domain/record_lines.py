"""The lines of the files in `.loom/records`, and the meaning of each field.

The file of a pipeline run has one `RecordLine` for each record. The file of a test run has one
`SampleLine` for each reply. `loom schema records` and docs/run-record.md show both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import UNSET, Struct, UnsetType, field

from loomgit.domain.models import Usage
from loomgit.domain.records import Stage, Trouble
from loomgit.domain.samples import Judgement

if TYPE_CHECKING:
    from loomgit.domain.run_fields import FieldTexts

RecordStatus = Literal["loaded", "passed", "quarantined", "skipped"]


class LineTokens(Struct, frozen=True):
    """The tokens of the reply to one record."""

    input: int
    output: int


class LineFailure(Struct, frozen=True):
    """The stage at which a record failed, and the reason."""

    stage: Stage
    reason: str


class RecordLine(Struct, frozen=True):
    """The outcome of one record of a pipeline run. Fields that are UNSET are absent."""

    index: int
    key: str
    status: RecordStatus
    evaluated: bool
    scores: dict[str, float | None]
    reasons: dict[str, str | None]
    case_key: str | UnsetType = UNSET
    definition: str | UnsetType = field(name="def", default=UNSET)
    case_scores: dict[str, float | None] | UnsetType = UNSET
    failure: LineFailure | UnsetType = UNSET
    fallback: bool | UnsetType = UNSET
    output: dict[str, object] | UnsetType = UNSET
    model: str | UnsetType = UNSET
    tokens: LineTokens | UnsetType = UNSET
    cost: float | UnsetType | None = UNSET
    latency: float | UnsetType | None = UNSET
    cached: bool | UnsetType = UNSET
    replaced_characters: int | UnsetType = UNSET
    thinking: str | UnsetType = UNSET


class SampleLine(Struct, frozen=True):
    """One reply to one case of a test run, with its scores."""

    id: str
    key: str
    definition: str = field(name="def")
    index: int
    output: dict[str, object]
    text: str
    model: str
    judgements: dict[str, Judgement]
    score: float | None
    passed: bool
    trouble: Trouble
    failure: str
    usage: Usage
    cost: float | None
    judge_cost: float | None
    latency: float | None
    calls: int
    cached: bool


LINE_FIELDS: FieldTexts = {
    RecordLine: {
        "index": "The position of the record in the extraction, from 0.",
        "key": "The key of the record.",
        "status": "`loaded` (the destination has the row), `passed` (the record passed, but the "
        "run loaded nothing), `quarantined` or `skipped`.",
        "evaluated": "Whether the record was chosen for evaluation (`evaluate.sample`).",
        "scores": "The score of each evaluator, from 0 to 1. Null if the evaluator failed.",
        "reasons": "The reason of each score, or the error of the evaluator.",
        "case_key": "The `key` of the record's case in the run file. Absent, like `def` and "
        "`case_scores`, if the record was loaded in a batch of a pipeline without a transform.",
        "def": "The `def` of the record's case in the run file.",
        "case_scores": "The scores for comparisons, by evaluator: 0 if the output is unusable, and "
        "null if an outage prevented the score.",
        "failure": "The stage and the reason of the failure. Absent if the record passed.",
        "fallback": "True if the output is a fallback. Else absent.",
        "output": "The fields of the output. Absent, like the fields below, if the "
        "record has no output.",
        "model": "The name of the model that the provider reports.",
        "tokens": "The tokens of the reply.",
        "cost": "The cost of the reply in USD, without the evaluators. Null if the price is "
        "unknown.",
        "latency": "The waiting time for the model in seconds. Null for a reply from the cache.",
        "cached": "Whether the reply came from the cache.",
        "replaced_characters": "The number of invalid characters (unpaired surrogates) that U+FFFD "
        "replaced. Absent if no character was replaced.",
        "thinking": "The model's thinking, which is not part of the output. Absent if the model "
        "returned none.",
    },
    LineTokens: {
        "input": "The number of input tokens.",
        "output": "The number of output tokens.",
    },
    LineFailure: {
        "stage": "`extract`, `transform`, `evaluate`, `gate` or `load`.",
        "reason": "The reason in one line.",
    },
    SampleLine: {
        "id": "The key of the record, or the name of the test.",
        "key": "The `key` of the case in the run file.",
        "def": "The `def` of the case in the run file.",
        "index": "The number of the reply to this case, from 0.",
        "output": "The fields of the output.",
        "text": "The text of the reply, without the model's thinking.",
        "model": "The name of the model that the provider reports. Empty if there is no reply.",
        "judgements": "The result of each evaluator, by its name.",
        "score": "The weighted mean of the scores, from 0 to 1. Null if an evaluator has no score, "
        "and after an outage.",
        "passed": "Whether the sample passed the gate.",
        "trouble": "Why there is no usable reply: `product` (the reply itself), `infrastructure` "
        "(an outage), `unrecorded` (a replay without this reply) or `budget` (no call was made). "
        "Else empty.",
        "failure": "The reason in one line why the sample failed. Empty if it passed.",
        "usage": "The tokens of the reply and of its judges.",
        "cost": "The cost in USD, with the evaluators. Null if a price is unknown.",
        "judge_cost": "The part of `cost` for the evaluators, in USD. Null if a price is unknown.",
        "latency": "The waiting time for the model in seconds. Null for a reply from the cache.",
        "calls": "The number of paid calls.",
        "cached": "Whether the reply came from the cache.",
    },
    Judgement: {
        "value": "The score, from 0 to 1. Null if the evaluator failed.",
        "reason": "The reason of the score, or the error of the evaluator.",
        "judge": "The judge model, with the name that the provider reports. Null if no model "
        "judged.",
        "infrastructure": "Whether an outage is the reason for the missing score.",
        "threshold": "The score that the sample must reach. Null if it is unknown.",
    },
    Usage: {
        "input": "The number of input tokens.",
        "output": "The number of output tokens.",
        "cached": "The part of `input` that the provider read from its own cache.",
    },
}
