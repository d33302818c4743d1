"""Samples (judged replies of a model to test cases), and the results of tests."""

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
# The case id of a Python test is the pytest id of the test. Each such id contains this text.
PYTHON_MARK = ".py::"
Verdict = Literal["pass", "fail", "inconclusive", "error", "unverified"]


class Judgement(Struct, frozen=True):
    """The result of one evaluator for one sample.

    `value` is the score in [0, 1]. It is None if the evaluator failed; `reason` is then the error,
    and `infrastructure` is true if the cause is a failure outside Loom. `judge` is the
    name that the provider reports for the judge model. `threshold` is the limit for the value, None
    if it is unknown.
    """

    value: float | None
    reason: str
    judge: str | None = None
    infrastructure: bool = False
    threshold: float | None = None


class Sample(Struct, frozen=True):
    """One judged reply to a test case. `index` is the number of the reply, from 0.

    `score` is the weighted mean of the judgements, in which an unusable output scores 0. It is None
    after a failure outside Loom, if an evaluator has no score, or if there are no evaluators.
    `failure` states in one line why the sample has no usable reply or fails the gate.

    `trouble` is the type of the failure: `product` (the reply is unparseable, empty or refused, and
    the prompt is the cause), `infrastructure` (a failure of the provider, network or judge,
    unrelated to the prompt), `unrecorded` (a replay lacks the reply), `budget` (the call was not
    made, because it could exceed the remaining budget).

    `cost` is in USD, None if a price is unknown. It includes `judge_cost`, the cost of the
    evaluators. `latency` is in seconds, None for a reply from the cache. `reused` is true if the
    sample comes from an earlier run, which paid for it.
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

        This is the case after a failure outside Loom, if a replay lacks the reply, or if the budget
        prevented the call.
        """
        return self.trouble in ("infrastructure", "unrecorded", "budget")

    @property
    def unjudged(self) -> str:
        """The reason why an evaluator has no score for this reply.

        It is empty if all evaluators have a score. It is also empty for a lost or unusable reply.
        """
        if self.lost or self.trouble == "product":
            return ""
        errors = (f"{n}: {j.reason}" for n, j in self.judgements.items() if j.value is None)
        return next(errors, "")


class CaseSamples(Struct, frozen=True):
    """A test case with its samples, in the order of their index.

    `key` is a hash of everything that can change the scores. `definition` is a hash of
    only the input, the expectation, the evaluators and the judge.
    """

    id: str
    key: str
    definition: str
    input: JsonObject
    samples: tuple[Sample, ...] = ()


def stored_cases(cases: Sequence[CaseSamples]) -> list[Case]:
    """Return the cases as they are stored in a run file.

    A lost sample has a missing score (None) for each evaluator of the cases.
    """
    names = dict.fromkeys(
        name for case in cases for sample in case.samples for name in sample.judgements
    )
    return [stored_case(case, names) for case in cases]


def stored_case(case: CaseSamples, evaluators: Iterable[str] = ()) -> Case:
    """Return a case as it is stored in a run file.

    Cost (USD) and latency (seconds) are means over the samples. A lost sample has a missing score
    (None) for each of the `evaluators`.

    Even without an outage, an evaluator may have no score for any sample of the case. If the case
    belongs to a unit or Python test, this evaluator is then left out, because the test may lack the
    reference that it needs. If the case is a record of a data set, each score is stored as None.
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
    """Return whether the case with this id is a record of a data set.

    If not, the case is the input of a unit test or a Python test.
    """
    return not identity.startswith(UNIT_PREFIX) and PYTHON_MARK not in identity


def _value(sample: Sample, name: str) -> float | None:
    judgement = sample.judgements.get(name)
    return judgement.value if judgement is not None else None


def _cannot_judge(sample: Sample, name: str) -> bool:
    """Return whether the evaluator `name` gave no score to the sample.

    However, the result is False if the score is missing because the sample is lost, or because
    something outside Loom failed.
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

    `text` is the line as printed (`mean_score > 0.75`). `written` is the text in the test file, if
    it differs from `text`. `actual` is the observed number or value as text (`0.87`). `low` and
    `high` are the bounds of the 90 % interval, None if there is no interval or the data do not
    bound the value. `n` is the number of values that the interval is based on.

    `weak` is true if the interval contains the threshold. The point estimate then decides.
    `warns` is true for a warning, which never fails the test. `note` is additional information.
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
    """The result of one test. `checks` are its result lines, which determine the `verdict`.

    `failures` are the failed samples to show, as pairs (case, sample), worst first. `more` is the
    number of other failures. `score` is the mean evaluation score of the judged samples, None
    if no sample has a score.
    """

    __test__ = False  # pytest must not collect this class

    name: str
    verdict: Verdict
    checks: tuple[CheckResult, ...] = ()
    failures: tuple[tuple[CaseSamples, Sample], ...] = ()
    message: str = ""
    score: float | None = None
    more: int = 0
