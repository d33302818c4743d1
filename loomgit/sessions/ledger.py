"""The ledger of a test session: outcomes as they come in, from one process or many, and the runs
that are kept of them at the end."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.models import other_models
from loomgit.domain.runs import TestRecord
from loomgit.domain.samples import CaseSamples
from loomgit.domain.suites import group_of
from loomgit.errors import LoomError
from loomgit.harness.entry import Entry
from loomgit.harness.results import served_of
from loomgit.sessions.keeping import Keeper
from loomgit.wiring.bench import Bench, Subject
from loomgit.wiring.project import Wiring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.runs import Cause, Run
    from loomgit.domain.samples import Sample
    from loomgit.harness.choices import Options
    from loomgit.harness.session import Name


class Ledger(Struct):
    """All entries of one project's tests in a session, and the samples behind them."""

    wiring: Wiring
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    entries: list[Entry] = field(default_factory=list)
    _subjects: dict[tuple[str, str | None], Subject | LoomError] = field(default_factory=dict)

    def add(self, entry: Entry) -> None:
        """Take in one test's outcome."""
        self.entries.append(entry)

    def pipelines(self) -> list[str]:
        """The pipelines that were tested, in order."""
        return list(dict.fromkeys(entry.pipeline for entry in self.entries))

    def subject(self, pipeline: str, model: str | None = None) -> Subject:
        """The pipeline as it is when the tests have ended, read once. Raises LoomError."""
        name = pipeline, model
        if name not in self._subjects:
            try:
                self._subjects[name] = Bench(self.wiring).subject(pipeline, model=model)
            except LoomError as error:
                self._subjects[name] = error
        found = self._subjects[name]
        if isinstance(found, LoomError):
            raise found
        return found

    def cases(self, entries: Sequence[Entry], samples: Mapping[Name, Sample]) -> list[CaseSamples]:
        """The cases that these tests used, each with all of its samples."""
        wanted: dict[str, tuple[str, str, set[int]]] = {}
        for entry in entries:
            for identity, key, definition, indices in entry.cases:
                wanted.setdefault(key, (identity, definition, set()))[2].update(indices)
        return [
            CaseSamples(
                identity,
                key,
                definition,
                {},
                tuple(samples[key, i] for i in sorted(indices) if (key, i) in samples),
            )
            for key, (identity, definition, indices) in wanted.items()
        ]

    def find_lost(self, options: Options) -> list[str]:
        """A line for each test, expectation and list of cases that the change takes away from the
        pipelines that were tested, and that nobody accepts; warns of the settings that it loosens,
        unless `options` are strict."""
        from loomgit.sessions.accepting import acceptances  # noqa: PLC0415 - few are missing
        from loomgit.sessions.standard import Standards  # noqa: PLC0415 - as above
        from loomgit.sessions.suite_changes import find_suite_change  # noqa: PLC0415 - as above

        standards, warn = Standards(self.wiring, options.baseline), self.wiring.warn
        try:
            bases = standards.find_base()
            if bases is None:
                return []
            heads, base = Bench(self.wiring), bases.wiring.tree.revision
            changes = [find_suite_change(heads, bases, name) for name in self.pipelines()]
            for looser in (each for change in changes for each in change.looser):
                if not options.is_stricter:
                    until = f"hooks and `loom ci` use {looser.used} until it is merged"
                    warn(f"{looser.difference} ({until})")
            accepted = acceptances(self.wiring, base, None, warn)
            return [line for change in changes for line in change.lost(accepted)]
        except LoomError as error:
            warn(f"the tests are not compared with the baseline's: {error.message}")
            return []
        finally:
            standards.close()

    def is_whole(self, pipeline: str) -> bool:
        """Whether every test that draws samples of a pipeline, in any of its files, has run."""
        try:
            suites = Bench(self.wiring).suites(pipeline)
        except LoomError:
            return False  # which tests there are is not known
        ran = {(entry.file, entry.full_name) for entry in self.entries}
        return all(
            (suite.path, f"{group_of(test)}::{test.name}") in ran
            for suite in suites
            for test in (*suite.unit_tests, *suite.distributional_tests)
        )

    def save(
        self, samples: Mapping[Name, Sample], *, selected: int, total: int, finished: bool
    ) -> list[Run]:
        """Write a run of each subject that was asked. `selected` of `total` tests were to run;
        `finished` says that all of them did. A run is complete if besides these are all that the
        pipeline's test files have: a part of them is no measure of the pipeline.

        A pipeline that cannot be read any more, or changed while the tests ran, has no run. Raises
        WorldError where the store cannot be written.
        """
        runs: list[Run] = []
        for pipeline in self.pipelines():
            same = [entry for entry in self.entries if entry.pipeline == pipeline]
            # An evaluator that a test brings makes it an answer to a question of its own.
            asked = [entry for entry in same if entry.fingerprint and not entry.extra]
            whole = finished and self.is_whole(pipeline)
            groups: dict[str, list[Entry]] = {}
            for entry in asked:
                groups.setdefault(entry.fingerprint, []).append(entry)
            for group in groups.values() or ([],):
                model = group[0].model if group else None
                try:
                    subject = self.subject(pipeline, model)
                except LoomError:
                    continue
                if group and subject.fingerprint != group[0].fingerprint:
                    continue  # whose results these are is not known
                cases = self.cases(group, samples)
                runs.append(self._keep(subject, cases, same, selected, total, whole=whole))
        return runs

    def _keep(
        self,
        subject: Subject,
        cases: Sequence[CaseSamples],
        tests: Sequence[Entry],
        selected: int,
        total: int,
        *,
        whole: bool,
    ) -> Run:
        commit = Bench(self.wiring).commit(subject)
        asked = subject.plan.sampling.model
        if other := other_models(asked, served_of(cases)):
            self.wiring.warn(f"{asked} was answered by {' and '.join(other)}")
        keeper = Keeper(self.wiring.store, subject, commit, self.started)
        try:
            for case in cases:
                for sample in case.samples:
                    keeper.add(case, sample)
            lost = sum(sample.lost for case in cases for sample in case.samples)
            failed = sum(entry.verdict in ("fail", "error") for entry in tests)
            cause: Cause = "world" if lost else "gate" if failed else ""
            return keeper.save(
                cases,
                status="partial" if cause else "success",
                cause=cause,
                message=_message(lost, failed, len(tests)),
                complete=whole and not lost,
                selected=selected,
                total=total,
                tests=[_record(entry) for entry in tests],
            )
        except BaseException:
            keeper.abandon()
            raise


def _message(lost: int, failed: int, total: int) -> str:
    if lost:
        return f"{lost} samples were lost to outages"
    return f"{failed} of {total} tests failed" if failed else ""


def _record(entry: Entry) -> TestRecord:
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
        for check in entry.checks
    )
    return TestRecord(entry.full_name, entry.file, entry.verdict, checks, entry.message)
