"""Which pipelines a command works on: by name, by the DAG, by what differs from the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.place import Problem
from loomgit.domain.words import one_of
from loomgit.errors import ProblemsFound
from loomgit.pipeline.dag import Dag, Facts, parse_selection, select
from loomgit.wiring.bench import Bench
from loomgit.wiring.limits import same_place
from loomgit.wiring.modified import modified

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.history.baselines import Ends
    from loomgit.pipeline.dag import Term
    from loomgit.wiring.project import Wiring


NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


class Selected(Struct, frozen=True):
    """A pipeline that was selected, and why: `named`, `upstream of x`, `modified: ...`."""

    name: str
    reasons: tuple[str, ...]


class Selection(Struct, frozen=True):
    """Pipelines in the order in which they run; `sources` are those that each one waits for."""

    chosen: tuple[Selected, ...]
    sources: Mapping[str, frozenset[str]]

    def waits_for(self, name: str, others: Iterable[str]) -> list[str]:
        """Those of `others` that a pipeline needs, directly or through more."""
        needed = Dag(self.sources).upstream(name)
        return [other for other in others if other in needed]


class Selecting:
    """Selects pipelines of one tree; `ends` finds what `state:modified` compares with."""

    def __init__(
        self,
        wiring: Wiring,
        ends: Callable[[], Ends],
        variables: Mapping[str, str] = NO_VARIABLES,
    ) -> None:
        self._wiring = wiring
        self._bench = Bench(wiring)
        self._ends = ends
        self._variables = variables

    def choose(
        self,
        names: Sequence[str],
        expressions: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> Selection:
        """The pipelines that are named or that an expression selects, in their order.

        Raises UserError for an unknown name or selector, ProblemsFound for a cycle, or a pipeline
        file that is broken; where only names are given, one that nobody named may be.
        """
        wanted = tuple(terms for text in expressions for terms in parse_selection(text))
        unwanted = tuple(terms for text in exclude for terms in parse_selection(text))
        named = self._named(names)
        pipelines = dict(named)
        if wanted or unwanted or len(named) > 1:
            pipelines |= self._others(named, strict=bool(wanted or unwanted))
        dag = _dag(pipelines, self._bench.catalog.pipeline_names())
        facts = self._facts(pipelines, (*wanted, *unwanted))
        chosen: dict[str, tuple[str, ...]] = dict.fromkeys(named, ("named",))
        for name, reasons in select(dag, wanted, facts).items():
            chosen[name] = tuple(dict.fromkeys((*chosen.get(name, ()), *reasons)))
        left_out = select(dag, unwanted, facts)
        order = dag.order([name for name in chosen if name not in left_out])
        return Selection(tuple(Selected(name, chosen[name]) for name in order), dag.sources)

    def _named(self, names: Sequence[str]) -> dict[str, Pipeline]:
        read = [self._bench.catalog.pipeline(name) for name in dict.fromkeys(names)]
        return {pipeline.name: pipeline for pipeline in read}

    def _others(self, known: Mapping[str, Pipeline], *, strict: bool) -> dict[str, Pipeline]:
        """The rest of the tree's pipelines, for the edges between them."""
        found: dict[str, Pipeline] = {}
        for name in self._bench.catalog.pipeline_names():
            if name in known:
                continue
            try:
                found[name] = self._bench.catalog.pipeline(name)
            except ProblemsFound:
                if strict:
                    raise
        return found

    def _facts(
        self, pipelines: Mapping[str, Pipeline], expression: Iterable[Sequence[Term]]
    ) -> Facts:
        tags = {name: pipeline.tags for name, pipeline in pipelines.items()}
        asked = any(term.method == "state" for terms in expression for term in terms)
        return Facts(tags, self._modified(pipelines) if asked else {})

    def _modified(self, pipelines: Mapping[str, Pipeline]) -> dict[str, tuple[str, ...]]:
        ends = self._ends()
        if ends.base is None:
            return dict.fromkeys(pipelines, (f"no baseline: {ends.why}",))
        there = self._wiring.at(ends.base)
        try:
            base = Bench(there)
            subjects = [
                self._bench.prepare(pipeline, variables=self._variables)
                for pipeline in pipelines.values()
            ]
            found = {s.plan.pipeline.name: modified(base, s) for s in subjects}
        finally:
            there.close()
        return {name: inputs for name, inputs in found.items() if inputs}


def _dag(pipelines: Mapping[str, Pipeline], known: Sequence[str]) -> Dag:
    """The edges that `depends_on` names, and those where a source is another's destination.

    Raises ProblemsFound for a name that is no pipeline, and for a cycle.
    """
    problems: list[Problem] = []
    sources: dict[str, frozenset[str]] = {}
    for name, pipeline in pipelines.items():
        for number, other in enumerate(pipeline.depends_on):
            if other not in known:
                message = f"depends_on: there is no pipeline '{other}'"
                hint = one_of(other, known, "pipelines/ has")
                problems.append(Problem(pipeline.place(f"depends_on.{number}"), message, hint))
        feeding = (
            other.name
            for other in pipelines.values()
            if other.name != name and same_place(other.load.destination, pipeline.extract.source)
        )
        sources[name] = frozenset((*filter(pipelines.__contains__, pipeline.depends_on), *feeding))
    if problems:
        raise ProblemsFound(problems)
    dag = Dag(sources)
    if cycle := dag.find_cycle():
        place = pipelines[cycle[0]].place("depends_on")
        message = f"these pipelines wait for each other: {' -> '.join(cycle)}"
        raise ProblemsFound([Problem(place, message, "take one of these dependencies away")])
    return dag
