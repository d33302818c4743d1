"""Summarizes a test session in a table for each pipeline: scores, intervals, changes from the
baseline, costs and calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.comparison.gate import compare_sides, decide
from loomgit.domain.bills import Bill
from loomgit.domain.comparison import Limits, MeasuredSide
from loomgit.domain.safe_text import hide
from loomgit.domain.samples import Sample, stored_case
from loomgit.errors import LoomError, UserError
from loomgit.harness.draws import Name
from loomgit.harness.results import cost_of
from loomgit.report.evidence import ComparisonEvidence, score_distributions
from loomgit.report.html import render_session
from loomgit.report.session import PipelineTable, ScoreRow, TestLine, render_json, render_markdown
from loomgit.stats.bounds import moments_bounded_mean
from loomgit.stats.summary import Moments
from loomgit.workflows.measured_side import measured_now
from loomgit.workflows.testing.baseline import TestBaselines
from loomgit.workflows.testing.results import SessionResults

if TYPE_CHECKING:
    from pathlib import Path

    from loomgit.domain.comparison import Metric
    from loomgit.domain.samples import CaseSamples
    from loomgit.harness.outcome import TestOutcome


class Summary(Struct):
    """The tables of one session. They are computed at the first use.

    `bills` are the costs by (project, pipeline), including the costs of samples that no finished
    test used. If `baseline` is None, the default baseline applies.
    """

    results: Sequence[SessionResults]
    samples: Mapping[Name, Sample]
    baseline: str | None = None
    bills: Mapping[tuple[str, str], Bill] = field(default_factory=dict)
    _tables: list[PipelineTable] | None = None
    _sides: dict[str, tuple[MeasuredSide, MeasuredSide]] = field(default_factory=dict)

    def tables(self) -> list[PipelineTable]:
        """Return a table for each tested pipeline, project by project."""
        if self._tables is None:
            self._tables = [
                table for result in self.results for table in self._project_tables(result)
            ]
        return self._tables

    @property
    def unanswered(self) -> str:
        """The reason why no test was verified: `denied` or `lost`. Empty if at least one test was
        verified."""
        outcomes = (outcome for result in self.results for outcome in result.outcomes)
        return min((outcome.unanswered for outcome in outcomes), default="")

    def _project_tables(self, result: SessionResults) -> list[PipelineTable]:
        baselines = TestBaselines(result.wiring, self.baseline)
        try:
            return [self._table(result, name, baselines) for name in result.pipelines()]
        finally:
            baselines.close()

    def write(self, path: Path) -> None:
        """Write the session to a file.

        The format is Markdown if the name ends with `.md`, JSON if it ends with `.json`, and HTML
        in all other cases. Raises UserError if the file cannot be written.
        """
        tables = self.tables()
        if path.suffix == ".md":
            text = render_markdown(tables)
        elif path.suffix == ".json":
            text = render_json(tables)
        else:
            text = self._page(tables)
        try:
            path.write_text(hide(text), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from error

    def _page(self, tables: Sequence[PipelineTable]) -> str:
        evidence = {
            name: ComparisonEvidence(score_distributions(base, head))
            for name, (base, head) in self._sides.items()
        }
        commit = self.results[0].wiring.repository.head().id if self.results else ""
        return render_session(tables, evidence, commit=commit)

    def _table(
        self, result: SessionResults, pipeline: str, baselines: TestBaselines
    ) -> PipelineTable:
        outcomes = result.outcomes_of(pipeline)
        sampled = [outcome for outcome in outcomes if outcome.fingerprint and not outcome.extra]
        model = _most_common([outcome.model for outcome in sampled])
        main = [outcome for outcome in sampled if outcome.model == model]
        # Tests with other variables have another fingerprint. Their results cannot be mixed.
        fingerprint = _most_common([outcome.fingerprint for outcome in main])
        main = [outcome for outcome in main if outcome.fingerprint == fingerprint]
        cases = result.cases(main, self.samples)
        all_cases = result.cases(outcomes, self.samples)
        cost = cost_of(all_cases)
        integration = [outcome for outcome in outcomes if outcome.kind == "integration"]
        bill = self.bills.get((str(result.wiring.root), pipeline)) or Bill()
        samples = [sample for case in all_cases for sample in case.samples]
        version, changes, note = self._compare(result, main, pipeline, cases, baselines)
        return PipelineTable(
            pipeline=pipeline,
            version=version,
            lines=tuple(
                TestLine(e.kind, e.name, e.verdict, e.score, e.message, e.checks, e.blocks)
                for e in outcomes
            ),
            scores=tuple(_scores(cases, changes)),
            note=note,
            calls=bill.calls,
            reused=sum(sample.reused for sample in samples),
            cached=cost.cached + sum(outcome.cached for outcome in integration),
            cost=bill.cost,
            unanswered=bill.unanswered,
        )

    def _compare(
        self,
        result: SessionResults,
        main: Sequence[TestOutcome],
        pipeline: str,
        cases: Sequence[CaseSamples],
        baselines: TestBaselines,
    ) -> tuple[str | None, Mapping[str, Metric], str]:
        """Return (pipeline version, map from score name to comparison, note). The version is None
        if the pipeline cannot be read."""
        try:
            first = (main or result.outcomes_of(pipeline))[0]
            version = result.version(pipeline, main[0].model if main else None, first.file)
        except LoomError as error:
            return None, {}, error.message.partition("\n")[0]
        number = version.plan.pipeline.version
        if not main:
            return number, {}, ""
        if main[0].fingerprint != version.fingerprint:
            return (
                number,
                {},
                "the pipeline changed while the tests ran: the results were not saved",
            )
        baseline = baselines.find(version, None)
        if baseline.measured is None:
            return number, {}, baseline.note
        base = baseline.measured
        head = measured_now(version.plan, cases)
        self._sides[pipeline] = base, head
        limits = Limits(allow_removed=True)
        (comparison,) = decide([compare_sides(pipeline, base, head, limits)])
        note = f"compared with {baseline.name}"
        if comparison.differs:
            differences = "; ".join(map(str, comparison.differs))
            note = f"not comparable with {baseline.name}: {differences}"
        scores = {m.name: m for m in comparison.metrics if m.gated and m.kind == "score"}
        return number, scores, note


def _bounded(values: Sequence[float]) -> tuple[float, float, float]:
    """Return (mean, low, high): the mean of the values, and the limits of its 90 % interval."""
    moments = Moments()
    for value in values:
        moments.add(value)
    bound = moments_bounded_mean(
        moments.n, moments.mean or 0.0, moments.std or 0.0, moments.min, moments.max, 0.0, 1.0
    )
    return bound.estimate, bound.low, bound.high


def _most_common(values: Sequence[str | None]) -> str | None:
    """Return the most common value, or the first of several equally common values. Return None if
    there are no values."""
    return max(dict.fromkeys(values), key=values.count, default=None)


def _scores(cases: Sequence[CaseSamples], changes: Mapping[str, Metric]) -> list[ScoreRow]:
    scored = [stored_case(case) for case in cases]
    names = dict.fromkeys(name for case in scored for name in case.scores)
    rows: list[ScoreRow] = []
    for name in names:
        values = [
            value for case in scored for value in case.scores.get(name, []) if value is not None
        ]
        if not values:
            rows.append(ScoreRow(name, None, None, None, 0, changes.get(name)))
            continue
        rows.append(ScoreRow(name, *_bounded(values), len(values), changes.get(name)))
    return rows
