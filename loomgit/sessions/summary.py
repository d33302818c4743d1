"""What a session of prompt tests comes to, a table per pipeline: scores, intervals, the change
against the baseline, cost and calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.bills import Bill
from loomgit.domain.comparison import Limits, Measured
from loomgit.domain.outside import hide
from loomgit.domain.samples import Sample, case_of
from loomgit.errors import LoomError, UserError
from loomgit.harness.results import cost_of
from loomgit.harness.session import Name
from loomgit.report.session import Line, PipelineTable, Score, as_markdown, as_object
from loomgit.sessions.ledger import Ledger
from loomgit.sessions.standard import Standards
from loomgit.stats.bounds import moments_bounded_mean
from loomgit.stats.summary import Moments

if TYPE_CHECKING:
    from pathlib import Path

    from loomgit.domain.comparison import Metric
    from loomgit.domain.samples import CaseSamples
    from loomgit.harness.entry import Entry


class Summary(Struct):
    """The tables of one session; made once, when they are first asked for. `bills` are what was
    spent, by project and pipeline, also on samples that no finished test used."""

    ledgers: Sequence[Ledger]
    samples: Mapping[Name, Sample]
    baseline: str | None = None
    bills: Mapping[tuple[str, str], Bill] = field(default_factory=dict)
    _tables: list[PipelineTable] | None = None
    _sides: dict[str, tuple[Measured, Measured]] = field(default_factory=dict)

    def tables(self) -> list[PipelineTable]:
        """A table of each pipeline that was tested, project by project."""
        if self._tables is None:
            self._tables = [table for ledger in self.ledgers for table in self._of(ledger)]
        return self._tables

    @property
    def unanswered(self) -> str:
        """Why no test could be verified: `denied` or `lost`; empty if one could."""
        entries = (entry for ledger in self.ledgers for entry in ledger.entries)
        return min((entry.unanswered for entry in entries), default="")

    def _of(self, ledger: Ledger) -> list[PipelineTable]:
        standards = Standards(ledger.wiring, self.baseline)
        try:
            return [self._table(ledger, name, standards) for name in ledger.pipelines()]
        finally:
            standards.close()

    def write(self, path: Path) -> None:
        """Write the session as HTML, JSON or Markdown, by the file's ending. Raises UserError."""
        tables = self.tables()
        if path.suffix == ".md":
            text = as_markdown(tables)
        elif path.suffix == ".json":
            text = as_object(tables)
        else:
            text = self._page(tables)
        try:
            path.write_text(hide(text), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{path}: {error.strerror or error}") from error

    def _page(self, tables: Sequence[PipelineTable]) -> str:
        from loomgit.report.evidence import Evidence, spreads  # noqa: PLC0415 - as is the next
        from loomgit.report.html import render_session  # noqa: PLC0415 - Jinja2 and matplotlib

        found = {name: Evidence(spreads(base, now)) for name, (base, now) in self._sides.items()}
        commit = self.ledgers[0].wiring.repository.head().id if self.ledgers else ""
        return render_session(tables, found, commit=commit)

    def _table(self, ledger: Ledger, pipeline: str, standards: Standards) -> PipelineTable:
        entries = [entry for entry in ledger.entries if entry.pipeline == pipeline]
        asked = [entry for entry in entries if entry.fingerprint and not entry.extra]
        model = _usual([entry.model for entry in asked])
        main = [entry for entry in asked if entry.model == model]
        cases = ledger.cases(main, self.samples)
        everything = ledger.cases(entries, self.samples)
        cost = cost_of(everything)
        whole = [entry for entry in entries if entry.kind == "integration"]
        bill = self.bills.get((str(ledger.wiring.root), pipeline)) or Bill()
        drawn = [sample for case in everything for sample in case.samples]
        version, moved, note = self._against(ledger, main, pipeline, cases, standards)
        return PipelineTable(
            pipeline=pipeline,
            version=version,
            lines=tuple(
                Line(e.kind, e.name, e.verdict, e.score, e.message, e.checks, e.blocks)
                for e in entries
            ),
            scores=tuple(_scores(cases, moved)),
            note=note,
            calls=bill.calls,
            reused=sum(sample.reused for sample in drawn),
            cached=cost.cached + sum(entry.cached for entry in whole),
            cost=bill.cost,
            unanswered=bill.unanswered,
        )

    def _against(
        self,
        ledger: Ledger,
        main: Sequence[Entry],
        pipeline: str,
        cases: Sequence[CaseSamples],
        standards: Standards,
    ) -> tuple[str | None, Mapping[str, Metric], str]:
        """The pipeline's version, every metric's change by name, and what else to say."""
        try:
            subject = ledger.subject(pipeline, main[0].model if main else None)
        except LoomError as error:
            return None, {}, error.message.partition("\n")[0]
        version = subject.plan.pipeline.version
        if not main:
            return version, {}, ""
        if main[0].fingerprint != subject.fingerprint:
            return version, {}, "it changed while the tests ran: these results are not kept"
        standard = standards.find(subject, None)
        if standard.measured is None:
            return version, {}, standard.note
        from loomgit.harness.comparison import compare_sides, decide  # noqa: PLC0415 - slow
        from loomgit.sessions.measured import measured_now  # noqa: PLC0415 - the same

        base = standard.measured
        now = measured_now(subject.plan, cases)
        self._sides[pipeline] = base, now
        (found,) = decide([compare_sides(pipeline, base, now, Limits(allow_removed=True))])
        note = f"compared with {standard.name}"
        if found.differs:
            note = f"not comparable with {standard.name}: {'; '.join(map(str, found.differs))}"
        return version, {metric.name: metric for metric in found.metrics}, note


def _bounded(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean with its 90 % interval."""
    moments = Moments()
    for value in values:
        moments.add(value)
    found = moments_bounded_mean(
        moments.n, moments.mean or 0.0, moments.std or 0.0, moments.min, moments.max, 0.0, 1.0
    )
    return found.estimate, found.low, found.high


def _usual(models: Sequence[str | None]) -> str | None:
    """The model that most tests ask, of equals the first; None is the pipeline's own."""
    return max(dict.fromkeys(models), key=models.count, default=None)


def _scores(cases: Sequence[CaseSamples], moved: Mapping[str, Metric]) -> list[Score]:
    kept = [case_of(case) for case in cases]
    names = dict.fromkeys(name for case in kept for name in case.scores)
    found: list[Score] = []
    for name in names:
        rows = [[v for v in case.scores.get(name, []) if v is not None] for case in kept]
        values = [value for row in rows for value in row]
        if not values:
            found.append(Score(name, None, None, None, 0, moved.get(name)))
            continue
        found.append(Score(name, *_bounded(values), len(values), moved.get(name)))
    return found
