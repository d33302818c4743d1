"""Compares the cases of two versions of a pipeline's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.rows.address import local_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.suites import Suite
    from loomgit.wiring.revision import PipelineVersion, ProjectRevision, SampledCase


class CaseLists(Struct, frozen=True):
    """The ids of cases that differ between the tests of baseline and head.

    `removed` are the cases that only the baseline has, `changed` the cases with different
    definitions, and `added` the cases that only the head has. `total` is the number of the
    baseline's cases. If the cases could not be read, `fault` is the reason; otherwise, it is empty.
    """

    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    total: int = 0
    fault: str = ""

    @property
    def lost(self) -> float:
        """The fraction of the baseline's cases that the head removed or changed. It is 1 if the
        cases could not be read."""
        if self.fault:
            return 1.0
        return (len(self.removed) + len(self.changed)) / self.total if self.total else 0.0


def own_cases(
    revision: ProjectRevision,
    version: PipelineVersion,
    suites: Sequence[Suite] | None = None,
    *,
    warn: bool = True,
) -> list[SampledCase]:
    """Return all cases of the pipeline's test files at the version's revision. Raises LoomError.

    If `suites` is given, the cases of these test files are returned instead. All records of the
    data sets are used, even if the tests have a `sample_size`. `warn` has the same meaning as in
    `ProjectRevision.records`.
    """
    pipeline = version.plan.pipeline
    files = revision.suites(pipeline.name) if suites is None else suites
    return revision.cases(version, revision.questions(pipeline, files, whole=True, warn=warn))


def compare_questions(
    bases: ProjectRevision,
    base: PipelineVersion,
    heads: ProjectRevision,
    head: PipelineVersion,
    suites: Sequence[Suite],
    base_suites: Sequence[Suite] | None = None,
) -> CaseLists:
    """Find the cases of a pipeline that differ between base and head.

    The test files and their data define the cases. `suites` are the head's test files, and
    `base_suites` those of the base. If `base_suites` is None, all test files of the pipeline are
    used. Raises LoomError.
    """
    base = heads.with_question_of(base, head)  # case definitions depend on the evaluators
    before = {
        sampled.case.definition: sampled.case.id
        for sampled in own_cases(bases, base, base_suites, warn=False)
    }
    now = {sampled.case.definition: sampled.case.id for sampled in own_cases(heads, head, suites)}
    lost = [name for definition, name in before.items() if definition not in now]
    new = [name for definition, name in now.items() if definition not in before]
    return CaseLists(
        tuple(name for name in lost if name not in new),
        tuple(name for name in lost if name in new),
        tuple(name for name in new if name not in lost),
        len(before),
    )


def question_files(version: PipelineVersion, suites: Iterable[Suite]) -> Sequence[str]:
    """Return the project files that define the cases of a pipeline: test files and data sets.

    The pipeline's source is used if a test file names no data set, or if there are no test files.
    """
    suites = list(suites)
    data = [suite.dataset or version.plan.pipeline.extract.source for suite in suites]
    source = [] if suites else [version.plan.pipeline.extract.source]
    local = [path for address in (*data, *source) for path in local_files(address)]
    return [*(suite.path for suite in suites), *local]
