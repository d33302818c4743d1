"""Prepares pipelines so that the tests of one project can draw samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.domain.definitions import Evaluate, EvaluatorSpec
from loomgit.domain.records import Record
from loomgit.domain.variables import GivenValues
from loomgit.errors import LoomError, ProblemsFound, UserError
from loomgit.harness.cases import TestCase, data_case, unit_case
from loomgit.harness.draws import Draw
from loomgit.pipeline.plan import case_identifier
from loomgit.pipeline.sampling import Sampler
from loomgit.wiring.revision import PipelineVersion, ProjectRevision
from loomgit.workflows.testing.sample_pool import party_of

if TYPE_CHECKING:
    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.suites import Suite, UnitCase
    from loomgit.domain.values import JsonObject
    from loomgit.wiring.project import Wiring
    from loomgit.workflows.testing.sample_pool import SamplePool

T = TypeVar("T")
# The pipeline, the model or the data set, the additional evaluator, and the given values.
_Identity: TypeAlias = tuple[str, str | None, EvaluatorSpec | None, GivenValues]


class SampledPipeline(Struct):
    """A pipeline version that is tested, with its sampler and its cases.

    `identify` returns the (key, definition) of a record's case. `party` identifies the model that
    the draws call. `cases` contains the cases that were already created. The key of a case is (test
    file, test) for a unit test and ("", record key) for a record.
    """

    version: PipelineVersion
    sampler: Sampler
    evaluators: tuple[EvaluatorSpec, ...]
    fingerprint: str
    identify: Callable[[Record], tuple[str, str]]
    party: str
    cases: dict[tuple[str, str], TestCase] = field(default_factory=dict)

    @property
    def prompt(self) -> str:
        """The path and the version of the prompt, as displayed in a failure."""
        prompt = self.version.plan.prompt
        return f"{prompt.path} ({prompt.name})" if prompt.path else "(no transform)"

    def unit(self, suite: Suite, test: UnitCase) -> TestCase:
        """Return the case of a unit test."""
        name = suite.path, test.name
        if name not in self.cases:
            self.cases[name] = unit_case(test, self.evaluators, self.identify)
        return self.cases[name]

    def case(self, record: Record) -> TestCase:
        """Return the case for one record of a data set."""
        name = "", record.key
        if name not in self.cases or self.cases[name].record.input != record.input:
            self.cases[name] = data_case(record, self.identify)
        return self.cases[name]

    def input(self, identity: str, fields: JsonObject) -> TestCase:
        """Return a case for an input that is not in a test file. `identity` is the case's id."""
        return data_case(Record(0, identity, fields), self.identify)

    def draw(self, case: TestCase, index: int) -> Draw:
        """Return the draw that requests sample number `index` of a case."""
        return Draw(
            case.key,
            index,
            lambda: self.sampler.draw(case.record, index),
            party=self.party,
        )


class SampledPipelines:
    """Prepares each pipeline once for sampling. If a pipeline cannot be prepared, the same error is
    raised each time."""

    def __init__(
        self,
        wiring: Wiring,
        pool: SamplePool,
        *,
        store: bool = True,
        policy: Callable[[str], Evaluate | None] = lambda _: None,
    ) -> None:
        """Create the collection.

        `policy` is called with the name of a pipeline. It returns the thresholds, weights and gate
        that replace those of the pipeline, or None to keep those of the pipeline. If `store` is
        true, samples of earlier runs are used instead of new draws.
        """
        self.revision = ProjectRevision(wiring)
        self._policy = policy
        self._pool = pool
        self._store = store
        self._pipelines: dict[str, Pipeline | LoomError] = {}
        self._made: list[tuple[_Identity, SampledPipeline | LoomError]] = []
        self._records: list[tuple[_Identity, list[Record] | LoomError]] = []

    def pipeline(self, name: str) -> Pipeline:
        """Return the definition of a pipeline. Raises UserError or ProblemsFound."""
        if name not in self._pipelines:
            try:
                pipeline = self.revision.catalog.pipeline(name)
                evaluate = self._policy(name) or pipeline.evaluate
                self._pipelines[name] = replace(pipeline, evaluate=evaluate)
            except LoomError as error:
                self._pipelines[name] = error
        return _value(self._pipelines[name])

    def tested(self, suite: Suite) -> Pipeline:
        """Return the pipeline of a test file.

        Raises ProblemsFound if the pipeline is invalid. If the pipeline does not exist, raises
        UserError with the position of the pipeline's name in the test file.
        """
        try:
            return self.pipeline(suite.pipeline)
        except ProblemsFound:
            raise
        except UserError as error:
            place = suite.places.get("pipeline") or suite.path
            raise UserError(f"{place}: {error.message}", hint=error.hint) from error

    def get(
        self,
        name: str,
        model: str | None = None,
        extra: EvaluatorSpec | None = None,
        suite: Suite | None = None,
    ) -> SampledPipeline:
        """Return a prepared pipeline. Raises LoomError.

        If `model` is given, it replaces the pipeline's model. `extra` is an evaluator that a test
        adds. `suite` is the test file whose variables apply.
        """
        given = self.revision.given(suite)
        wanted = name, model, extra, given
        for identity, result in self._made:
            if identity == wanted:
                return _value(result)
        try:
            made: SampledPipeline | LoomError = self._make(self.pipeline(name), model, extra, given)
        except LoomError as error:
            made = error
        self._made.append((wanted, made))
        return _value(made)

    def _make(
        self, pipeline: Pipeline, model: str | None, extra: EvaluatorSpec | None, given: GivenValues
    ) -> SampledPipeline:
        if extra is not None:
            evaluators = (*pipeline.evaluate.evaluators, extra)
            evaluate = replace(pipeline.evaluate, evaluators=evaluators)
            pipeline = replace(pipeline, evaluate=evaluate)
        version = self.revision.prepare(pipeline, model=model, given=given)
        sampler = self.revision.sampler(
            version, self._pool.billed(self._pool.gateway(version), version)
        )
        fingerprint = version.fingerprint
        if self._store:
            self._pool.hold(self.revision.earlier_samples(pipeline, [fingerprint]))
        evaluators = pipeline.evaluate.evaluators
        return SampledPipeline(
            version,
            sampler,
            evaluators,
            fingerprint,
            case_identifier(version.plan),
            party_of(version),
        )

    def get_baseline(self, base: PipelineVersion, today: SampledPipeline) -> SampledPipeline:
        """Return the baseline's version, ready to be sampled.

        The replies of the baseline are drawn with the settings of the baseline's revision. They
        are judged by the evaluators of `today`. Raises LoomError.
        """
        version = self.revision.with_question_of(base, today.version)
        # The settings at the baseline's revision may lack today's judge or its key. Therefore, the
        # gateway to the baseline's model has no judge.
        unjudged = replace(version, plan=replace(version.plan, judge=None))
        gateway = self._pool.gateway(unjudged, today.version)
        gateway = self._pool.billed(gateway, today.version)
        judging = self._pool.billed(self._pool.gateway(today.version), today.version)
        return SampledPipeline(
            version,
            self.revision.sampler(version, gateway, judging),
            today.evaluators,
            version.fingerprint,
            case_identifier(version.plan),
            party_of(version),
        )

    def records(self, pipeline: Pipeline, suite: Suite) -> list[Record]:
        """Return the records of a test file's data set, shuffled. Raises LoomError.

        If the file names no data set, the records come from the pipeline's source.
        """
        given = self.revision.given(suite if suite.dataset is None else None)
        wanted = pipeline.name, suite.dataset, None, given
        for identity, result in self._records:
            if identity == wanted:
                return _value(result)
        try:
            read: list[Record] | LoomError = self.revision.records(
                pipeline, suite.dataset, None, given
            )
        except LoomError as error:
            read = error
        self._records.append((wanted, read))
        return _value(read)

    def concurrency(self) -> int:
        """Return the highest concurrency of the prepared pipelines, at least 1."""
        prepared = [result for _, result in self._made if isinstance(result, SampledPipeline)]
        allowed = (
            self.revision.assembly.concurrency(sampled.version.plan.pipeline)
            for sampled in prepared
        )
        return max(allowed, default=1)


def _value(result: T | LoomError) -> T:
    if isinstance(result, LoomError):
        raise result
    return result
