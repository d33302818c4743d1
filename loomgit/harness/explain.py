"""Explains the result of a test in plain text, for readers who did not write the test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.amounts import SMALLEST_PLAIN, dollars
from loomgit.domain.keys import canonical
from loomgit.domain.values import as_text
from loomgit.harness.assertions import show_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.samples import CaseSamples, CheckResult, Judgement, Sample, TestResult

MAX_LENGTH = 400  # a longer text is cut off after this number of characters
MAX_LINES = 12  # a longer text is cut off after this number of lines
MARKS = {"pass": "ok", "fail": "FAIL", "inconclusive": "open", "error": "ERROR",
         "unverified": "unverified"}  # fmt: skip


def explain(result: TestResult, prompt: str = "") -> list[str]:
    """Return lines that explain one test: its checks with their numbers, then its failing replies.

    `prompt` is the name of the prompt with its version. Long inputs and outputs are truncated.
    """
    lines = [
        f"{result.name}: {result.verdict}" + (f" - {result.message}" if result.message else "")
    ]
    if prompt:
        lines.append(f"prompt: {prompt}")
    lines += [line for check in result.checks for line in _check(check)]
    for case, samples in _group_failures(result):
        numbers = ", ".join(str(sample.index + 1) for sample in samples)
        noun = "sample" if len(samples) == 1 else "samples"
        model = f"model {samples[0].model or 'unknown'}"
        if not samples[0].model and not samples[0].calls:
            model = "no model was called"
        lines += ["", f"case {case.id}, {noun} {numbers}, {model}"]
        lines += [f"  {line}" for line in _sample(case, samples[0])]
    if result.more:
        lines += ["", f"{result.more:,} more"]
    return lines


def _group_failures(result: TestResult) -> list[tuple[CaseSamples, list[Sample]]]:
    """Group the failing replies. Replies to the same case with equal text and scores form a
    group."""
    groups: dict[tuple[str, bytes], tuple[CaseSamples, list[Sample]]] = {}
    for case, sample in result.failures:
        scores = {name: judgement.value for name, judgement in sample.judgements.items()}
        key = canonical([sample.output, sample.text, sample.failure, scores])
        groups.setdefault((case.id, key), (case, []))[1].append(sample)
    return list(groups.values())


def explain_briefly(result: TestResult, prompt: str = "") -> list[str]:
    """Return a short explanation: the verdict, then each check that did not pass."""
    version = f" [{prompt}]" if prompt else ""
    message = f" - {result.message}" if result.message else ""
    lines = [f"{result.name}: {result.verdict}{message}{version}"]
    bad = [check for check in result.checks if check.verdict != "pass"]
    return lines + [line for check in bad for line in _check(check)]


def _check(check: CheckResult) -> Iterator[str]:
    weak = f"weak {check.verdict}" if check.weak else MARKS[check.verdict]
    actual = f" (actual: {check.actual}{_interval(check)})" if check.actual else ""
    yield f"  [{weak}] {check.text}{actual}"
    if check.written:
        yield f"      as written: {check.written}"
    if check.note:
        yield f"      {check.note}"


def _interval(check: CheckResult) -> str:
    if check.low is None and check.high is None:
        return f", n = {check.n}" if check.n else ""
    ends = [f"{end:.3g}" if end is not None else "unbounded" for end in (check.low, check.high)]
    return f", 90% interval {ends[0]} to {ends[1]}, n = {check.n}"


def _sample(case: CaseSamples, sample: Sample) -> Iterator[str]:
    yield "input:"
    for name, value in case.input.items():
        yield from _block(f"  {name}: ", as_text(value))
    yield "output:"
    if sample.output:
        for name, value in sample.output.items():
            yield from _block(f"  {name}: ", as_text(value))
    else:
        yield from _block("  ", sample.text or "(empty)")
    if sample.judgements:
        score = "" if sample.score is None else f" (evaluation_score {show_number(sample.score)})"
        yield f"scores:{score}"
    for name, judgement in sample.judgements.items():
        yield from _block("  ", _judgement(name, judgement))
    if sample.failure:
        yield from _block("failed: ", sample.failure)
    spent = [] if sample.latency is None else [f"{sample.latency:.3g} s"]
    if sample.cost is not None:
        is_plain = sample.cost >= SMALLEST_PLAIN or not sample.cost
        spent.append(f"${sample.cost:.3g}" if is_plain else dollars(sample.cost))
    if spent:
        yield f"took: {', '.join(spent)}"


def _judgement(name: str, judgement: Judgement) -> str:
    judge = f" [{judgement.judge}]" if judgement.judge else ""
    if judgement.value is None:
        return f"{name}: no score{judge}: {judgement.reason}"
    value, limit = judgement.value, judgement.threshold
    comparison = ""
    if limit is not None:
        sign = ">=" if value >= limit else "<"
        comparison = f" {sign} threshold {show_number(limit)}"
    reason = f": {judgement.reason}" if judgement.reason else ""
    return f"{name}: {show_number(value, limit)}{comparison}{judge}{reason}"


def _block(head: str, text: str) -> Iterator[str]:
    """Yield the lines of a text. The first line begins with the title `head`. A long text is
    truncated."""
    cut = text[:MAX_LENGTH]
    lines = cut.splitlines() or [""]
    more = len(text) - sum(len(line) + 1 for line in lines[:MAX_LINES]) + 1
    indent = " " * (len(head) - len(head.lstrip()) + 2)
    for number, line in enumerate(lines[:MAX_LINES]):
        yield (head if number == 0 else indent) + line
    if len(lines) > MAX_LINES or len(text) > MAX_LENGTH:
        yield f"{indent}... {max(more, 1):,} characters more"
