"""The dependency graph of the pipelines, and the expressions that select pipelines from the graph.

An expression contains terms such as `+name` and `state:modified+`. The module reads no files.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.suggestions import suggest_or_list
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

METHODS = ("state", "tag")
STATES = ("modified",)


class Dag(Struct, frozen=True):
    """The dependency graph of the pipelines.

    `sources` maps each pipeline to its sources: the pipelines on which it depends directly. Every
    source is also a key.
    """

    sources: Mapping[str, frozenset[str]]

    def find_cycle(self) -> tuple[str, ...]:
        """Return pipelines that form a cycle, or an empty tuple if the graph has no cycle.

        Each pipeline depends on the next pipeline. The first pipeline is repeated at the end.
        """
        try:
            TopologicalSorter(self.sources).prepare()
        except CycleError as error:
            # graphlib lists a source before the pipelines that depend on it; the message shows each
            # pipeline before its source.
            return tuple(reversed(error.args[1]))
        return ()

    def order(self, names: Collection[str]) -> list[str]:
        """Sort the given pipelines so that each pipeline follows its sources.

        Pipelines at the same depth of the graph are sorted by name. The graph must have no cycle.
        """
        sorter = TopologicalSorter(self.sources)
        sorter.prepare()
        ordered: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            ordered += ready
            sorter.done(*ready)
        return [name for name in ordered if name in names]

    def upstream(self, name: str) -> set[str]:
        """Return the direct and indirect sources of a pipeline."""
        return _reach(name, self.sources)

    def downstream(self, name: str) -> set[str]:
        """Return the pipelines that depend on a pipeline, directly or indirectly."""
        users: dict[str, set[str]] = {}
        for user, sources in self.sources.items():
            for source in sources:
                users.setdefault(source, set()).add(user)
        return _reach(name, users)


def _reach(start: str, edges: Mapping[str, Collection[str]]) -> set[str]:
    reached: set[str] = set()
    pending = [start]
    while pending:
        for name in edges.get(pending.pop(), ()):
            if name not in reached:
                reached.add(name)
                pending.append(name)
    return reached - {start}


class Term(Struct, frozen=True):
    """One selector of an expression: a pipeline name, `state:modified` or `tag:VALUE`.

    For a pipeline name, `method` is empty. `+term` adds the upstream pipelines, `term+` adds the
    downstream pipelines.
    """

    value: str
    method: str = ""
    upstream: bool = False
    downstream: bool = False

    def __str__(self) -> str:
        word = f"{self.method}:{self.value}" if self.method else self.value
        return f"{'+' * self.upstream}{word}{'+' * self.downstream}"


def parse_selection(expression: str) -> tuple[tuple[Term, ...], ...]:
    """Parse an expression such as `a state:modified,tag:daily`.

    Spaces separate alternatives, and commas separate the terms of one alternative. A pipeline must
    match all terms of at least one alternative. The result has one tuple of terms for each
    alternative. Raises UserError for an empty expression or an invalid term.
    """
    unions = [word.split(",") for word in expression.split()]
    if not unions:
        raise UserError("the selection is empty", hint="name a pipeline, or use state:modified")
    return tuple(tuple(map(_parse_term, words)) for words in unions)


def _parse_term(word: str) -> Term:
    upstream, downstream = word.startswith("+"), word.endswith("+")
    bare = word.removeprefix("+").removesuffix("+")
    if not bare or bare.startswith("+") or bare.endswith("+"):
        raise UserError(
            f"'{word}' is not a selector",
            hint="use name, +name, name+, state:modified, state:modified+ or tag:VALUE",
        )
    method, colon, value = bare.partition(":")
    if not colon:
        return Term(bare, "", upstream, downstream)
    if method not in METHODS:
        hint = suggest_or_list(method, METHODS, "valid selectors")
        raise UserError(f"'{word}': unknown selector '{method}:'", hint=hint)
    if method == "state" and value not in STATES:
        hint = suggest_or_list(value, STATES, "valid states")
        raise UserError(f"'{word}': unknown state '{value}'", hint=hint)
    return Term(value, method, upstream, downstream)


class SelectionFacts(Struct, frozen=True):
    """The data that expressions refer to, by pipeline name.

    `tags` contains the tags of each pipeline. `modified` contains only the modified pipelines, each
    with its differences as text.
    """

    tags: Mapping[str, Collection[str]]
    modified: Mapping[str, Sequence[str]]


def select(
    dag: Dag, expression: Iterable[Sequence[Term]], facts: SelectionFacts
) -> dict[str, tuple[str, ...]]:
    """Return the names of the pipelines that match an expression, with the reasons for each match.

    Raises UserError for an unknown pipeline name.
    """
    selected: dict[str, tuple[str, ...]] = {}
    for terms in expression:
        matches = [_select_term(dag, term, facts) for term in terms]
        for name in set.intersection(*(set(match) for match in matches)):
            reasons = [reason for match in matches for reason in match[name]]
            selected[name] = tuple(dict.fromkeys((*selected.get(name, ()), *reasons)))
    return selected


def _select_term(dag: Dag, term: Term, facts: SelectionFacts) -> dict[str, list[str]]:
    """Return the names of the pipelines that match a term, with the reasons for each match."""
    roots = _roots(dag, term, facts)
    selected: dict[str, list[str]] = {name: [reason] for name, reason in roots.items()}
    for root in roots:
        if term.upstream:
            for name in dag.upstream(root):
                selected.setdefault(name, []).append(f"upstream of {root}")
        if term.downstream:
            for name in dag.downstream(root):
                selected.setdefault(name, []).append(f"downstream of {root}")
    return selected


def _roots(dag: Dag, term: Term, facts: SelectionFacts) -> dict[str, str]:
    """Return the pipelines that match the term itself, without the pipelines that its `+` adds.

    The values say why a pipeline matches, such as `tag daily`.
    """
    if term.method == "state":
        return {name: f"modified: {', '.join(diffs)}" for name, diffs in facts.modified.items()}
    if term.method == "tag":
        tagged = [name for name in dag.sources if term.value in facts.tags.get(name, ())]
        return dict.fromkeys(tagged, f"tag {term.value}")
    if term.value not in dag.sources:
        hint = suggest_or_list(term.value, sorted(dag.sources), "pipelines/ has")
        raise UserError(f"there is no pipeline {term.value}", hint=hint)
    return {term.value: "named"}
