"""The bench: a pipeline at one tree made ready to be measured, its cases and its earlier results.

A subject answers today's question whatever its own tree asked: evaluators, judge, gate, cases and
data come from the bench, prompt, context and model from the subject.
"""
# ruff: noqa: PLC0415 - who compares what is stored does not pay for what measures

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from loomgit.domain.judging import judge_again
from loomgit.domain.keys import find_key
from loomgit.domain.place import Problem
from loomgit.domain.ports import QueryValues
from loomgit.domain.records import Record, RefusedRow, make_record
from loomgit.domain.suites import UnitCase
from loomgit.domain.words import one_of
from loomgit.errors import ProblemsFound, UserError
from loomgit.harness.cases import TestCase, data_case, shuffled, unit_case
from loomgit.history.samples import load_samples
from loomgit.pipeline.plan import Plan, identify
from loomgit.pipeline.prompt import Prompt
from loomgit.wiring.catalog import Catalog, raise_for
from loomgit.wiring.planning import Planning

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.ports import Gateway
    from loomgit.domain.samples import Sample
    from loomgit.domain.suites import Suite
    from loomgit.domain.versions import Commit
    from loomgit.pipeline.evaluate import Panel
    from loomgit.pipeline.sampling import Sampler
    from loomgit.wiring.assembly import Assembly
    from loomgit.wiring.project import Wiring

MOST_RUNS = 20  # whose samples are looked through, the newest first
MOST_RECORDS = 1000  # of a pipeline that has no test file: as many cases as a run file keeps


class Subject(Struct, frozen=True):
    """One version of a pipeline: its plan, whose fingerprint is that of its results."""

    bench: Bench
    plan: Plan
    compiled: Callable[[], Prompt]

    @property
    def prompt(self) -> Prompt:
        """The compiled prompt. Raises ProblemsFound where it is none, on a lazy bench."""
        return self.compiled()

    @property
    def assembly(self) -> Assembly:
        """What it is made of when it is asked."""
        return self.bench.assembly

    @property
    def fingerprint(self) -> str:
        """The hash of all that can change a result, the cases aside."""
        return self.plan.fingerprint()


class Question(Struct, frozen=True):
    """A unit test or a record of a data set, the number of samples to draw of it, and the least
    that answer it (None: all of them)."""

    about: UnitCase | Record
    samples: int = 1
    least: int | None = None


class Sampled(Struct, frozen=True):
    """A case with the number of its samples, and the least that answer it."""

    case: TestCase
    samples: int
    least: int


class Bench:
    """Makes subjects of the pipelines of one tree; a `lazy` one leaves a prompt that it can do
    without uncompiled."""

    def __init__(self, wiring: Wiring, *, lazy: bool = False) -> None:
        self.wiring = wiring
        self._lazy = lazy
        self.catalog = Catalog(wiring)

    @cached_property
    def assembly(self) -> Assembly:
        """Gateways, evaluators and rows of this tree; loaded by who measures."""
        from loomgit.wiring.assembly import Assembly

        return Assembly(self.wiring)

    def subject(
        self,
        name: str,
        *,
        model: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Subject:
        """A pipeline of this tree, asked with `model` in place of its own where one is named.

        Raises UserError or ProblemsFound.
        """
        pipeline = self.catalog.pipeline(name)
        return self.prepare(pipeline, model=model, variables=variables)

    def prepare(
        self,
        pipeline: Pipeline,
        *,
        model: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Subject:
        """As `subject`, of a definition that was read before."""
        if model is not None:
            transform = replace(pipeline.transform, model=model, model_version=None)
            pipeline = replace(pipeline, transform=transform)
        now = datetime.now(UTC)
        plan, compiled = Planning(self.wiring).draft(pipeline, variables or {}, now)
        if not self._lazy:
            compiled()
        return Subject(self, plan, compiled)

    def asked_as(self, subject: Subject, today: Subject) -> Subject:
        """The subject with today's question in place of its own tree's."""
        asked = today.plan
        pipeline = replace(
            subject.plan.pipeline,
            evaluate=asked.pipeline.evaluate,
            extract=asked.pipeline.extract,
        )
        plan = replace(
            subject.plan,
            pipeline=pipeline,
            judge=asked.judge,
            judge_endpoint=asked.judge_endpoint,
            code=asked.code,
        )
        return replace(subject, plan=plan)

    # -- cases

    def suites(self, pipeline: str) -> list[Suite]:
        """The test files of a pipeline. Raises ProblemsFound, for those of others only where nobody
        can tell whose they are."""
        suites, broken = self.catalog.sound_suites()
        raise_for(each for each in broken if each.pipeline in ("", pipeline))
        return [suite for suite in suites if suite.pipeline == pipeline]

    def records(self, pipeline: Pipeline, dataset: str | None, limit: int | None) -> list[Record]:
        """The records of a data set (None: the pipeline's extract), shuffled, or the first `limit`
        in their own order. Raises UserError or WorldError."""
        if dataset is not None:
            extract = replace(pipeline.extract, source=dataset, query=None, limit=None)
            pipeline = replace(pipeline, extract=extract)
        values = QueryValues(datetime.now(UTC), None, {})
        source = dataset or pipeline.extract.source
        rows = list(self.assembly.source(pipeline, values, limit=limit).rows())
        fields = dict.fromkeys(
            name for row in rows[:100] if not isinstance(row, RefusedRow) for name in row
        )
        key = find_key(tuple(fields), pipeline.extract.key)
        found: dict[str, Record] = {}
        for index, row in enumerate(rows):
            record = make_record(index, row, key, source)
            if record.refused:  # no score may depend on how many rows are left out
                raise UserError(
                    f"{pipeline.place('extract')}: {record.refused}",
                    hint="correct the row, or leave it out",
                )
            found[record.key] = record  # of a key that comes again, the last
        records = list(found.values())
        return records if limit is not None else shuffled(records)

    def questions(
        self, pipeline: Pipeline, suites: Sequence[Suite], *, whole: bool = False
    ) -> Iterator[Question]:
        """What a comparison asks: the unit tests, and as much of the data sets as the tests take
        (all of them if `whole`); without a test file the records. Tests with a model of their own
        are left out."""
        if not suites:
            for record in self.records(pipeline, None, MOST_RECORDS):
                yield Question(record)
        for suite in suites:
            for unit in suite.unit_tests:
                if unit.policy.model is None:
                    yield Question(unit, unit.policy.samples, unit.min_pass)
            tests = [test for test in suite.distributional_tests if test.policy.model is None]
            if not tests:
                continue
            sizes = [test.sample_size for test in tests]
            most = (
                None if None in sizes or whole else max(size for size in sizes if size is not None)
            )
            samples = max(test.policy.samples for test in tests)
            for record in self.records(pipeline, suite.dataset, None)[:most]:
                yield Question(record, samples)

    def cases(self, subject: Subject, questions: Iterable[Question]) -> list[Sampled]:
        """The questions as cases of a subject; what two tests ask alike is one case."""
        same = identify(subject.plan)
        evaluators = subject.plan.pipeline.evaluate.evaluators
        found: dict[str, Sampled] = {}
        for question in questions:
            if isinstance(question.about, Record):
                case = data_case(question.about, same)
            else:
                case = unit_case(question.about, evaluators, same)
            before = found.get(case.key)
            most = max(question.samples, before.samples if before else 0)
            least = max(question.least or question.samples, before.least if before else 0)
            found[case.key] = Sampled(case, most, least)
        return list(found.values())

    def unanswerable(self, subject: Subject, cases: Iterable[Sampled]) -> list[Problem]:
        """What the subject's prompt, or its search, wants of the cases' inputs and none has."""
        plan = subject.plan
        transform = plan.pipeline.transform
        field = transform.documents_field
        fields = dict.fromkeys(name for each in cases for name in each.case.record.input)
        names = [*plan.context, *([field] if field else [])]
        problems: list[Problem] = []
        if transform.retrieve is not None and field is not None and field not in fields:
            if fields and (wanted := transform.retrieve.query_field) not in fields:
                message = f"transform.retrieve.query_field: the cases have no field '{wanted}'"
                place = plan.pipeline.place("transform.retrieve.query_field")
                problems.append(Problem(place, message, one_of(wanted, fields, "they have")))
            fields[field] = None  # it is retrieved
        given = subject.prompt.check(context=names, variables=plan.variables, fields=fields)
        return [*problems, *given]

    # -- measuring

    def sampler(
        self, subject: Subject, gateway: Gateway, judging: Gateway | None = None
    ) -> Sampler:
        """What draws samples of a subject; its evaluators are made of this tree's files.

        They ask their judge through `judging` where that is another gateway. Raises ProblemsFound
        where an evaluator cannot be made.
        """
        from loomgit.pipeline.sampling import Sampler
        from loomgit.pipeline.stages import FailurePolicy, Stages
        from loomgit.pipeline.tally import STAGES, Stopwatch

        plan = subject.plan
        transformer = subject.assembly.transformer(
            plan, subject.prompt, gateway, plan.pipeline.transform.documents_field
        )
        retrieval = subject.assembly.retrieval(plan)
        everything = replace(plan.pipeline.evaluate, sample=1.0)
        judged = replace(plan, pipeline=replace(plan.pipeline, evaluate=everything))
        panel: Panel = self.assembly.panel(judged, judging or gateway)
        watches = {stage: Stopwatch() for stage in STAGES}
        stages = Stages(transformer, panel, plan.pipeline.load, FailurePolicy(), watches, retrieval)
        return Sampler(stages, panel.weights)

    def commit(self, subject: Subject) -> Commit:
        """Where this tree stands, dirty where a file that the subject depends on is."""
        plan = subject.plan
        paths = [plan.prompt.path, plan.pipeline.path, *(f.path for f in plan.context.values())]
        return self.wiring.tree.commit([*paths, *plan.documents])

    def concurrency(self, pipeline: Pipeline) -> int:
        """How many calls may be in flight."""
        from loomgit.wiring.assembly import AUTO_CONCURRENCY

        configured = pipeline.transform.concurrency
        return configured or self.wiring.settings.defaults.concurrency or AUTO_CONCURRENCY

    def held(
        self, pipeline: Pipeline, fingerprints: Collection[str], keys: Collection[str] | None = None
    ) -> dict[str, dict[int, Sample]]:
        """The samples that earlier test runs drew of these cases, by key and index, judged by
        today's thresholds, weights and gate."""
        store = self.wiring.store
        rows = [
            row
            for fingerprint in fingerprints
            for row in store.search(pipeline=pipeline.name, fingerprint=fingerprint)
            if row.kind == "test" and row.path not in store.brought_in
        ]
        rows.sort(key=lambda row: row.started, reverse=True)
        files = (store.folder / "records" / f"{row.uid}.jsonl" for row in rows[:MOST_RUNS])
        found = load_samples(files, keys)
        return {
            key: {i: judge_again(sample, pipeline.evaluate) for i, sample in samples.items()}
            for key, samples in found.items()
        }


def readable(bench: Bench, name: str, variables: Mapping[str, str] | None = None) -> Subject | str:
    """A subject, or in one line why there is none."""
    try:
        return bench.subject(name, variables=variables)
    except ProblemsFound as found:
        return str(found.problems[0])
    except UserError as error:
        return error.message


def changed_files(heads: Bench, bases: Bench, paths: Iterable[str]) -> set[str]:
    """Those of these files of the project that are not the same in both trees, by their ids."""
    inside = heads.wiring.repository.in_repository
    plain = [path for path in dict.fromkeys(paths) if not inside(path).startswith("../")]
    now, before = heads.wiring.tree.entries(plain), bases.wiring.tree.entries(plain)
    return {path for path in plain if now.get(path) != before.get(path)}
