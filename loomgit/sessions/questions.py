"""The cases that two versions of a pipeline's tests ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.errors import LoomError, ProblemsFound
from loomgit.rows.address import local_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.suites import Suite
    from loomgit.wiring.bench import Bench, Sampled, Subject


class CaseLists(Struct, frozen=True):
    """The ids of cases: of the baseline alone, of both with another question, of the head alone.

    `total` is the number of the baseline's cases. `fault` says why the cases could not be read.
    """

    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    total: int = 0
    fault: str = ""

    @property
    def lost(self) -> float:
        """The share of the baseline's cases that the head does not ask any more; 1 if unknown."""
        if self.fault:
            return 1.0
        return (len(self.removed) + len(self.changed)) / self.total if self.total else 0.0


def own_cases(
    bench: Bench, subject: Subject, suites: Sequence[Suite] | None = None
) -> list[Sampled]:
    """The cases that the subject's own test files (or `suites`) and whole data sets have. Raises
    LoomError."""
    pipeline = subject.plan.pipeline
    files = bench.suites(pipeline.name) if suites is None else suites
    return bench.cases(subject, bench.questions(pipeline, files, whole=True))


def compare_questions(
    bases: Bench, base: Subject, heads: Bench, head: Subject, suites: Sequence[Suite]
) -> CaseLists:
    """Which cases differ between two versions of the tests and data of one pipeline; `suites` are
    the test files of the head. Raises LoomError."""
    asked = heads.asked_as(base, head)  # with one question for both, equal cases are equal
    before = {each.case.definition: each.case.id for each in own_cases(bases, asked)}
    now = {each.case.definition: each.case.id for each in own_cases(heads, head, suites)}
    gone = [name for key, name in before.items() if key not in now]
    new = [name for key, name in now.items() if key not in before]
    return CaseLists(
        tuple(name for name in gone if name not in new),
        tuple(name for name in gone if name in new),
        tuple(name for name in new if name not in gone),
        len(before),
    )


def question_files(subject: Subject, suites: Iterable[Suite]) -> Sequence[str]:
    """The project's files that the cases of a pipeline come from."""
    suites = list(suites)
    data = [suite.dataset or subject.plan.pipeline.extract.source for suite in suites]
    source = [] if suites else [subject.plan.pipeline.extract.source]
    local = [path for place in (*data, *source) for path in local_files(place)]
    return [*(suite.path for suite in suites), *local]


def first_line(error: LoomError) -> str:
    """An error in one line."""
    return str(error.problems[0]) if isinstance(error, ProblemsFound) else error.message
