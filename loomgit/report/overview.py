"""The overview of a project's pipelines (runs, score trends and cost) as values, text and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.comparison import Comparison
from loomgit.domain.log import FileLog
from loomgit.domain.runs import RunSummary
from loomgit.domain.values import to_plain
from loomgit.domain.versions import Commit
from loomgit.report.comparison import document, sentence
from loomgit.report.evidence import ComparisonEvidence
from loomgit.report.log import KINDS, log_document, replace_control_characters
from loomgit.report.text import money, named

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.values import Json, JsonObject

SCHEMA_VERSION = 1
SHOWN_RUNS = 5


class PipelineHistory(Struct, frozen=True):
    """The stored data of one pipeline.

    `runs` are newest first. `log` is the log of the pipeline's prompt file. If data is missing,
    `note` is the reason.

    A fingerprint is a hash of everything that can change the results. The runs at a commit can have
    different fingerprints. For each such commit, `own` contains the fingerprint of the pipeline at
    this commit, or None if the pipeline cannot be read there.
    """

    name: str
    version: str | None
    prompt: str
    runs: tuple[RunSummary, ...]
    log: FileLog | None = None
    note: str = ""
    own: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def cost(self) -> float:
        """The total cost in USD of all runs with a known cost."""
        return sum(run.cost for run in self.runs if run.cost is not None)

    @property
    def unpriced(self) -> int:
        """The number of runs with an unknown cost."""
        return sum(run.cost is None for run in self.runs)


class Overview(Struct, frozen=True):
    """A project at a commit: its pipelines, and a comparison of the stored results.

    If the stored results allow no comparison, `comparison` is None, and `notes` contains the
    reason. `evidence` maps pipelines to the data behind the comparison. `since` is the start date
    of the overview, or empty.
    """

    project: str
    commit: Commit
    pipelines: tuple[PipelineHistory, ...]
    since: str = ""
    comparison: Comparison | None = None
    evidence: Mapping[str, ComparisonEvidence] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Point(Struct, frozen=True):
    """A point of a trend: the scores of one run by evaluator.

    If several complete runs at a commit have the same inputs, the point has the scores of the first
    run.
    """

    commit: str
    dirty: bool
    started: str
    scores: Mapping[str, float]

    @property
    def label(self) -> str:
        """The commit, such as `1a2b3c4d`, with a star if there were uncommitted changes."""
        return f"{self.commit[:8]}{'*' if self.dirty else ''}"


class Trend(Struct, frozen=True):
    """Scores over commits, oldest first.

    `kind` is `pipeline` or `test`. Pipeline runs and tests have separate trends, because their
    cases differ.
    """

    kind: str
    points: tuple[Point, ...]

    @property
    def title(self) -> str:
        """The title of the trend, such as `pipeline runs`."""
        return KINDS.get(self.kind, self.kind)

    @property
    def committed(self) -> tuple[Point, ...]:
        """The points of runs without uncommitted changes. They show how the pipeline developed.

        If all runs have uncommitted changes, the result contains all points.
        """
        return tuple(point for point in self.points if not point.dirty) or self.points


def trends(history: PipelineHistory) -> tuple[Trend, ...]:
    """Return the trend of the pipeline runs and the trend of the tests.

    The points are in the order of their runs. A run without uncommitted changes has a point only if
    it used the inputs of its commit. Each state of uncommitted changes has its own point. If runs
    have the same inputs, only the first complete run has a point. A run has no point if it used a
    limited number of records, or if it was judged with the evaluators of another commit.
    """
    points: dict[str, list[Point]] = {}
    seen: set[tuple[str, str, bool, str]] = set()
    for run in sorted(history.runs, key=lambda run: (run.started, run.uid)):
        inputs = (run.kind, run.commit, run.dirty, run.fingerprint)
        scores = {name: mean for name, mean in run.scores.items() if mean is not None}
        if not (_counts(run) and scores and inputs not in seen):
            continue
        seen.add(inputs)
        own = None if run.dirty else history.own.get(run.commit)
        if own in (None, run.fingerprint):
            point = Point(run.commit, run.dirty, run.started, scores)
            points.setdefault(run.kind, []).append(point)
    return tuple(Trend(kind, tuple(series)) for kind, series in points.items())


def ambiguous_commits(runs: Sequence[RunSummary]) -> list[str]:
    """Return the commits at which runs had different inputs.

    Runs with uncommitted changes are ignored.
    """
    inputs: dict[str, set[str]] = {}
    for run in runs:
        if _counts(run) and not run.dirty:
            inputs.setdefault(run.commit, set()).add(run.fingerprint)
    return [commit for commit, fingerprints in inputs.items() if len(fingerprints) > 1]


def _counts(run: RunSummary) -> bool:
    return run.complete and run.limit is None and not run.question_from


def overview_lines(overview: Overview) -> Iterator[str]:
    """Yield the lines of the overview for the terminal."""
    if not overview.pipelines:
        yield "There are no pipelines yet."
        return
    for number, pipeline in enumerate(overview.pipelines):
        if number:
            yield ""
        yield from _pipeline(pipeline)
    yield ""
    if overview.comparison is not None:
        base, head = overview.comparison.base, overview.comparison.head
        yield f"{head.name} against {base.name}: {sentence(overview.comparison)}"
    yield from overview.notes


def _pipeline(pipeline: PipelineHistory) -> Iterator[str]:
    count = len(pipeline.runs)
    runs = f"{count:,} run{'s' if count != 1 else ''}"
    yield f"{named(pipeline.name, pipeline.version)}: {runs}, {total_cost_text(pipeline)}"
    for trend in trends(pipeline):
        for name, (first, last) in first_and_last_scores(trend).items():
            difference = f" ({last - first:+.3f} since {trend.committed[0].label})"
            change = difference if len(trend.committed) > 1 else ""
            yield f"  {trend.title}: {replace_control_characters(name)} {last:.3f}{change}"
    for run in pipeline.runs[:SHOWN_RUNS]:
        commit = run.commit[:8] + ("*" if run.dirty else "")
        passed = f"{run.validated:,}/{run.processed:,} passed"
        description = f"{run.kind} {run.status}, {passed}, {money(run.cost)}"
        yield f"  {run.run_id}  {commit}  {description}"
    if count > SHOWN_RUNS:
        yield f"  and {count - SHOWN_RUNS:,} more runs (`loom runs list` shows them)"
    if pipeline.note:
        yield f"  note: {replace_control_characters(pipeline.note)}"


def first_and_last_scores(trend: Trend) -> dict[str, tuple[float, float]]:
    """Return the first and the last score of each evaluator.

    Points with uncommitted changes are ignored if the trend has other points, because an experiment
    in the working tree does not change the pipeline.
    """
    points = trend.committed
    names = dict.fromkeys(name for point in points for name in point.scores)
    series = {n: [p.scores[n] for p in points if n in p.scores] for n in names}
    return {name: (scores[0], scores[-1]) for name, scores in series.items()}


def total_cost_text(pipeline: PipelineHistory) -> str:
    """Return the total cost of a pipeline, such as `$1.20 spent`.

    The text also contains the number of runs with an unknown cost.
    """
    unknown = f" (the cost of {pipeline.unpriced:,} runs is unknown)" if pipeline.unpriced else ""
    return f"{money(pipeline.cost)} spent{unknown}"


def overview_document(overview: Overview) -> JsonObject:
    """Return the JSON document of `loom report`."""
    comparison = overview.comparison
    notes: list[Json] = [*overview.notes]
    return {
        "schema_version": SCHEMA_VERSION,
        "project": overview.project,
        "commit": overview.commit.id,
        "dirty": overview.commit.dirty,
        "since": overview.since or None,
        "pipelines": [_object(pipeline) for pipeline in overview.pipelines],
        "comparison": None
        if comparison is None
        else document(comparison, blocked=comparison.blocks()),
        "notes": notes,
    }


def _object(pipeline: PipelineHistory) -> JsonObject:
    runs: list[Json] = [to_plain(run) for run in pipeline.runs]
    return {
        "name": pipeline.name,
        "version": pipeline.version,
        "prompt": pipeline.prompt or None,
        "cost": pipeline.cost,
        "unpriced_runs": pipeline.unpriced,
        "trends": [
            {
                "kind": trend.kind,
                "commits": [
                    {
                        "commit": point.commit,
                        "dirty": point.dirty,
                        "started": point.started,
                        "scores": {**point.scores},
                    }
                    for point in trend.points
                ],
            }
            for trend in trends(pipeline)
        ],
        "versions": log_document(pipeline.log)["versions"] if pipeline.log else [],
        "runs": runs,
        "note": pipeline.note or None,
    }
