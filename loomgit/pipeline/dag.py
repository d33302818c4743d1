"""Which pipelines run before which, and what an expression such as `+name` or `state:modified+`
selects of them; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.words import one_of
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable

METHODS = ("state", "tag")
STATES = ("modified",)


class Dag(Struct, frozen=True):
    """Pipelines by name, each with those that it takes its data from. All of them are keys."""

    sources: Mapping[str, frozenset[str]]

    def find_cycle(self) -> tuple[str, ...]:
        """Pipelines that wait for each other, the first one again at the end; none: empty."""
        try:
            TopologicalSorter(self.sources).prepare()
        except CycleError as error:
            # graphlib lists each before what waits for it; a reader follows the waiting.
            return tuple(reversed(error.args[1]))
        return ()

    def order(self, names: Collection[str]) -> list[str]:
        """These pipelines, each behind those that it waits for, else by name. There is no cycle."""
        sorter = TopologicalSorter(self.sources)
        sorter.prepare()
        ordered: list[str] = []
        while sorter.is_active():
            ready = sorted(sorter.get_ready())
            ordered += ready
            sorter.done(*ready)
        return [name for name in ordered if name in names]

    def upstream(self, name: str) -> set[str]:
        """What a pipeline waits for, directly or through others."""
        return _reach(name, self.sources)

    def downstream(self, name: str) -> set[str]:
        """What waits for a pipeline, directly or through others."""
        users: dict[str, set[str]] = {}
        for user, sources in self.sources.items():
            for source in sources:
                users.setdefault(source, set()).add(user)
        return _reach(name, users)


def _reach(start: str, steps: Mapping[str, Collection[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in steps.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found - {start}


class Term(Struct, frozen=True):
    """One word of an expression: a pipeline (`method` empty), `state:modified` or `tag:VALUE`, with
    what comes before it (`+word`) and behind it (`word+`)."""

    value: str
    method: str = ""
    upstream: bool = False
    downstream: bool = False

    def __str__(self) -> str:
        word = f"{self.method}:{self.value}" if self.method else self.value
        return f"{'+' * self.upstream}{word}{'+' * self.downstream}"


def parse_selection(expression: str) -> tuple[tuple[Term, ...], ...]:
    """An expression as a union (words apart) of intersections (words joined by commas).

    Raises UserError for what is no such word.
    """
    unions = [word.split(",") for word in expression.split()]
    if not unions:
        raise UserError("the selection is empty", hint="name a pipeline, or say state:modified")
    return tuple(tuple(map(_term, words)) for words in unions)


def _term(word: str) -> Term:
    upstream, downstream = word.startswith("+"), word.endswith("+")
    bare = word.removeprefix("+").removesuffix("+")
    if not bare or bare.startswith("+") or bare.endswith("+"):
        raise UserError(
            f"'{word}' selects nothing",
            hint="selections are name, +name, name+, state:modified, state:modified+, tag:word",
        )
    method, colon, value = bare.partition(":")
    if not colon:
        return Term(bare, "", upstream, downstream)
    if method not in METHODS:
        hint = one_of(method, METHODS, "there is")
        raise UserError(f"'{word}': unknown selector '{method}:'", hint=hint)
    if method == "state" and value not in STATES:
        hint = one_of(value, STATES, "there is")
        raise UserError(f"'{word}': unknown state '{value}'", hint=hint)
    return Term(value, method, upstream, downstream)


class Facts(Struct, frozen=True):
    """What expressions may ask of pipelines: tags by pipeline, and of those that are modified what
    differs."""

    tags: Mapping[str, Collection[str]]
    modified: Mapping[str, Sequence[str]]


def select(
    dag: Dag, expression: Iterable[Sequence[Term]], facts: Facts
) -> dict[str, tuple[str, ...]]:
    """The pipelines that an expression selects, each with why. UserError for an unknown name."""
    chosen: dict[str, tuple[str, ...]] = {}
    for words in expression:
        sets = [_chosen(dag, term, facts) for term in words]
        for name in set.intersection(*(set(each) for each in sets)):
            reasons = [reason for each in sets for reason in each[name]]
            chosen[name] = tuple(dict.fromkeys((*chosen.get(name, ()), *reasons)))
    return chosen


def _chosen(dag: Dag, term: Term, facts: Facts) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {name: [why] for name, why in _roots(dag, term, facts).items()}
    for root in list(found):
        if term.upstream:
            for name in dag.upstream(root):
                found.setdefault(name, []).append(f"upstream of {root}")
        if term.downstream:
            for name in dag.downstream(root):
                found.setdefault(name, []).append(f"downstream of {root}")
    return found


def _roots(dag: Dag, term: Term, facts: Facts) -> dict[str, str]:
    if term.method == "state":
        return {name: f"modified: {', '.join(what)}" for name, what in facts.modified.items()}
    if term.method == "tag":
        tagged = [name for name in dag.sources if term.value in facts.tags.get(name, ())]
        return dict.fromkeys(tagged, f"tag {term.value}")
    if term.value not in dag.sources:
        hint = one_of(term.value, sorted(dag.sources), "pipelines/ has")
        raise UserError(f"there is no pipeline {term.value}", hint=hint)
    return {term.value: "named"}
