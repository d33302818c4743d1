"""Selects the pipelines that a command processes: by name, tag, dependency or change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.place import Problem
from loomgit.domain.suggestions import suggest_or_list
from loomgit.domain.variables import GivenValues
from loomgit.errors import ProblemsFound
from loomgit.pipeline.dag import Dag, SelectionFacts, parse_selection, select
from loomgit.wiring.unsupported import same_place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.settings import Connection
    from loomgit.history.baselines import ComparedRevisions
    from loomgit.pipeline.dag import Term
    from loomgit.wiring.project import Wiring


class Selected(Struct, frozen=True):
    """A selected pipeline. Examples of `reasons` are `named`, `upstream of x`, `modified: ...`."""

    name: str
    reasons: tuple[str, ...]


class PipelineSelection(Struct, frozen=True):
    """Selected pipelines in execution order.

    `sources` maps each pipeline to the pipelines on which it directly depends.
    """

    chosen: tuple[Selected, ...]
    sources: Mapping[str, frozenset[str]]

    def waits_for(self, name: str, others: Iterable[str]) -> list[str]:
        """Return the pipelines in `others` that the pipeline `name` needs, directly or
        indirectly."""
        needed = Dag(self.sources).upstream(name)
        return [other for other in others if other in needed]


class PipelineSelector:
    """Selects pipelines of one revision. `revisions` finds the baseline for `state:modified`."""

    def __init__(
        self,
        wiring: Wiring,
        revisions: Callable[[], ComparedRevisions],
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Create the selector. `variables` are those of a run. If they are None, pipelines are
        compared with the values of their first test file."""
        self._wiring = wiring
        self._revisions = revisions
        self._given = None if variables is None else GivenValues(variables)

    def choose(
        self,
        names: Sequence[str],
        expressions: Sequence[str] = (),
        exclude: Sequence[str] = (),
    ) -> PipelineSelection:
        """Return the pipelines in `names` and those that `expressions` select, in execution order.

        The pipelines that `exclude` selects are left out. If only names are given, the files of
        other pipelines may be invalid. Raises UserError for an unknown name or selector, and
        ProblemsFound for a cycle or an invalid pipeline file.
        """
        wanted = tuple(terms for text in expressions for terms in parse_selection(text))
        unwanted = tuple(terms for text in exclude for terms in parse_selection(text))
        named = self._named(names)
        pipelines = dict(named)
        if wanted or unwanted or len(named) > 1:
            pipelines |= self._others(named, strict=bool(wanted or unwanted))
        dag = _dag(pipelines, self._wiring.catalog.pipeline_names(), self._wiring.connections)
        facts = self._facts(pipelines, (*wanted, *unwanted))
        chosen: dict[str, tuple[str, ...]] = dict.fromkeys(named, ("named",))
        for name, reasons in select(dag, wanted, facts).items():
            chosen[name] = tuple(dict.fromkeys((*chosen.get(name, ()), *reasons)))
        left_out = select(dag, unwanted, facts)
        order = dag.order([name for name in chosen if name not in left_out])
        return PipelineSelection(tuple(Selected(name, chosen[name]) for name in order), dag.sources)

    def _named(self, names: Sequence[str]) -> dict[str, Pipeline]:
        read = [self._wiring.catalog.pipeline(name) for name in dict.fromkeys(names)]
        return {pipeline.name: pipeline for pipeline in read}

    def _others(self, known: Mapping[str, Pipeline], *, strict: bool) -> dict[str, Pipeline]:
        """Return all pipelines of the revision except those in `known`.

        If `strict` is true, an invalid pipeline file raises ProblemsFound. Otherwise, pipelines
        with invalid files are left out.
        """
        others: dict[str, Pipeline] = {}
        for name in self._wiring.catalog.pipeline_names():
            if name in known:
                continue
            try:
                others[name] = self._wiring.catalog.pipeline(name)
            except ProblemsFound:
                if strict:
                    raise
        return others

    def _facts(
        self, pipelines: Mapping[str, Pipeline], expression: Iterable[Sequence[Term]]
    ) -> SelectionFacts:
        tags = {name: pipeline.tags for name, pipeline in pipelines.items()}
        uses_state = any(term.method == "state" for terms in expression for term in terms)
        return SelectionFacts(tags, self._modified(pipelines) if uses_state else {})

    def _modified(self, pipelines: Mapping[str, Pipeline]) -> dict[str, tuple[str, ...]]:
        from loomgit.wiring.changed_inputs import modified  # noqa: PLC0415
        from loomgit.wiring.revision import ProjectRevision  # noqa: PLC0415

        revisions = self._revisions()
        if revisions.base is None:
            return dict.fromkeys(pipelines, (f"no baseline: {revisions.why}",))
        base_wiring = self._wiring.at(revisions.base)
        try:
            base, revision = ProjectRevision(base_wiring), ProjectRevision(self._wiring)
            given = self._given
            versions = [
                revision.prepare(pipeline, given=given or revision.tested_values(pipeline.name))
                for pipeline in pipelines.values()
            ]
            changes = {v.plan.pipeline.name: modified(base, v) for v in versions}
        finally:
            base_wiring.close()
        return {name: inputs for name, inputs in changes.items() if inputs}


def _dag(
    pipelines: Mapping[str, Pipeline], known: Sequence[str], connections: Mapping[str, Connection]
) -> Dag:
    """Return the dependencies between pipelines.

    A pipeline depends on the pipelines in its `depends_on`, and on the pipelines that write to its
    source. Raises ProblemsFound for an unknown pipeline and for a cycle.
    """
    problems: list[Problem] = []
    sources: dict[str, frozenset[str]] = {}
    for name, pipeline in pipelines.items():
        for number, other in enumerate(pipeline.depends_on):
            if other not in known:
                message = f"depends_on: there is no pipeline '{other}'"
                hint = suggest_or_list(other, known, "pipelines/ has")
                problems.append(Problem(pipeline.place(f"depends_on.{number}"), message, hint))
        feeding = (
            other.name
            for other in pipelines.values()
            if other.name != name
            and same_place(other.load.destination, pipeline.extract.source, connections)
        )
        sources[name] = frozenset((*filter(pipelines.__contains__, pipeline.depends_on), *feeding))
    if problems:
        raise ProblemsFound(problems)
    dag = Dag(sources)
    if cycle := dag.find_cycle():
        place = pipelines[cycle[0]].place("depends_on")
        message = f"these pipelines wait for each other: {' -> '.join(cycle)}"
        raise ProblemsFound([Problem(place, message, "remove one of these dependencies")])
    return dag
