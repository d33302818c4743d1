"""Collects the outcomes of a test session from all its processes, and stores them as runs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.models import other_models
from loomgit.domain.runs import TestRecord
from loomgit.domain.samples import CaseSamples
from loomgit.domain.suites import group_of
from loomgit.errors import LoomError
from loomgit.harness.outcome import TestOutcome
from loomgit.harness.results import served_models
from loomgit.wiring.catalog import SUITE_ENDINGS
from loomgit.wiring.project import Wiring
from loomgit.wiring.revision import PipelineVersion, ProjectRevision
from loomgit.workflows.testing.accepted_losses import load_acceptances
from loomgit.workflows.testing.baseline import TestBaselines
from loomgit.workflows.testing.run_writer import TestRunWriter
from loomgit.workflows.testing.suite_changes import find_suite_change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.runs import Cause, Run
    from loomgit.domain.samples import Sample
    from loomgit.harness.draws import Name
    from loomgit.harness.overrides import Options


class SessionResults(Struct):
    """The outcomes and samples of one project's tests in a session."""

    wiring: Wiring
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    outcomes: list[TestOutcome] = field(default_factory=list)
    _pipelines: dict[tuple[str, str | None, str], PipelineVersion | LoomError] = field(
        default_factory=dict
    )

    def add(self, outcome: TestOutcome) -> None:
        """Add the outcome of one test."""
        self.outcomes.append(outcome)

    def pipelines(self) -> list[str]:
        """Return the names of the tested pipelines, in the order of their first tests."""
        return list(dict.fromkeys(outcome.pipeline for outcome in self.outcomes))

    def outcomes_of(self, pipeline: str) -> list[TestOutcome]:
        """Return the outcomes of a pipeline's tests."""
        return [outcome for outcome in self.outcomes if outcome.pipeline == pipeline]

    def version(self, pipeline: str, model: str | None = None, file: str = "") -> PipelineVersion:
        """Return the version that a pipeline has at the end of the tests.

        `model` replaces the pipeline's model. `file` is the test file whose variables apply. Raises
        LoomError if the pipeline or the test file cannot be read.
        """
        name = pipeline, model, file
        if name not in self._pipelines:
            revision = ProjectRevision(self.wiring)
            try:
                suite = revision.catalog.suite(file) if file.endswith(SUITE_ENDINGS) else None
                given = revision.given(suite)
                self._pipelines[name] = revision.version(pipeline, model=model, given=given)
            except LoomError as error:
                self._pipelines[name] = error
        version = self._pipelines[name]
        if isinstance(version, LoomError):
            raise version
        return version

    def cases(
        self, outcomes: Sequence[TestOutcome], samples: Mapping[Name, Sample]
    ) -> list[CaseSamples]:
        """Return the cases that these tests used.

        A case contains the samples that any of these tests used. `samples` maps (case key, sample
        index) to samples.
        """
        cases: dict[str, tuple[str, str, set[int]]] = {}
        for outcome in outcomes:
            for identity, key, definition, indices in outcome.cases:
                cases.setdefault(key, (identity, definition, set()))[2].update(indices)
        return [
            CaseSamples(
                identity,
                key,
                definition,
                {},
                tuple(samples[key, i] for i in sorted(indices) if (key, i) in samples),
            )
            for key, (identity, definition, indices) in cases.items()
        ]

    def find_lost(self, options: Options) -> list[str]:
        """Return a line for each loss in the tests of the tested pipelines.

        `SuiteChange.lost` defines the losses, for example a removed test, a removed expectation or
        changed cases. Losses that a commit accepts are left out. If `options.is_stricter` is false,
        the tests use the loosened settings, and this function warns about each of them. If the
        baseline cannot be read, return no lines and warn.
        """
        baselines, warn = TestBaselines(self.wiring, options.baseline), self.wiring.warn
        try:
            bases = baselines.find_base()
            if bases is None:
                return []
            heads, base = ProjectRevision(self.wiring), bases.wiring.tree.revision
            changes = [find_suite_change(heads, bases, name) for name in self.pipelines()]
            for looser in (setting for change in changes for setting in change.looser):
                if not options.is_stricter:
                    until = f"hooks and `loom ci` use {looser.used} until it is merged"
                    warn(f"{looser.difference} ({until})")
            accepted = load_acceptances(self.wiring, base, None, warn)
            return [line for change in changes for line in change.lost(accepted)]
        except LoomError as error:
            warn(f"the tests could not be compared with the baseline's tests: {error.message}")
            return []
        finally:
            baselines.close()

    def is_whole(self, pipeline: str) -> bool:
        """Return whether all unit and distributional tests of a pipeline have run."""
        try:
            suites = ProjectRevision(self.wiring).suites(pipeline)
        except LoomError:
            return False  # the tests of the pipeline are unknown
        ran = {(outcome.file, outcome.full_name) for outcome in self.outcomes}
        return all(
            (suite.path, f"{group_of(test)}::{test.name}") in ran
            for suite in suites
            for test in (*suite.unit_tests, *suite.distributional_tests)
        )

    def save(
        self, samples: Mapping[Name, Sample], *, selected: int, total: int, finished: bool
    ) -> list[Run]:
        """Write one run for each tested version of each pipeline, and return the runs.

        `selected` is the number of selected tests, and `total` the number of all tests. `finished`
        is true if all selected tests ran.
        A run is complete only if all unit and distributional tests of its pipeline ran and no
        sample was lost. No run is written for a pipeline that can no longer be read or that changed
        during the tests. Raises WorldError if the store cannot be written.
        """
        runs: list[Run] = []
        for pipeline in self.pipelines():
            outcomes = self.outcomes_of(pipeline)
            # Leave out tests that add an evaluator: a run has only the pipeline's own evaluators.
            sampled = [outcome for outcome in outcomes if outcome.fingerprint and not outcome.extra]
            whole = finished and self.is_whole(pipeline)
            groups: dict[str, list[TestOutcome]] = {}
            for outcome in sampled:
                groups.setdefault(outcome.fingerprint, []).append(outcome)
            for group in groups.values() or ([],):
                model = group[0].model if group else None
                try:
                    version = self.version(pipeline, model, (group or outcomes)[0].file)
                except LoomError:
                    continue
                if group and version.fingerprint != group[0].fingerprint:
                    continue  # the pipeline changed during the tests
                cases = self.cases(group, samples)
                runs.append(self._save_run(version, cases, outcomes, selected, total, whole=whole))
        return runs

    def _save_run(
        self,
        version: PipelineVersion,
        cases: Sequence[CaseSamples],
        tests: Sequence[TestOutcome],
        selected: int,
        total: int,
        *,
        whole: bool,
    ) -> Run:
        commit = ProjectRevision(self.wiring).commit(version)
        model = version.plan.sampling.model
        if other := other_models(model, served_models(cases)):
            self.wiring.warn(f"requests for {model} were answered by {' and '.join(other)}")
        writer = TestRunWriter(self.wiring.store, version, commit, self.started)
        try:
            for case in cases:
                for sample in case.samples:
                    writer.add(case, sample)
            lost = sum(sample.lost for case in cases for sample in case.samples)
            failed = sum(outcome.verdict in ("fail", "error") for outcome in tests)
            cause: Cause = "world" if lost else "gate" if failed else ""
            return writer.save(
                cases,
                status="partial" if cause else "success",
                cause=cause,
                message=_message(lost, failed, len(tests)),
                complete=whole and not lost,
                selected=selected,
                total=total,
                tests=[_record(outcome) for outcome in tests],
            )
        except BaseException:
            writer.abandon()
            raise


def _message(lost: int, failed: int, total: int) -> str:
    if lost:
        return f"{lost} samples were lost to outages"
    return f"{failed} of {total} tests failed" if failed else ""


def _record(outcome: TestOutcome) -> TestRecord:
    checks: tuple[dict[str, object], ...] = tuple(
        {
            "text": check.text,
            "verdict": check.verdict,
            "actual": check.actual,
            "low": check.low,
            "high": check.high,
            "n": check.n,
            "note": check.note,
        }
        for check in outcome.checks
    )
    return TestRecord(outcome.full_name, outcome.file, outcome.verdict, checks, outcome.message)
