"""Applies trailers `Loom-Accept: <pipeline or metric>: <reason>`, by which people accept losses.

A trailer is a line `NAME: VALUE` at the end of a commit message. All reports show the accepted
losses.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.comparison import worst_outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.comparison import Comparison, Metric, PipelineComparison

TRAILER = "Loom-Accept"


class Acceptance(Struct, frozen=True):
    """A person's statement that a loss is acceptable.

    `subject` is the name of a pipeline, the name of a metric, or both: `pipeline.metric`. `commit`
    is the id of the commit with the trailer. It is empty if the commit does not exist yet.
    """

    subject: str
    reason: str
    commit: str = ""

    def __str__(self) -> str:
        commit = f" ({self.commit[:8]})" if self.commit else ""
        return f"{self.subject}: {self.reason}{commit}"

    def covers(self, pipeline: str, metric: str) -> bool:
        """Return whether the acceptance applies to this metric of this pipeline."""
        return self.subject in (pipeline, metric, f"{pipeline}.{metric}")


def parse_acceptance(value: str, commit: str = "") -> Acceptance | None:
    """Parse the value of a trailer: `<subject>: <reason>`.

    Returns None if the subject is missing, or if the reason contains no letter or digit.
    """
    subject, colon, reason = value.partition(":")
    if not colon or not subject.strip() or not any(map(str.isalnum, reason)):
        return None
    return Acceptance(subject.strip(), " ".join(reason.split()), commit)


def accept(comparison: Comparison, accepted: Sequence[Acceptance]) -> Comparison:
    """Return the comparison with outcomes that ignore the accepted losses.

    Accepted losses do not block a merge, but they remain in the table of metrics.
    """
    if not accepted:
        return comparison
    pipelines = tuple(_accept(pipeline, accepted) for pipeline in comparison.pipelines)
    if pipelines == comparison.pipelines:
        return comparison
    outcomes = [pipeline.outcome for pipeline in pipelines]
    return replace(comparison, pipelines=pipelines, outcome=worst_outcome(outcomes))


def needs_acceptance(comparison: PipelineComparison) -> bool:
    """Return whether the comparison of a pipeline has a loss that a person can accept.

    Such a loss is a degraded outcome, a changed evaluator, or a removed or changed case.
    """
    return bool(
        comparison.outcome == "degraded"
        or comparison.requestioned
        or comparison.removed
        or comparison.changed
    )


def _accept(comparison: PipelineComparison, accepted: Sequence[Acceptance]) -> PipelineComparison:
    """Return a pipeline's comparison with an outcome that ignores the accepted losses.

    If the subject of an acceptance is the pipeline, all losses of the pipeline are accepted. The
    subject can also be a metric, `evaluators` (accepts that the head changed evaluators), or
    `cases` (accepts that the head removed or changed cases).
    """
    comparison = _accept_changes(comparison, accepted)
    used: dict[str, None] = {}
    remaining: list[Metric] = []
    for metric in comparison.metrics:
        if not metric.gated:
            continue
        covering = [item for item in accepted if item.covers(comparison.pipeline, metric.name)]
        if metric.outcome == "degraded" and covering:
            used[str(covering[0])] = None
        else:
            remaining.append(metric)
    if not used:
        return comparison
    outcome = worst_outcome([metric.outcome for metric in remaining])
    if outcome in ("improved", "unchanged"):
        outcome = "no_worse"  # neither improved nor unchanged: an accepted metric is worse
    if outcome == "no_worse" and comparison.is_doubtful:
        outcome = "inconclusive"
    return replace(
        comparison, outcome=outcome, accepted=tuple(dict.fromkeys((*comparison.accepted, *used)))
    )


def _accept_changes(
    comparison: PipelineComparison, accepted: Sequence[Acceptance]
) -> PipelineComparison:
    """Return the comparison with an outcome that ignores accepted changes to evaluators and cases.

    If these changes were the only reason for an inconclusive outcome, the new outcome is the worst
    outcome of the gated metrics.
    """
    used: dict[str, None] = {}
    for subject, has_changed in (
        ("evaluators", bool(comparison.requestioned)),
        ("cases", bool(comparison.removed or comparison.changed)),
    ):
        covering = [item for item in accepted if item.covers(comparison.pipeline, subject)]
        if not has_changed or not covering:
            continue
        used[str(covering[0])] = None
        if subject == "cases":
            comparison = replace(comparison, may_lose=True)
        else:
            comparison = replace(comparison, requestioned=())
    if not used:
        return comparison
    comparison = replace(comparison, accepted=tuple(dict.fromkeys((*comparison.accepted, *used))))
    gated = [metric.outcome for metric in comparison.metrics if metric.gated]
    if comparison.outcome != "inconclusive" or comparison.is_doubtful or not gated:
        return comparison
    return replace(comparison, outcome=worst_outcome(gated))
