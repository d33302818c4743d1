"""The pipelines of one tree, ready to be measured, with their cases and their earlier results.

Results are comparable only if they have the same "question": the evaluators, judge, gate, cases and
data. Therefore, each compared version keeps the prompt, context and model of its own tree, but the
same revision provides the question for all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.judging import apply_policy
from loomgit.domain.place import Place, Problem
from loomgit.domain.records import Record
from loomgit.domain.suggestions import suggest_or_list
from loomgit.domain.suites import UnitCase
from loomgit.domain.utc import in_utc
from loomgit.domain.variables import GivenValues
from loomgit.errors import ProblemsFound, UserError
from loomgit.harness.cases import TestCase, data_case, shuffled, unit_case
from loomgit.history.samples import load_samples
from loomgit.pipeline.plan import Plan, case_identifier
from loomgit.pipeline.prompt import Prompt
from loomgit.pipeline.run_statistics import STAGES, Stopwatch
from loomgit.pipeline.sampling import Sampler
from loomgit.pipeline.stages import FailurePolicy, Stages
from loomgit.wiring.case_records import read_records
from loomgit.wiring.catalog import raise_problems
from loomgit.wiring.planning import Planning

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.ports import Gateway
    from loomgit.domain.samples import Sample
    from loomgit.domain.suites import Suite
    from loomgit.domain.versions import Commit
    from loomgit.pipeline.evaluate import Panel
    from loomgit.wiring.assembly import Assembly
    from loomgit.wiring.project import Wiring

MOST_RUNS = 20  # samples are reused from at most this many of the newest runs
# The maximum number of cases in a run file. If a pipeline has no test file, its cases are records
# of its source. This is also the maximum number of these records.
MOST_RECORDS = 1000


class PipelineVersion(Struct, frozen=True):
    """One version of a pipeline. The fingerprint of its plan identifies its results.

    `compiled` returns the compiled prompt.
    """

    revision: ProjectRevision
    plan: Plan
    compiled: Callable[[], Prompt]

    @property
    def prompt(self) -> Prompt:
        """The compiled prompt. Raises ProblemsFound if the prompt of a lazy revision is invalid."""
        return self.compiled()

    @property
    def assembly(self) -> Assembly:
        """Builds the objects for this version, such as gateways, evaluators and sources."""
        return self.revision.assembly

    @property
    def given(self) -> GivenValues:
        """The values that replace the defaults of the pipeline file, for another version."""
        return GivenValues(self.plan.given, self.plan.execution_date)

    @property
    def fingerprint(self) -> str:
        """The hash of everything that can change a result, except the cases."""
        return self.plan.fingerprint()


class CaseQuestion(Struct, frozen=True):
    """A case to measure; `about` is a unit test or a record of a data set.

    `samples` is the number of samples to draw. A stored result of the case is sufficient if it has
    at least `least` samples. If `least` is None, it must have `samples` samples.
    """

    about: UnitCase | Record
    samples: int = 1
    least: int | None = None


class SampledCase(Struct, frozen=True):
    """A case with the number of samples to draw. A stored result of the case is sufficient if it
    has at least `least` samples."""

    case: TestCase
    samples: int
    least: int


class ProjectRevision:
    """Loads the pipelines of one tree. If `lazy` is true, a prompt without includes is compiled
    when it is first needed."""

    def __init__(self, wiring: Wiring, *, lazy: bool = False) -> None:
        self.wiring = wiring
        self._lazy = lazy
        self.catalog = wiring.catalog

    @cached_property
    def assembly(self) -> Assembly:
        """Builds the gateways, evaluators, sources and destinations of this tree."""
        # The import is not at the top of the file, because a comparison of stored results does not
        # need gateways, sources or destinations.
        from loomgit.wiring.assembly import Assembly  # noqa: PLC0415

        return Assembly(self.wiring)

    def version(
        self,
        name: str,
        *,
        model: str | None = None,
        given: GivenValues | None = None,
    ) -> PipelineVersion:
        """Return the version of a pipeline in this tree. `model` replaces the pipeline's own model.

        `given` contains the variables and the execution date. If it is None, those of the command
        line apply. Raises UserError or ProblemsFound.
        """
        pipeline = self.catalog.pipeline(name)
        return self.prepare(pipeline, model=model, given=given)

    def prepare(
        self,
        pipeline: Pipeline,
        *,
        model: str | None = None,
        given: GivenValues | None = None,
    ) -> PipelineVersion:
        """Return the version of a parsed pipeline. The parameters are the same as in `version`."""
        if model is not None:
            transform = replace(pipeline.transform, model=model, model_version=None)
            pipeline = replace(pipeline, transform=transform)
        given = self.wiring.given if given is None else given
        date = in_utc(given.execution_date or datetime.now(UTC))
        plan, compiled = Planning(self.wiring).draft(pipeline, given.variables, date)
        if not self._lazy:
            compiled()
        return PipelineVersion(self, plan, compiled)

    def with_question_of(self, version: PipelineVersion, today: PipelineVersion) -> PipelineVersion:
        """Return `version` with the evaluation settings and the data source of the version `today`.

        The evaluation settings are the evaluators with their code, the judge and the gate.
        """
        asked = today.plan
        pipeline = replace(
            version.plan.pipeline,
            evaluate=asked.pipeline.evaluate,
            extract=asked.pipeline.extract,
        )
        plan = replace(
            version.plan,
            pipeline=pipeline,
            judge=asked.judge,
            judge_endpoint=asked.judge_endpoint,
            code=asked.code,
        )
        return replace(version, plan=plan)

    # -- the values of variables, and the execution date

    def given(self, suite: Suite | None) -> GivenValues:
        """Return the values for the tests in a test file, or without a test file (None).

        Values of the command line replace those of the file. Raises ProblemsFound if a value of the
        command line cannot have the type of the file's value.
        """
        if suite is None:
            return self.wiring.given
        try:
            return suite.given.replaced_by(self.wiring.given)
        except UserError as error:
            place = suite.places.get("vars") or Place(suite.path)
            raise ProblemsFound([Problem(place, f"vars: in --vars, {error.message}")]) from error

    def tested_values(self, pipeline: str) -> GivenValues:
        """Return the values of a pipeline's first test file. If the pipeline has no test file, the
        values of the command line are returned."""
        return self.given(next((s for s in self._suites if s.pipeline == pipeline), None))

    @cached_property
    def _suites(self) -> list[Suite]:
        return self.catalog.readable_suites()[0]

    # -- cases

    def suites(self, pipeline: str) -> list[Suite]:
        """Return the test files of a pipeline.

        Raises ProblemsFound if a test file of the pipeline is invalid. An invalid test file without
        the name of a pipeline has the same effect, because it may belong to this pipeline.
        """
        suites, broken = self.catalog.readable_suites()
        raise_problems(each for each in broken if each.pipeline in ("", pipeline))
        return [suite for suite in suites if suite.pipeline == pipeline]

    def records(
        self,
        pipeline: Pipeline,
        dataset: str | None,
        limit: int | None,
        given: GivenValues,
        *,
        warn: bool = True,
    ) -> list[Record]:
        """Return the records of a data set.

        If `limit` is a number, only the first `limit` records are read, in the order of the data
        set. Otherwise, all records are returned in shuffled order (see `shuffled`). If `dataset` is
        None, the records come from the pipeline's `extract`, and its query gets the values `given`.
        If `warn` is true, a query that uses an execution date that is not given causes a warning.
        Raises UserError or WorldError.
        """
        records = read_records(self.assembly, pipeline, dataset, limit, given, warn=warn)
        return records if limit is not None else shuffled(records)

    def questions(
        self, pipeline: Pipeline, suites: Sequence[Suite], *, whole: bool = False, warn: bool = True
    ) -> Iterator[CaseQuestion]:
        """Yield the cases that a comparison needs: unit tests and records of data sets.

        For each test file, the number of records is the largest `sample_size` of the file's
        distributional tests. All records are used if one of these tests has no `sample_size`, or if
        `whole` is true. Tests that name a model are ignored. If there are no test files, the cases
        are records of the pipeline's source. `warn` has the same meaning as in `records`.
        """
        read = partial(self.records, pipeline, warn=warn)
        if not suites:
            for record in read(None, MOST_RECORDS, self.given(None)):
                yield CaseQuestion(record)
        for suite in suites:
            for unit in suite.unit_tests:
                if unit.policy.model is None:
                    yield CaseQuestion(unit, unit.policy.samples, unit.min_pass)
            tests = [test for test in suite.distributional_tests if test.policy.model is None]
            if not tests:
                continue
            sizes = [test.sample_size for test in tests]
            most = (
                None if None in sizes or whole else max(size for size in sizes if size is not None)
            )
            samples = max(test.policy.samples for test in tests)
            for record in read(suite.dataset, None, self.given(suite))[:most]:
                yield CaseQuestion(record, samples)

    def cases(
        self, version: PipelineVersion, questions: Iterable[CaseQuestion]
    ) -> list[SampledCase]:
        """Convert questions to cases of a version.

        If several questions are about the same case, the result contains the case only once. Its
        number of samples is the largest number that one of these questions has.
        """
        same = case_identifier(version.plan)
        evaluators = version.plan.pipeline.evaluate.evaluators
        found: dict[str, SampledCase] = {}
        for question in questions:
            if isinstance(question.about, Record):
                case = data_case(question.about, same)
            else:
                case = unit_case(question.about, evaluators, same)
            before = found.get(case.key)
            most = max(question.samples, before.samples if before else 0)
            least = max(question.least or question.samples, before.least if before else 0)
            found[case.key] = SampledCase(case, most, least)
        return list(found.values())

    def unanswerable(self, version: PipelineVersion, cases: Iterable[SampledCase]) -> list[Problem]:
        """Return a problem for each input field that no case has, although the prompt or the search
        of the version needs it."""
        plan = version.plan
        transform = plan.pipeline.transform
        field = transform.documents_field
        fields = dict.fromkeys(name for each in cases for name in each.case.record.input)
        names = [*plan.context, *([field] if field else [])]
        problems: list[Problem] = []
        if transform.retrieve is not None and field is not None and field not in fields:
            if fields and (wanted := transform.retrieve.query_field) not in fields:
                message = f"transform.retrieve.query_field: the cases have no field '{wanted}'"
                place = plan.pipeline.place("transform.retrieve.query_field")
                problems.append(
                    Problem(place, message, suggest_or_list(wanted, fields, "they have"))
                )
            fields[field] = None  # retrieval adds this field
        given = version.prompt.check(context=names, variables=plan.variables, fields=fields)
        return [*problems, *given]

    # -- measuring

    def sampler(
        self, version: PipelineVersion, gateway: Gateway, judging: Gateway | None = None
    ) -> Sampler:
        """Return the sampler of a version. Its evaluators are built from the files of this tree.

        The evaluators call their judge through `judging`, or through `gateway` if `judging` is
        None. Raises ProblemsFound if an evaluator cannot be built.
        """
        plan = version.plan
        transformer = version.assembly.transformer(
            plan, version.prompt, gateway, plan.pipeline.transform.documents_field
        )
        retrieval = version.assembly.retrieval(plan)
        everything = replace(plan.pipeline.evaluate, sample=1.0)
        judged = replace(plan, pipeline=replace(plan.pipeline, evaluate=everything))
        panel: Panel = self.assembly.panel(judged, judging or gateway)
        watches = {stage: Stopwatch() for stage in STAGES}
        stages = Stages(transformer, panel, plan.pipeline.load, FailurePolicy(), watches, retrieval)
        return Sampler(stages, panel.weights)

    def commit(self, version: PipelineVersion) -> Commit:
        """Return the commit of this tree, marked as dirty if a file that the version depends on is
        modified."""
        return self.wiring.tree.commit(version.plan.input_paths())

    def earlier_samples(
        self, pipeline: Pipeline, fingerprints: Collection[str], keys: Collection[str] | None = None
    ) -> dict[str, dict[int, Sample]]:
        """Return the samples of earlier test runs, by the key of the case and the sample's index.

        Only cases in `keys` are included. If `keys` is None, all cases are included. The stored
        scores are used, but the thresholds, weights and gate of `pipeline` decide which samples
        pass.
        """
        store = self.wiring.store
        rows = [
            row
            for fingerprint in fingerprints
            for row in store.search(pipeline=pipeline.name, fingerprint=fingerprint)
            if row.kind == "test" and row.path not in store.added_by_change
        ]
        rows.sort(key=lambda row: row.started, reverse=True)
        files = (store.records_path(row.uid) for row in rows[:MOST_RUNS])
        found = load_samples(files, keys)
        return {
            key: {i: apply_policy(sample, pipeline.evaluate) for i, sample in samples.items()}
            for key, samples in found.items()
        }


def try_load(
    revision: ProjectRevision, name: str, given: GivenValues | None = None
) -> PipelineVersion | str:
    """Return a version, or one line with the reason why it cannot be loaded.

    If `given` is None, the values of the pipeline's first test file in this revision apply.
    """
    try:
        given = revision.tested_values(name) if given is None else given
        return revision.version(name, given=given)
    except UserError as error:
        return error.first_problem


def changed_files(heads: ProjectRevision, bases: ProjectRevision, paths: Iterable[str]) -> set[str]:
    """Return the paths of the files whose content or mode differs between the two trees.

    Paths outside the repository are ignored.
    """
    inside = heads.wiring.repository.in_repository
    plain = [path for path in dict.fromkeys(paths) if not inside(path).startswith("../")]
    now, before = heads.wiring.tree.entries(plain), bases.wiring.tree.entries(plain)
    return {path for path in plain if now.get(path) != before.get(path)}
