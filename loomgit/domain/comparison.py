"""The comparison of two versions: the change of each metric, and whether it blocks a merge.

The `question` of a version contains its evaluation settings: the evaluators, their code and the
judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from loomgit.domain.runs import Case
from loomgit.domain.values import JsonMapping, as_text

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
# The maximum fraction of the cases that may be removed or changed. If more cases are lost, the
# remaining cases may be easier than the baseline's cases.
MAX_LOST_SHARE = 0.1


class Side(Struct, frozen=True):
    """One side of a comparison: the source of its results.

    `commit` is the commit of the results. `fingerprint` is a hash of everything that can change the
    results. `runs` are the uids of the runs that contain the results. `behind` is the number of
    commits by which the results are older than the requested revision. `measured` is true if Loom
    produced the results for this comparison. `program` is the version of the app whose program
    takes the place of a prompt and a model.
    """

    commit: str
    fingerprint: str
    prompt_version: str | None = None
    model: str = ""
    runs: tuple[str, ...] = ()
    behind: int = 0
    measured: bool = False
    program: str | None = None


class CaseAmounts(Struct, frozen=True):
    """The cost in USD and the latency in seconds of each sample of a case; None if unknown."""

    cost: tuple[float | None, ...]
    latency: tuple[float | None, ...]


class MeasuredSide(Struct, frozen=True):
    """The results of one side of a comparison.

    `cases` maps ids to cases. `question` contains the evaluation settings that all cases share:
    evaluators, their code and the judge. `judges` maps each evaluator to the models that answered
    as its judge. `served` are the models that answered the prompt. The names of the models are
    those that the providers report. `amounts` maps (id, definition) of a case to the costs and
    latencies of its samples. If a case has no entry, only its mean cost and latency are known.
    """

    side: Side
    cases: Mapping[str, Case]
    question: Mapping[str, object]
    judges: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    served: tuple[str, ...] = ()
    amounts: Mapping[tuple[str, str], CaseAmounts] = field(default_factory=dict)


def cases_by_id(cases: Iterable[Case]) -> dict[str, Case]:
    """Return the cases of one side by id.

    If two tests contain the same case, the result with more samples is kept. If different cases
    have the same id (because two test files use the same name), the later cases get a number after
    the id.
    """
    named: dict[str, Case] = {}
    for case in cases:
        name, number = case.id, 1
        while name in named and named[name].definition != case.definition:
            number += 1
            name = f"{case.id} ({number})"
        if name not in named or named[name].samples < case.samples:
            named[name] = case
    return named


class QuestionDifference(Struct, frozen=True):
    """A difference between the evaluation settings of the two sides.

    `part` is the dotted name of the setting. `base` and `head` are its values as text.
    """

    part: str
    base: str
    head: str

    def __str__(self) -> str:
        return f"{self.part}: {self.base} -> {self.head}"


class Metric(Struct, frozen=True):
    """The change of one metric over the cases that both sides have.

    For scores, `base` and `head` are means in [0, 1], and `delta` is head - base. For cost (USD per
    case) and latency (seconds per case), `delta` is head / base - 1. [`low`, `high`] is the 90 %
    interval of `delta`. `p` is the p-value of a one-sided test of whether the head is worse.
    `adjusted` is this p-value after the adjustment for the number of gated metrics.

    `limit` is the smallest degradation that matters: a drop of the score, or a relative rise of
    cost or latency (0.1 is 10 %). `detects` is the smallest degradation that the comparison detects
    with a probability of 80 %, or None if there is no such degradation.
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
    """A case with different mean scores on the two sides.

    `base` and `head` are the mean scores over the evaluators. `scores` maps each evaluator to its
    scores (base, head).
    """

    id: str
    base: float
    head: float
    scores: Mapping[str, tuple[float, float]]

    @property
    def delta(self) -> float:
        """The change of the mean score: head - base."""
        return self.head - self.base


class Limits(Struct, frozen=True):
    """The settings that decide a comparison. `loomgit.domain.suites.Policy` describes most fields.

    If `max_rise` is None, cost and latency are shown but not gated. If `unpaired` is true, the
    means over all cases of each side are compared, even if the sides have different cases. If
    `confirm` is true, a degradation blocks only if new samples of both sides confirm it. If
    `strict` is true, a comparison blocks unless it proves that the head is no worse.
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
    """The comparison of one pipeline. `base` or `head` is None if that side has no results.

    `new` is true if the baseline does not have the pipeline, so that a comparison is impossible.
    `inputs` are the pipeline's files and settings that differ between the sides. `differs` are the
    evaluation settings that differ. If there are any, nothing is compared.

    `removed` cases exist only in the baseline, and `added` cases exist only in the head. `changed`
    cases have different definitions (input, expectation) on the two sides. None of these cases is
    included in the metrics. `may_lose` is true if removed and changed cases are accepted.

    If both sides are judged with the head's evaluation settings, `requestioned` contains the
    settings that the head changed. If it is not empty, the outcome is inconclusive at best. If the
    test files of the pipeline set different variables, there is one comparison for each set, and
    `vars` contains the variables.
    `looser` has one line for each limit that the head loosened. `strict` is true if the pipeline's
    tests block every change that is not proven harmless.
    """

    pipeline: str
    outcome: Outcome
    new: bool = False
    base: Side | None = None
    head: Side | None = None
    metrics: tuple[Metric, ...] = ()
    differs: tuple[QuestionDifference, ...] = ()
    compared: int = 0
    removed: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    worse: tuple[CaseChange, ...] = ()
    better: tuple[CaseChange, ...] = ()
    inputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    requestioned: tuple[QuestionDifference, ...] = ()
    looser: tuple[str, ...] = ()
    may_lose: bool = False
    strict: bool = False
    vars: JsonMapping = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name of the pipeline, with the variables if they are set: `demo (lang=de)`."""
        if not self.vars:
            return self.pipeline
        variables = ", ".join(f"{name}={as_text(value)}" for name, value in self.vars.items())
        return f"{self.pipeline} ({variables})"

    @property
    def is_doubtful(self) -> bool:
        """Whether the outcome is inconclusive at best, even if all metrics are good.

        This is true if the head changed evaluation settings, or removed or changed too many cases.
        """
        return bool(self.requestioned) or (self.lost > MAX_LOST_SHARE and not self.may_lose)

    @property
    def is_accepted_loss(self) -> bool:
        """Whether a metric degraded and a person accepted the degradation."""
        degraded = any(metric.gated and metric.outcome == "degraded" for metric in self.metrics)
        return degraded and self.outcome != "degraded" and bool(self.accepted)

    @property
    def lost(self) -> float:
        """The fraction of the baseline's cases that the head removed or changed."""
        lost = len(self.removed) + len(self.changed)
        total = lost + self.compared
        return lost / total if total else 0.0

    def blocks(self, *, strict: bool = False) -> bool:
        """Return whether the comparison blocks a merge.

        A degradation blocks unless a person accepted it. If the caller or the pipeline sets
        `strict`, an inconclusive or not comparable outcome blocks too. With `strict`, removed or
        changed cases also block, unless `may_lose` is true. A new pipeline never blocks.
        """
        if self.new:
            return False
        if not (strict or self.strict):
            return self.outcome == "degraded"
        bad = {"degraded", "inconclusive", "not_comparable"}
        return self.outcome in bad or (self.lost > 0 and not self.may_lose)


def with_changed_question(
    comparison: PipelineComparison, parts: Sequence[QuestionDifference]
) -> PipelineComparison:
    """Return the comparison for a head that changed `parts` of the evaluation settings.

    The outcome becomes inconclusive at best, because the head's evaluators judge both sides and may
    be more lenient.
    """
    good = comparison.outcome in ("unchanged", "improved", "no_worse")
    outcome: Outcome = "inconclusive" if parts and good else comparison.outcome
    return replace(comparison, outcome=outcome, requestioned=tuple(parts))


class Revision(Struct, frozen=True):
    """The revision of one side of a comparison.

    `name` is its description (`main`, `merge base with main`, `working tree`). `commit` is the id
    of the commit, or empty if the revision is not a commit.
    """

    name: str
    commit: str = ""


class Comparison(Struct, frozen=True):
    """The comparison of all pipelines of two revisions.

    `outcome` is the worst outcome of the pipelines. `missing_baseline` is true if at least one
    pipeline has no baseline to compare with.
    """

    base: Revision
    head: Revision
    outcome: Outcome
    pipelines: tuple[PipelineComparison, ...] = ()
    missing_baseline: bool = False
    notes: tuple[str, ...] = ()

    def blocks(self, *, strict: bool = False, require_baseline: bool = False) -> bool:
        """Return whether the comparison blocks a merge.

        It blocks if any pipeline blocks or if the outcome is degraded. If `strict` is true, an
        inconclusive or not comparable outcome blocks too. If `require_baseline` is true, a missing
        baseline blocks.
        """
        if require_baseline and self.missing_baseline:
            return True
        bad = {"degraded", "inconclusive", "not_comparable"} if strict else {"degraded"}
        return self.outcome in bad or any(part.blocks(strict=strict) for part in self.pipelines)


def lost_note(share: float) -> str:
    """Return the note for a comparison that is inconclusive because it lost too many cases.

    `share` is the fraction of the baseline's cases that were removed or changed.
    """
    return (
        f"{share:.0%} of the baseline's cases are removed or changed, and the rest may be easier "
        "(`allow_removed: true` in the tests, or --allow-removed, accepts this)"
    )


def worst_outcome(outcomes: list[Outcome]) -> Outcome:
    """Return the worst of the outcomes, or `unchanged` if there are no outcomes."""
    return min(outcomes, key=WORST_FIRST.index, default="unchanged")
