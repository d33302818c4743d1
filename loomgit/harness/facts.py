"""What an assertion's names stand for: in one sample, or in one run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from loomgit.domain.words import one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loomgit.domain.assertions import Name
    from loomgit.domain.runs import Run
    from loomgit.domain.samples import CaseSamples, Sample
    from loomgit.domain.values import Json, JsonMapping


class Absent(Struct, frozen=True):
    """There is no such value, which is the reply's fault: it counts against the reply."""

    reason: str


class Unmeasured(Struct, frozen=True):
    """The value was not measured, which is nobody's fault: nothing can be said of it."""

    reason: str


Fact: TypeAlias = "Json | Absent | Unmeasured"
Facts: TypeAlias = "Callable[[Name], Fact]"


def facts_of_sample(case: CaseSamples, sample: Sample) -> Facts:
    """The facts of one reply. A reply that cannot be used scores 0 throughout."""

    def find(name: Name) -> Fact:
        match name.root:
            case "evaluation_score" | "evaluation_scores":
                return _score(sample)
            case "score" | "scores":
                return _judgement(sample, ".".join(name.path))
            case "output":
                return _output(sample, name)
            case "input":
                return walk(case.input, name, "input")
            case "cost" | "costs":
                if sample.cost is None or sample.lost:
                    return Unmeasured(f"the price of {sample.model or 'a call'} is unknown")
                return sample.cost
            case "latency" | "latencies":
                return _latency(sample)
            case "passed":
                return sample.passed
        raise AssertionError(f"no such name: {name}")

    return find


def facts_of_run(run: Run) -> Facts:
    """The facts of one run of a whole pipeline; `score.NAME` is the mean of an evaluator."""

    def find(name: Name) -> Fact:
        match name.root:
            case "records_extracted":
                return run.selected
            case "total_cost":
                return _total_cost(run)
            case "duration":
                return run.performance.duration
            case "score":
                return _mean_score(run, ".".join(name.path))
        value: Fact = getattr(run.results, name.root)
        return value

    return find


def _total_cost(run: Run) -> Fact:
    """Replies from the cache at what they cost once: what ran before changes no verdict."""
    parts = [run.cost.total, *(used.saved for used in run.cost.models)]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return Unmeasured("the price of a call is unknown")
    return math.fsum(known)


def _mean_score(run: Run, evaluator: str) -> Fact:
    summary = run.evaluation.get(evaluator)
    if summary is None:
        return Absent(_no_evaluator(evaluator, list(run.evaluation)))
    return Absent(f"{evaluator} scored no record") if summary.mean is None else summary.mean


def _score(sample: Sample) -> Fact:
    if sample.score is not None:
        return sample.score
    if sample.trouble == "product":
        return 0.0
    return Absent(sample.unjudged or "nothing judges the reply: the pipeline has no evaluators")


def _judgement(sample: Sample, evaluator: str) -> Fact:
    judgement = sample.judgements.get(evaluator)
    if judgement is None:
        if sample.trouble == "product":
            return 0.0
        return Absent(_no_evaluator(evaluator, list(sample.judgements)))
    if judgement.value is not None:
        return judgement.value
    reason = f"{evaluator} failed: {judgement.reason}"
    return Unmeasured(reason) if judgement.infrastructure else Absent(reason)


def _no_evaluator(evaluator: str, known: Sequence[str]) -> str:
    hint = one_of(evaluator, known, "the evaluators") or "the pipeline has none"
    return f"no evaluator '{evaluator}'; {hint}"


def _output(sample: Sample, name: Name) -> Fact:
    if sample.trouble == "product":
        return Absent(sample.failure or "the reply cannot be used")
    return walk(sample.output, name, "output") if name.path else sample.text


def _latency(sample: Sample) -> Fact:
    if sample.latency is not None:
        return sample.latency
    if sample.trouble == "product" and not sample.cached:
        return math.inf  # it was given up
    return Unmeasured("the reply came from the cache: its time was not measured")


def walk(root: JsonMapping, name: Name, noun: str) -> Json | Absent:
    """The value that a dotted name leads to; a number steps into a list, from 0."""
    value, depth = _reach(root, name.path)
    if depth < len(name.path):
        above, step = ".".join((noun, *name.path[:depth])), name.path[depth]
        return Absent(f"{above} has no '{step}'; {_inside(value, step)}")
    return dict(value) if isinstance(value, Mapping) else value


def has(root: JsonMapping, path: Sequence[str]) -> bool:
    """Whether a path leads to a value."""
    return _reach(root, path)[1] == len(path)


def _reach(root: JsonMapping, path: Sequence[str]) -> tuple[Json | Mapping[str, Json], int]:
    """The value where a path ends, or where it goes no further; how many steps that is."""
    value: Json | Mapping[str, Json] = root
    for depth, step in enumerate(path):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return value, depth
    return value, len(path)


def _inside(value: Json | Mapping[str, Json], step: str) -> str:
    if isinstance(value, Mapping):
        return one_of(step, list(value), "it has") or "it is empty"
    if isinstance(value, list):
        return f"it is a list of {len(value)}"
    return "it has no parts"
