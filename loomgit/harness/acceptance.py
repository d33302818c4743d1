"""Accepted losses: `Loom-Accept: <pipeline or metric>: <reason>` in a commit message lets that loss
pass, and shows in every report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.comparison import worst

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.comparison import Comparison, Metric, PipelineComparison

TRAILER = "Loom-Accept"


class Acceptance(Struct, frozen=True):
    """What somebody accepts: `subject` is a pipeline, a metric, or `pipeline.metric`; `commit` is
    where it was said, empty for a commit that is being made."""

    subject: str
    reason: str
    commit: str = ""

    def __str__(self) -> str:
        where = f" ({self.commit[:8]})" if self.commit else ""
        return f"{self.subject}: {self.reason}{where}"

    def covers(self, pipeline: str, metric: str) -> bool:
        """Whether it is about this metric of this pipeline."""
        return self.subject in (pipeline, metric, f"{pipeline}.{metric}")


def parse_acceptance(value: str, commit: str = "") -> Acceptance | None:
    """A trailer's value; None where it names nothing or gives no reason."""
    subject, colon, reason = value.partition(":")
    if not colon or not subject.strip() or not any(map(str.isalnum, reason)):
        return None
    return Acceptance(subject.strip(), " ".join(reason.split()), commit)


def accept(comparison: Comparison, accepted: Sequence[Acceptance]) -> Comparison:
    """The comparison in which an accepted degradation blocks no more; it stays in the table."""
    if not accepted:
        return comparison
    pipelines = tuple(_accept(pipeline, accepted) for pipeline in comparison.pipelines)
    if pipelines == comparison.pipelines:
        return comparison
    outcomes = [pipeline.outcome for pipeline in pipelines]
    return replace(comparison, pipelines=pipelines, outcome=worst(outcomes))


def needs_acceptance(found: PipelineComparison) -> bool:
    """Whether there is anything in the comparison of a pipeline that somebody may accept."""
    return bool(found.outcome == "degraded" or found.requestioned or found.removed or found.changed)


def _accept(found: PipelineComparison, accepted: Sequence[Acceptance]) -> PipelineComparison:
    """The comparison without the losses that are accepted: by the pipeline, by a metric, or by the
    words `evaluators` (those that the change has changed) and `cases` (those that are gone)."""
    found = _accept_changes(found, accepted)
    said: dict[str, None] = {}
    left: list[Metric] = []
    for metric in found.metrics:
        if not metric.gated:
            continue
        covering = [item for item in accepted if item.covers(found.pipeline, metric.name)]
        if metric.outcome == "degraded" and covering:
            said[str(covering[0])] = None
        else:
            left.append(metric)
    if not said:
        return found
    outcome = worst([metric.outcome for metric in left])
    if outcome in ("improved", "unchanged"):
        outcome = "no_worse"  # with a loss that somebody stands for
    if outcome == "no_worse" and found.is_doubtful:
        outcome = "inconclusive"
    return replace(found, outcome=outcome, accepted=tuple(dict.fromkeys((*found.accepted, *said))))


def _accept_changes(
    found: PipelineComparison, accepted: Sequence[Acceptance]
) -> PipelineComparison:
    """The comparison with accepted changes of the evaluators and of the cases."""
    said: dict[str, None] = {}
    for word, there in (
        ("evaluators", bool(found.requestioned)),
        ("cases", bool(found.removed or found.changed)),
    ):
        covering = [item for item in accepted if item.covers(found.pipeline, word)]
        if not there or not covering:
            continue
        said[str(covering[0])] = None
        if word == "cases":
            found = replace(found, may_lose=True)
        else:
            found = replace(found, requestioned=())
    if not said:
        return found
    found = replace(found, accepted=tuple(dict.fromkeys((*found.accepted, *said))))
    if found.outcome != "inconclusive" or found.is_doubtful or not found.metrics:
        return found
    return replace(found, outcome=worst([m.outcome for m in found.metrics if m.gated]))
