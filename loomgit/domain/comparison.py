"""Two versions compared: what moved, by how much, and what that means for a merge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from loomgit.domain.runs import Case

if TYPE_CHECKING:
    from collections.abc import Iterable


Outcome = Literal["unchanged", "improved", "no_worse", "degraded", "inconclusive", "not_comparable"]
MetricKind = Literal["score", "cost", "latency"]
WORST_FIRST: tuple[Outcome, ...] = (
    "degraded",
    "not_comparable",
    "inconclusive",
    "no_worse",
    "improved",
    "unchanged",
)
MOST_LOST = 0.1  # of the baseline's cases; more, and what is left may be the easy ones


class Side(Struct, frozen=True):
    """One side of a comparison: where its results come from.

    `behind` counts the commits by which the results are older than what was asked for; `measured`
    says that they were made for this comparison; `runs` are the uids of the runs read.
    """

    commit: str
    fingerprint: str
    prompt_version: str | None = None
    model: str = ""
    runs: tuple[str, ...] = ()
    behind: int = 0
    measured: bool = False


class Measured(Struct, frozen=True):
    """The results of one side: its cases by id, the question that all of them were asked, the
    judges as served of every evaluator, and the models as served that answered the prompt."""

    side: Side
    cases: Mapping[str, Case]
    question: Mapping[str, object]
    judges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    served: tuple[str, ...] = ()


def by_id(cases: Iterable[Case]) -> dict[str, Case]:
    """The cases of one side by id.

    Where two tests ask the same, the more samples count; another case that happens to be called
    the same (two test files, one name) gets a number behind its id.
    """
    found: dict[str, Case] = {}
    for case in cases:
        name, number = case.id, 1
        while name in found and found[name].definition != case.definition:
            number += 1
            name = f"{case.id} ({number})"
        if name not in found or found[name].samples < case.samples:
            found[name] = case
    return found


class Difference(Struct, frozen=True):
    """A part of the question that differs, as a dotted name with both values."""

    part: str
    base: str
    head: str

    def __str__(self) -> str:
        return f"{self.part}: {self.base} -> {self.head}"


class Metric(Struct, frozen=True):
    """How one metric moved over the cases that both sides have.

    Scores: `base`, `head` are means in [0, 1], `delta` is their difference with its 90 % interval
    [`low`, `high`]. Cost (USD) and latency (seconds) a case: `delta` is the ratio head / base less
    one, likewise its interval. `p` is one-sided against getting worse, `adjusted` the same for the
    number of gated metrics; `limit` is the drop (scores) or rise (a share) from which it matters;
    `detects` the smallest drop (scores) or rise that would have been seen 4 times of 5, None where
    none. `floor` is the lowest shift that the evidence allows.
    """

    name: str
    kind: MetricKind
    gated: bool
    outcome: Outcome
    base: float | None = None
    head: float | None = None
    delta: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    adjusted: float | None = None
    limit: float | None = None
    detects: float | None = None
    cases: int = 0
    samples: int = 0
    missing: int = 0
    method: str = ""
    reason: str = ""


class CaseChange(Struct, frozen=True):
    """A case that got worse or better: its mean score over the evaluators on both sides."""

    id: str
    base: float
    head: float
    scores: Mapping[str, tuple[float, float]]

    @property
    def delta(self) -> float:
        """The shift of the mean score."""
        return self.head - self.base


class Limits(Struct, frozen=True):
    """What decides a comparison; see `loomgit.domain.suites.Policy` for the words.

    `max_rise` None: cost and latency are shown and not gated. With `confirm` a degradation stands
    only where both sides, drawn again, agree. `strict` blocks unless no worse is proven.
    """

    scope: Literal["suite", "population"] = "suite"
    max_drop: float = 0.02
    max_rise: float | None = None
    max_error_rate: float = 0.05
    allow_removed: bool = False
    unpaired: bool = False
    confirm: bool = False
    strict: bool = False


class PipelineComparison(Struct, frozen=True):
    """One pipeline on both sides. A side is None where it has no results.

    `new`: the baseline has no such pipeline, so there is nothing to compare it with. `inputs` are
    the files and settings that differ. `differs` are the parts of the question that are not equal:
    then nothing is compared. `removed` are cases of the baseline that the head lacks, `added` the
    reverse, `changed` those whose own question differs (input, expectation); none of these is in
    the gate. `requestioned` are the parts of the question that the head has changed where both
    sides are judged by the head's: then nothing good is proven. `looser` are the limits that the
    head has loosened, a line each. `may_lose`: removed and changed cases are accepted. `strict`:
    its tests block what is not proven harmless.
    """

    pipeline: str
    outcome: Outcome
    new: bool = False
    base: Side | None = None
    head: Side | None = None
    metrics: tuple[Metric, ...] = ()
    differs: tuple[Difference, ...] = ()
    compared: int = 0
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    worse: tuple[CaseChange, ...] = ()
    better: tuple[CaseChange, ...] = ()
    inputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    requestioned: tuple[Difference, ...] = ()
    looser: tuple[str, ...] = ()
    may_lose: bool = False
    strict: bool = False

    @property
    def is_doubtful(self) -> bool:
        """Whether nothing good is proven, whatever the metrics say."""
        return bool(self.requestioned) or (self.lost > MOST_LOST and not self.may_lose)

    @property
    def is_accepted_loss(self) -> bool:
        """Whether somebody accepts that a metric has degraded."""
        degraded = any(metric.gated and metric.outcome == "degraded" for metric in self.metrics)
        return degraded and self.outcome != "degraded" and bool(self.accepted)

    @property
    def lost(self) -> float:
        """The share of the baseline's cases that are gone or changed, so that they do not count."""
        lost = len(self.removed) + len(self.changed)
        total = lost + self.compared
        return lost / total if total else 0.0

    def blocks(self, *, strict: bool = False) -> bool:
        """Whether the answer is no: a degradation that nobody accepted; under `strict`, the
        caller's or its own, also what is not proven harmless, and cases that are removed or
        changed. A new pipeline never blocks."""
        if self.new:
            return False
        if not (strict or self.strict):
            return self.outcome == "degraded"
        bad = {"degraded", "inconclusive", "not_comparable"}
        return self.outcome in bad or (self.lost > 0 and not self.may_lose)


class Revision(Struct, frozen=True):
    """What one side of a comparison is: `name` in words (`main`, `merge base with main`, `working
    tree`), `commit` its id, empty where there is none."""

    name: str
    commit: str = ""


class Comparison(Struct, frozen=True):
    """All pipelines of two revisions. `outcome` is the worst of them; `missing_baseline` says that
    at least one pipeline had nothing to be compared with."""

    base: Revision
    head: Revision
    outcome: Outcome
    pipelines: tuple[PipelineComparison, ...] = ()
    missing_baseline: bool = False
    notes: tuple[str, ...] = ()

    def blocks(self, *, strict: bool = False, require_baseline: bool = False) -> bool:
        """Whether the answer is no: that of any pipeline is; under `strict` also what is not proven
        harmless; with `require_baseline` a baseline that is not there."""
        if require_baseline and self.missing_baseline:
            return True
        bad = {"degraded", "inconclusive", "not_comparable"} if strict else {"degraded"}
        return self.outcome in bad or any(found.blocks(strict=strict) for found in self.pipelines)


def lost_note(share: float) -> str:
    """Why a comparison that lost more than MOST_LOST of the baseline's cases is inconclusive."""
    return (
        f"{share:.0%} of the baseline's cases are removed or changed: what is left may be the "
        "easier part (--allow-removed accepts that)"
    )


def worst(outcomes: list[Outcome]) -> Outcome:
    """The outcome that a whole has by its parts; of none, `unchanged`."""
    return min(outcomes, key=WORST_FIRST.index, default="unchanged")
