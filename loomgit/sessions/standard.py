"""The standard that tests against a baseline measure by: earlier results of the same question."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from msgspec import Struct, field

from loomgit.domain.comparison import Measured
from loomgit.domain.judging import judge_again
from loomgit.domain.samples import CaseSamples, Judgement, Sample, is_of_data
from loomgit.errors import LoomError, UserError
from loomgit.history.baselines import Baselines, Ends
from loomgit.history.evidence import Evidence
from loomgit.history.samples import load_samples
from loomgit.wiring.bench import Bench, Subject, readable
from loomgit.wiring.project import Wiring

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from loomgit.domain.definitions import Evaluate
    from loomgit.domain.runs import Case
    from loomgit.domain.suites import Suite

OFF = "none"  # the baseline of who wants no comparison


class Standard(Struct, frozen=True):
    """What a test is compared with: `same` where the baseline's content is today's, else what was
    `measured` of it (None: nothing, and `note` says why); `subject` is what can be asked again.
    `fault` is a revision that somebody named and that is not there."""

    measured: Measured | None = None
    cases: tuple[CaseSamples, ...] = ()
    same: bool = False
    note: str = ""
    name: str = ""
    subject: Subject | None = None
    fault: UserError | None = None

    def samples(self, own: Sequence[CaseSamples]) -> Sequence[CaseSamples] | None:
        """The baseline's samples of data sets; where its content is today's, those of today."""
        if self.same:
            return own
        if self.measured is None:
            return None
        return [case for case in self.cases if is_of_data(case.id)]


class Standards(Struct):
    """Finds standards, each once; `usual` is the baseline of tests that name none."""

    wiring: Wiring
    usual: str | None = None
    _found: dict[tuple[str, str | None], Standard] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _benches: dict[str, Bench] = field(default_factory=dict)

    def find(self, today: Subject, revision: str | None) -> Standard:
        """The standard of a subject at a revision (None: the usual one)."""
        asked = self.usual if self.usual is not None else revision
        name = today.fingerprint, asked
        if name not in self._found:
            try:
                self._found[name] = self._find(today, asked)
            except LoomError as error:
                fault = error if isinstance(error, UserError) and asked is not None else None
                self._found[name] = Standard(note=error.message, fault=fault)
        return self._found[name]

    def measured(
        self, today: Subject, revision: str | None, wanted: Collection[str]
    ) -> tuple[Standard, Measured | None]:
        """The standard, and what was measured of it with these cases, by id, in any of its runs."""
        standard = self.find(today, revision)
        if standard.measured is None:
            return standard, None
        evidence = Evidence(self.wiring.store, today.plan.pipeline.name)
        return standard, evidence.completed(standard.measured, wanted, "test")

    def find_base(self) -> Bench | None:
        """The baseline's tree, where there is one that is not the head's. Raises UserError."""
        if self.usual == OFF:
            return None
        baselines = Baselines(
            self.wiring.repository, self.wiring.settings.baseline, self.wiring.variables
        )
        ends = self._ends(baselines, self.usual)
        return None if ends.base is None or ends.base == ends.head else self._bench(ends.base)

    def is_modified(self, today: Subject, suite: Suite) -> bool:
        """Whether the subject's inputs, the test file or its data differ from the baseline's, or
        there is no baseline to tell by."""
        baselines = Baselines(
            self.wiring.repository, self.wiring.settings.baseline, self.wiring.variables
        )
        ends = self._ends(baselines, None if self.usual == OFF else self.usual)
        if ends.base is None:
            return True
        there = self._bench(ends.base)
        base = readable(there, today.plan.pipeline.name)
        from loomgit.wiring.modified import changed_inputs  # noqa: PLC0415 - it loads what compares

        if isinstance(base, str) or changed_inputs(base, today):
            return True
        paths = [suite.path, *([suite.dataset] if suite.dataset else [])]
        return self.wiring.tree.entries(paths) != there.wiring.tree.entries(paths)

    def close(self) -> None:
        """Remove what was exported."""
        self._stack.close()

    def _find(self, today: Subject, revision: str | None) -> Standard:
        if revision == OFF:
            return Standard(note="comparisons are off")
        baselines = Baselines(
            self.wiring.repository, self.wiring.settings.baseline, self.wiring.variables
        )
        ends = self._ends(baselines, revision)
        if ends.base is None:
            return Standard(note=f"there is no baseline: {ends.why}")
        pipeline = today.plan.pipeline.name
        base = readable(self._bench(ends.base), pipeline)
        if isinstance(base, str):
            return Standard(note=f"the baseline's pipeline cannot be used: {base}")
        if base.fingerprint == today.fingerprint:
            return Standard(
                same=True, name=ends.base_name, note=f"unchanged since {ends.base_name}"
            )
        evidence, evaluate = Evidence(self.wiring.store, pipeline), today.plan.pipeline.evaluate
        asked = Bench(self.wiring).asked_as(base, today).fingerprint
        # What the same content was asked counts, case by case, also where a run was of a part only.
        for whole in (True, False):
            for fingerprint in dict.fromkeys((asked, base.fingerprint)):
                found = evidence.find(fingerprint, "test", whole=whole)
                if found is not None:
                    return self._standard(found, ends.base_name, base, evaluate)
        found = evidence.find_at(baselines.ancestors(ends.base), "test")
        if found is not None:
            older = f"{ends.base_name}, {found.side.behind} commits older"
            return self._standard(found, older, base, evaluate)
        return Standard(note=f"there are no results of {ends.base_name}: run the tests there")

    @staticmethod
    def _ends(baselines: Baselines, revision: str | None) -> Ends:
        """Both ends; a revision that is where one stands says nothing, so the usual one counts."""
        if revision is None:
            return baselines.choose()
        ends = baselines.choose(revision)
        return ends if ends.base != ends.head else baselines.choose()

    def _bench(self, commit: str) -> Bench:
        if commit not in self._benches:
            there = self.wiring.at(commit)
            self._stack.callback(there.close)
            self._benches[commit] = Bench(there)
        return self._benches[commit]

    def _standard(
        self, measured: Measured, name: str, base: Subject, evaluate: Evaluate
    ) -> Standard:
        """The samples of the runs; of a run that was made elsewhere the scores in its file. The
        policy of `evaluate` judges them."""
        store = self.wiring.store
        files = (store.folder / "records" / f"{uid}.jsonl" for uid in measured.side.runs)
        keys = {case.key for case in measured.cases.values()}
        held = load_samples(files, keys)
        cases = tuple(
            CaseSamples(
                case.id,
                case.key,
                case.definition,
                {},
                tuple(judge_again(held[case.key][i], evaluate) for i in sorted(held[case.key]))
                if case.key in held
                else tuple(judge_again(sample, evaluate) for sample in scores_of(case)),
            )
            for case in measured.cases.values()
        )
        return Standard(measured, cases, name=name, subject=base)


def scores_of(case: Case) -> Iterable[Sample]:
    """A case's scores as samples without outputs."""
    for index in range(case.samples):
        values = {name: row[index] for name, row in case.scores.items() if index < len(row)}
        known = [value for value in values.values() if value is not None]
        yield Sample(
            index,
            {},
            "",
            "",
            judgements={name: Judgement(value, "") for name, value in values.items()},
            score=sum(known) / len(known) if known and len(known) == len(values) else None,
            passed=index < case.passed,
            trouble="" if known or not values else "infrastructure",
            cost=case.cost,
            latency=case.latency,
        )
