"""Render the lines of the files in `.loom/records`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loomgit.domain.records import RecordOutcome
    from loomgit.domain.values import JsonObject


def render_record_line(outcome: RecordOutcome, quarantined: bool) -> JsonObject:
    """Return a record's line as a JSON object: the outcome and its reasons, but not the input.

    `quarantined` is true if the run writes rejected records to the quarantine.
    """
    output, failure = outcome.output, outcome.failure
    status = "loaded" if failure is None else "quarantined" if quarantined else "skipped"
    line: JsonObject = {
        "index": outcome.record.index,
        "key": outcome.record.key,
        "status": status,
        "evaluated": outcome.evaluated,
        "scores": {a.name: a.score.value if a.score else None for a in outcome.assessments},
        "reasons": {a.name: a.score.reason if a.score else a.error for a in outcome.assessments},
    }
    if failure is not None:
        line["failure"] = {"stage": failure.stage, "reason": failure.reason}
    if outcome.fallback:
        line["fallback"] = True
    if output is not None:
        line |= {
            "output": output.fields,
            "model": output.model,
            "tokens": {"input": output.usage.input, "output": output.usage.output},
            "cost": output.cost,
            "latency": output.latency,
            "cached": output.cached,
        }
        if output.replaced:
            line["replaced_characters"] = output.replaced
        if output.thinking:
            line["thinking"] = output.thinking
    return line
