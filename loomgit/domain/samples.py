"""Samples: judged replies of a model to test cases, and the results of tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from loomgit.domain.models import Usage
from loomgit.domain.records import Trouble
from loomgit.domain.runs import Case
from loomgit.domain.values import JsonObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


UNIT_PREFIX = "unit::"  # the prefix of the case id of a unit test
PYTHON_MARK = ".py::"  # a part of the pytest id of every Python test
Verdict = Literal["pass", "fail", "inconclusive", "error", "unverified"]


class Judgement(Struct, frozen=True):
    """The result of one evaluator for one sample.

    `value` is in [0, 1]. It is None if the evaluator failed; `reason` is then the error. `judge` is
    the name of the model that the provider reports. `infrastructure` is true if the cause is a
    failure outside Loom. `threshold` is the limit for the value, None if it is unknown.
    """

    value: float | None
    reason: str
    judge: str | None = None
    infrastructure: bool = False
    threshold: float | None = None


class Sample(Struct, frozen=True):
    """One judged reply to one case. `index` is its number (from 0) among the replies to the case.

    `score` is the weighted mean of the judgements, in which a product error counts 0. It is None
    after a failure outside Loom, or if there are no evaluators. `trouble` is the reason for a
    missing or unusable reply: `product` (unparseable, empty or refused; the prompt is the cause),
    `infrastructure` (provider, network or judge; it says nothing about the prompt), `unrecorded`
    (a replay lacks the reply), `budget` (the call could exceed the remaining budget, so it was not
    made). `failure` is the reason in one line, also for a failed gate. `cost` is in USD, None if a
    price is unknown, and includes `judge_cost`, the cost of the evaluators. `latency` is in
    seconds, None for a reply from the cache. An earlier run paid for `reused` samples.
    """

    index: int
    output: JsonObject
    text: str
    model: str
    judgements: Mapping[str, Judgement] = field(default_factory=dict)
    score: float | None = None
    passed: bool = False
    trouble: Trouble = ""
    failure: str = ""
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    judge_cost: float | None = 0.0
    latency: float | None = None
    calls: int = 0
    cached: bool = False
    reused: bool = False

    @property
    def lost(self) -> bool:
        """Whether the sample contains no information about the prompt.

        The cause of a lost sample is a failure outside Loom, a missing reply in a replay, or the
        budget.
        """
        return self.trouble in ("infrastructure", "unrecorded", "budget")

    @property
    def unjudged(self) -> str:
        """The reason why an evaluator has no score for this reply.

        It is empty if all evaluators have a score, and for a lost or unusable reply.
        """
        if self.lost or self.trouble == "product":
            return ""
        errors = (f"{n}: {j.reason}" for n, j in self.judgements.items() if j.value is None)
        return next(errors, "")


class CaseSamples(Struct, frozen=True):
    """A test case with its samples, in the order of their index.

    `key` is the hash of everything that can change its scores, `definition` the hash of the
    question alone (input, expectation, evaluators, judge).
    """

    id: str
    key: str
    definition: str
    input: JsonObject
    samples: tuple[Sample, ...] = ()


def stored_cases(cases: Sequence[CaseSamples]) -> list[Case]:
    """Return the cases in the form of a run file. A lost sample has no score from any evaluator."""
    names = dict.fromkeys(
        name for case in cases for sample in case.samples for name in sample.judgements
    )
    return [stored_case(case, names) for case in cases]


def stored_case(case: CaseSamples, evaluators: Iterable[str] = ()) -> Case:
    """Return a case in the form of a run file.

    Cost (USD) and latency (seconds) are means over the samples. A lost sample has a missing score
    for each of the `evaluators`. For a unit or Python test, an evaluator is omitted if it could not
    judge any sample and the cause is not a failure outside Loom. The reason is that the test may
    lack the reference that the evaluator needs. For a record, such a score is missing.
    """
    judged = dict.fromkeys(name for sample in case.samples for name in sample.judgements)
    names = dict.fromkeys((*judged, *(evaluators if any(s.lost for s in case.samples) else ())))
    usable = [sample for sample in case.samples if not sample.cached]
    return Case(
        id=case.id,
        key=case.key,
        definition=case.definition,
        scores={
            name: [_value(sample, name) for sample in case.samples]
            for name in names
            if is_data_case(case.id) or not all(_cannot_judge(s, name) for s in case.samples)
        },
        samples=len(case.samples),
        passed=sum(sample.passed for sample in case.samples),
        cost=_mean([None if sample.lost else sample.cost for sample in usable]),
        latency=_mean([sample.latency for sample in usable if sample.latency is not None]),
    )


def is_data_case(identity: str) -> bool:
    """Whether the case with this id is a record of a data set, not the input of a single test."""
    return not identity.startswith(UNIT_PREFIX) and PYTHON_MARK not in identity


def _value(sample: Sample, name: str) -> float | None:
    judgement = sample.judgements.get(name)
    return judgement.value if judgement is not None else None


def _cannot_judge(sample: Sample, name: str) -> bool:
    """Whether a sample lacks an evaluator's score for a reason inside Loom or the test.

    Lost samples and failures outside Loom do not count.
    """
    judgement = sample.judgements.get(name)
    if judgement is None:
        return not sample.lost
    return judgement.value is None and not judgement.infrastructure


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


class CheckResult(Struct, frozen=True):
    """One line of a test's result: an assertion, a field of `expected`, or a limit.

    `text` is the line as printed (`mean_score > 0.75`), and `written` the text in the test file if
    the two texts differ. `actual` is the observed number or value as text (`0.87`). `low` and
    `high` are the 90 % interval, if there is one; an end is None if the data do not bound it. `n`
    is the number of values behind the interval. `weak` is true if the point estimate decided,
    because the interval contains the threshold. `warns` is true for a warning, which never fails
    the test. `note` is additional information.
    """

    text: str
    verdict: Verdict
    actual: str = ""
    low: float | None = None
    high: float | None = None
    n: int | None = None
    weak: bool = False
    note: str = ""
    written: str = ""
    warns: bool = False


class TestResult(Struct, frozen=True):
    """The result of one test. `checks` are its lines, and `verdict` follows from all of them.

    `failures` are the samples to show, each with its case, worst first; `more` is the number of
    failures that are not shown. `score` is the mean evaluation score of the judged samples, None if
    no sample has a score.
    """

    __test__ = False  # pytest must not collect this class

    name: str
    verdict: Verdict
    checks: tuple[CheckResult, ...] = ()
    failures: tuple[tuple[CaseSamples, Sample], ...] = ()
    message: str = ""
    score: float | None = None
    more: int = 0
