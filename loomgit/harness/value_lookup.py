"""Looks up the values of an assertion's names in one sample or in one run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeAlias

from msgspec import Struct

from loomgit.domain.suggestions import suggest_or_list

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loomgit.domain.assertions import Name
    from loomgit.domain.runs import Run
    from loomgit.domain.samples import CaseSamples, Sample
    from loomgit.domain.values import Json, JsonMapping


class Absent(Struct, frozen=True):
    """A value that is missing because the reply does not contain it. The reply is at fault."""

    reason: str


class Unmeasured(Struct, frozen=True):
    """A value that was not measured. It is evidence neither for nor against the reply."""

    reason: str


LookupResult: TypeAlias = "Json | Absent | Unmeasured"
ValueLookup: TypeAlias = "Callable[[Name], LookupResult]"


def values_of_sample(case: CaseSamples, sample: Sample) -> ValueLookup:
    """Return a function that looks up the value of a name in one reply.

    All scores of an unusable reply are 0.
    """

    def find(name: Name) -> LookupResult:
        match name.root:
            case "evaluation_score" | "evaluation_scores":
                return _score(sample)
            case "score" | "scores":
                return _judgement(sample, ".".join(name.path))
            case "output":
                return _output(sample, name)
            case "input":
                return find_value(case.input, name, "input")
            case "cost" | "costs":
                if sample.cost is None or sample.lost:
                    return Unmeasured(f"the price of {sample.model or 'a call'} is unknown")
                return sample.cost
            case "latency" | "latencies":
                return _latency(sample)
            case "passed":
                return sample.passed
        raise AssertionError(f"unknown name: {name}")

    return find


def values_of_run(run: Run) -> ValueLookup:
    """Return a function that looks up the value of a name in one run of a pipeline.

    `score.NAME` is the mean score of the evaluator with this name.
    """

    def find(name: Name) -> LookupResult:
        match name.root:
            case "records_extracted":
                return run.selected
            case "total_cost":
                return _total_cost(run)
            case "duration":
                return run.performance.duration
            case "score":
                return _mean_score(run, ".".join(name.path))
        value: LookupResult = getattr(run.results, name.root)
        return value

    return find


def _total_cost(run: Run) -> LookupResult:
    """Return the cost in USD. The cost includes the original cost of cached replies, so the content
    of the cache does not change a verdict."""
    parts = [run.cost.total, *(used.saved for used in run.cost.models)]
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return Unmeasured("the price of a call is unknown")
    return math.fsum(known)


def _mean_score(run: Run, evaluator: str) -> LookupResult:
    summary = run.evaluation.get(evaluator)
    if summary is None:
        return Absent(_no_evaluator(evaluator, list(run.evaluation)))
    return Absent(f"{evaluator} scored no record") if summary.mean is None else summary.mean


def _score(sample: Sample) -> LookupResult:
    if sample.score is not None:
        return sample.score
    if sample.trouble == "product":
        return 0.0
    return Absent(sample.unjudged or "the reply has no score: the pipeline has no evaluators")


def _judgement(sample: Sample, evaluator: str) -> LookupResult:
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
    hint = suggest_or_list(evaluator, known, "the evaluators") or "the pipeline has no evaluators"
    return f"unknown evaluator '{evaluator}'; {hint}"


def _output(sample: Sample, name: Name) -> LookupResult:
    if sample.trouble == "product":
        return Absent(sample.failure or "the reply is unusable")
    return find_value(sample.output, name, "output") if name.path else sample.text


def _latency(sample: Sample) -> LookupResult:
    if sample.latency is not None:
        return sample.latency
    if sample.trouble == "product" and not sample.cached:
        return math.inf  # the call was abandoned, so its latency exceeds every limit
    return Unmeasured("the reply came from the cache: its time was not measured")


def find_value(root: JsonMapping, name: Name, noun: str) -> Json | Absent:
    """Return the value in `root` at the path of a dotted name, or Absent if there is no value.

    A number in the path is a list index (from 0). `noun` is the word that the reason of an Absent
    value uses for `root`.
    """
    value, depth = _follow(root, name.path)
    if depth < len(name.path):
        parent, step = ".".join((noun, *name.path[:depth])), name.path[depth]
        return Absent(f"{parent} has no '{step}'; {_describe_parts(value, step)}")
    return dict(value) if isinstance(value, Mapping) else value


def has_path(root: JsonMapping, path: Sequence[str]) -> bool:
    """Return whether `root` has a value at the path. Numbers in the path are list indices."""
    return _follow(root, path)[1] == len(path)


def _follow(root: JsonMapping, path: Sequence[str]) -> tuple[Json | Mapping[str, Json], int]:
    """Follow the path as far as it exists. Return the last value and the number of steps."""
    value: Json | Mapping[str, Json] = root
    for depth, step in enumerate(path):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return value, depth
    return value, len(path)


def _describe_parts(value: Json | Mapping[str, Json], step: str) -> str:
    if isinstance(value, Mapping):
        return suggest_or_list(step, list(value), "it has") or "it is empty"
    if isinstance(value, list):
        return f"it is a list of length {len(value)}"
    return "it has no parts"
