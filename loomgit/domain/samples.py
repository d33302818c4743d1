"""Samples: replies of one model to test cases, judged; and what a test makes of them."""

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


UNIT = "unit::"  # begins the id of a unit test's case
PYTHON = ".py::"  # in what pytest calls a Python test
Verdict = Literal["pass", "fail", "inconclusive", "error", "unverified"]


class Judgement(Struct, frozen=True):
    """One evaluator's word on a sample: `value` in [0, 1], None where it has none and `reason` is
    the error; `judge` is the model as served; `infrastructure` says that the world failed.
    `threshold` is what the value was held against, None where that is not known."""

    value: float | None
    reason: str
    judge: str | None = None
    infrastructure: bool = False
    threshold: float | None = None


class Sample(Struct, frozen=True):
    """One reply to one case: the `index`-th (from 0) of the model to the same question.

    `score` is the weighted mean of the judgements, a product error counting 0; None where the
    world failed or nothing judges. `trouble` tells why there is no usable reply: `product` (not to
    be parsed, empty, refused: the prompt's fault), `infrastructure` (provider, network, judge: says
    nothing of the prompt), `unrecorded` (replay has no such reply), `budget` (the call might have
    cost more than was left, so it was not made). `failure` is the reason in one line, also of a
    gate that was not passed. `cost` is USD, None where a price is unknown, `judge_cost` the part of
    it that evaluators took; `latency` seconds, None for a reply from the cache. `reused` samples
    were paid for by an earlier run.
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
        """Whether the sample says nothing of the prompt."""
        return self.trouble in ("infrastructure", "unrecorded", "budget")

    @property
    def unjudged(self) -> str:
        """Why an evaluator has no score of this reply; empty if all have one, or the reply was lost
        or cannot be used."""
        if self.lost or self.trouble == "product":
            return ""
        silent = (f"{n}: {j.reason}" for n, j in self.judgements.items() if j.value is None)
        return next(silent, "")


class CaseSamples(Struct, frozen=True):
    """A case with its samples, by index. `key` hashes all that can change its scores, `definition`
    the question alone (input, expectation, evaluators, judge)."""

    id: str
    key: str
    definition: str
    input: JsonObject
    samples: tuple[Sample, ...] = ()


def cases_of(cases: Sequence[CaseSamples]) -> list[Case]:
    """Cases as a run file has them; a sample that was lost has no score of any evaluator."""
    names = dict.fromkeys(
        name for case in cases for sample in case.samples for name in sample.judgements
    )
    return [case_of(case, names) for case in cases]


def case_of(case: CaseSamples, evaluators: Iterable[str] = ()) -> Case:
    """A case as a run file has it; cost (USD) and latency (seconds) are means over its samples.

    What was lost to an outage has no score of any of the `evaluators`. Of a unit or Python test, an
    evaluator that could judge none of the samples, and not since the world failed, is left out: the
    test may lack the reference that it compares with. Of a record, a missing score is a gap.
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
            if is_of_data(case.id) or not all(_mute(sample, name) for sample in case.samples)
        },
        samples=len(case.samples),
        passed=sum(sample.passed for sample in case.samples),
        cost=_mean([None if sample.lost else sample.cost for sample in usable]),
        latency=_mean([sample.latency for sample in usable if sample.latency is not None]),
    )


def is_of_data(identity: str) -> bool:
    """Whether a case of this id is a record of a data set, not the input of a single test."""
    return not identity.startswith(UNIT) and PYTHON not in identity


def _value(sample: Sample, name: str) -> float | None:
    judgement = sample.judgements.get(name)
    return judgement.value if judgement is not None else None


def _mute(sample: Sample, name: str) -> bool:
    judgement = sample.judgements.get(name)
    if judgement is None:
        return not sample.lost
    return judgement.value is None and not judgement.infrastructure


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


class Check(Struct, frozen=True):
    """One line of a test's result: an assertion, a field of `expected`, a limit.

    `text` is it as printed (`mean_score > 0.75`), `written` as the file has it where that differs;
    `actual` is the number or value found, in words (`0.87`); `low` and `high` are the 90 % interval
    where there is one, an end None where the data do not bound it, `n` what it rests on. `weak`:
    decided by the point estimate, since the interval holds the threshold. `warns`: worth a look,
    though it never fails the test. `note` says what else one should know.
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
    """What became of one test; `checks` are its lines, `verdict` follows from them all.

    `failures` are the samples to show: for each the case and the sample, worst first; `more` are
    not shown. `score` is the mean evaluation score of what was judged, None where nothing has one.
    """

    __test__ = False  # the name is the field's word, not a test of ours

    name: str
    verdict: Verdict
    checks: tuple[Check, ...] = ()
    failures: tuple[tuple[CaseSamples, Sample], ...] = ()
    message: str = ""
    score: float | None = None
    more: int = 0
