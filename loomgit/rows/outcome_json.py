"""The JSON form of a record's outcome in a journal. It does not contain the record itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from loomgit.domain.models import CallTotals, Usage
from loomgit.domain.records import Assessment, Output, RecordFailure, RecordOutcome, Score

if TYPE_CHECKING:
    from loomgit.domain.records import Record

_encoder = msgspec.json.Encoder()


def encode_outcome(outcome: RecordOutcome) -> bytes:
    """Return the outcome as a JSON array on one line, without a line end."""
    return _encoder.encode(
        (
            outcome.output,
            outcome.assessments,
            outcome.failure,
            outcome.evaluated,
            outcome.fallback,
            outcome.replaced,
            outcome.discarded,
            outcome.attempts,
            outcome.refusals,
        )
    )


def is_paid(outcome: RecordOutcome) -> bool:
    """Whether a call for the record has a cost, or an unknown cost."""
    output = outcome.output
    if output is not None and output.calls and output.cost != 0.0:
        return True
    return any(
        (score is not None and score.calls > 0 and score.cost != 0.0)
        or (spent is not None and spent.made > 0 and spent.cost != 0.0)
        for score, spent in (
            (each.score, each.spent) for each in (*outcome.assessments, *outcome.discarded)
        )
    )


def decode_outcome(record: Record, text: bytes) -> RecordOutcome:
    """Return the outcome of `record` that `encode_outcome` has encoded.

    Raises ValueError, TypeError or KeyError if the text is not an encoded outcome.
    """
    values = msgspec.json.decode(text)
    output, assessments, failure, evaluated, fallback, replaced, discarded = values[:7]
    attempts, refusals = values[7:] or (1, 0)  # older versions do not write these numbers
    return RecordOutcome(
        record,
        output=None if output is None else _output(output),
        assessments=tuple(map(_assessment, assessments)),
        failure=_failure(failure),
        evaluated=evaluated,
        fallback=fallback,
        replaced=_failure(replaced),
        discarded=tuple(map(_assessment, discarded)),
        resumed=True,
        attempts=attempts,
        refusals=refusals,
    )


def _output(values: dict[str, Any]) -> Output:
    return Output(**{**values, "usage": Usage(**values["usage"])})


def _failure(values: dict[str, Any] | None) -> RecordFailure | None:
    return None if values is None else RecordFailure(**values)


def _assessment(values: dict[str, Any]) -> Assessment:
    score, spent = values["score"], values["spent"]
    if score is not None:
        score = Score(**{**score, "usage": Usage(**score["usage"])})
    if spent is not None:
        spent = CallTotals(**{**spent, "usage": Usage(**spent["usage"])})
    return Assessment(**{**values, "score": score, "spent": spent})
