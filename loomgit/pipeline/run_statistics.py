"""The statistics for a run record, computed while the outcomes of the records arrive."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from loomgit.domain.models import Usage
from loomgit.domain.runs import Case, Cost, Performance, Results, ScoreSummary
from loomgit.pipeline.run_progress import RunProgress
from loomgit.stats.summary import Moments, percentile

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from loomgit.domain.definitions import EvaluatorSpec
    from loomgit.domain.ports import LoadReceipt
    from loomgit.domain.records import Assessment, Output, Record, RecordOutcome
    from loomgit.domain.runs import Cause, Status
    from loomgit.domain.values import JsonObject

SHOWN_REASONS = 3
MAX_COUNTED_REASONS = 10_000  # limits the memory if each record fails for a different reason
MAX_STORED_CASES = 1000  # per run file; a larger run stores its cases only in its records file
Identify: TypeAlias = "Callable[[Record], tuple[str, str]]"
STAGES = ("extract", "transform", "evaluate", "load")


def comparable_score(assessment: Assessment) -> float | None:
    """Return the score of an assessment for comparisons.

    If the score is missing because of the output, return 0. If it is missing for another reason,
    return None.
    """
    if assessment.score is not None:
        return assessment.score.value
    return 0.0 if assessment.trouble == "product" else None


class Stopwatch:
    """Measures the wall time during which at least one `with` block of the stopwatch is active.

    `seconds` is the total so far.
    """

    __slots__ = ("_active", "_since", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self._active = 0
        self._since = 0.0

    def __enter__(self) -> None:
        if self._active == 0:
            self._since = time.perf_counter()
        self._active += 1

    def __exit__(self, *_: object) -> None:
        self._active -= 1
        if self._active == 0:
            self.seconds += time.perf_counter() - self._since


class _Scores:
    """The score statistics of one evaluator."""

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold
        self.moments = Moments()
        self.errors = 0
        self.passed = 0

    def add(self, assessment: Assessment) -> None:
        if assessment.score is None:
            self.errors += 1
            return
        self.moments.add(assessment.score.value)
        self.passed += assessment.passed

    def summary(self) -> ScoreSummary:
        moments = self.moments
        scored = moments.n > 0
        return ScoreSummary(
            mean=moments.mean,
            std=moments.std,
            min=moments.min if scored else None,
            max=moments.max if scored else None,
            n=moments.n,
            errors=self.errors,
            threshold=self.threshold,
            passed=self.passed,
        )


class _Spending:
    """The calls, tokens and costs of outcomes, by stage."""

    def __init__(self) -> None:
        self.cost = {"transform": 0.0, "evaluate": 0.0}
        self.unpriced = {"transform": 0, "evaluate": 0}
        self.usage = Usage()
        self.calls = 0
        self.cached = 0

    def add(self, stage: str, cost: float | None, calls: int, usage: Usage) -> None:
        self.calls += calls
        self.usage += usage
        if cost is None:
            self.unpriced[stage] += calls
        else:
            self.cost[stage] += cost

    @property
    def total(self) -> float | None:
        return None if any(self.unpriced.values()) else sum(self.cost.values())


class RunStatistics:
    """The statistics of one run so far. Each output needs eight bytes of memory, for its latency.

    `identify` returns two hashes for a record. The first is the key of the case, a hash of
    everything that can change the scores. The second is the definition of the case, a hash of only
    the input and the evaluation settings.
    """

    def __init__(self, evaluators: Sequence[EvaluatorSpec], identify: Identify) -> None:
        self._identify = identify
        self._cases: list[Case] = []
        self._has_all_cases = True
        self._reasons: Counter[str] = Counter()
        self.processed = 0
        self.failed = 0
        self.infrastructure = 0
        self.validated = 0
        self.evaluated = 0
        self.fallback = 0
        self._scores = {spec.name: _Scores(spec.threshold) for spec in evaluators}
        self._judges: dict[str, set[str]] = {}
        self._latencies = array("d")
        self._spending = _Spending()
        self._earlier = _Spending()  # of earlier attempts, if this run is resumed
        self.repaired_replies = 0  # replies in which U+FFFD replaced unpaired surrogates
        self.progress = RunProgress()
        self.watches = {stage: Stopwatch() for stage in STAGES}

    def add(self, outcome: RecordOutcome) -> None:
        """Add the outcome of one record."""
        self.processed += 1
        if self.processed <= MAX_STORED_CASES:
            self._cases.append(self._case(outcome))
        self._count(outcome, 1)
        self.evaluated += outcome.evaluated and bool(outcome.assessments)
        spending = self._earlier if outcome.resumed else self._spending
        if outcome.output is not None:
            self._add_output(outcome.output, spending)
        for assessment in outcome.assessments:
            self._scores[assessment.name].add(assessment)
            if assessment.score is not None and assessment.score.judge is not None:
                self._judges.setdefault(assessment.name, set()).add(assessment.score.judge)
        for assessment in (*outcome.discarded, *outcome.assessments):
            score, spent = assessment.score, assessment.spent
            if score is not None:
                spending.cached += score.hits
            if score is not None and score.calls:
                spending.add("evaluate", score.cost, score.calls, score.usage)
            elif spent is not None:
                spending.add("evaluate", spent.cost, spent.made, spent.usage)

    def _count(self, outcome: RecordOutcome, number: int) -> None:
        """Add `number` records with this outcome to the counts of results."""
        failure = outcome.failure or outcome.replaced
        if failure is None:
            self.validated += number
        else:
            self.failed += number * (failure.stage != "gate")
            self.infrastructure += number * failure.infrastructure
            if failure.reason in self._reasons or len(self._reasons) < MAX_COUNTED_REASONS:
                self._reasons[failure.reason] += number
        self.fallback += number * outcome.fallback

    def correct(self, before: RecordOutcome, after: RecordOutcome) -> None:
        """Replace an outcome that was added. Both must have the same calls and scores."""
        self._count(before, -1)
        self._count(after, 1)
        case = self._case(before)
        if case in self._cases:
            self._cases[self._cases.index(case)] = self._case(after)

    def add_copied(self, count: int) -> None:
        """Add records that are loaded without a transform and without evaluators."""
        self.processed += count
        self.validated += count
        self.progress.processed += count
        self._has_all_cases = False

    def reasons(self) -> dict[str, int]:
        """Return the most frequent reasons for failures, each with its number of records."""
        return dict((+self._reasons).most_common(SHOWN_REASONS))

    def identity(self, outcome: RecordOutcome) -> JsonObject:
        """Return the fields that describe the record's case, for a line of the records file.

        They are needed to compare large runs, because the run file omits the cases of such runs.
        """
        key, definition = self._identify(outcome.record)
        scores: JsonObject = {}
        for name, values in self._case_scores(outcome).items():
            scores[name] = values[0]
        return {"case_key": key, "def": definition, "case_scores": scores}

    def _case(self, outcome: RecordOutcome) -> Case:
        key, definition = self._identify(outcome.record)
        output = outcome.output
        judged = sum(a.score.cost or 0.0 for a in outcome.assessments if a.score)
        # The cost of a cached reply is unknown here, so the case has no cost.
        known = output is not None and output.cost is not None and not output.cached
        cost = output.cost + judged if output and output.cost is not None and known else None
        return Case(
            id=outcome.record.key,
            key=key,
            definition=definition,
            scores=self._case_scores(outcome),
            samples=1,
            passed=int(outcome.failure is None),
            cost=cost,
            latency=None if output is None else output.latency,
        )

    def _case_scores(self, outcome: RecordOutcome) -> dict[str, list[float | None]]:
        """Return a dict from each evaluator to a list with its one score, for comparisons.

        The score is 0 if the output is unusable, and None if an outage prevented the reply or the
        evaluation. If an evaluator itself causes a missing score, it is not in the dict.
        """
        if outcome.assessments:
            scores = [(a.name, comparable_score(a), a.trouble) for a in outcome.assessments]
            return {
                name: [value] for name, value, trouble in scores if value is not None or trouble
            }
        failure = outcome.failure or outcome.replaced
        if failure is None or failure.stage == "extract":  # no model was called
            return {}
        value = None if failure.infrastructure else 0.0
        return {name: [value] for name in self._scores}

    def cases(self) -> tuple[Case, ...]:
        """Return the cases of the run.

        The result is empty if the run has more than MAX_STORED_CASES records, or copied records.
        """
        has_all = self._has_all_cases and self.processed <= MAX_STORED_CASES
        return tuple(self._cases) if has_all else ()

    def _add_output(self, output: Output, spending: _Spending) -> None:
        if output.calls:
            spending.add("transform", output.cost, output.calls, output.usage)
        spending.cached += output.hits
        self.repaired_replies += output.replaced > 0
        if output.latency is not None:
            self._latencies.append(output.latency)

    @property
    def spent(self) -> float | None:
        """The cost of this attempt in USD so far, None if the price of a call is unknown."""
        return self._spending.total

    @property
    def spent_earlier(self) -> float | None:
        """The cost of earlier attempts in USD, None if the price of a call is unknown.

        The cost contains only calls of records that were finished.
        """
        return self._earlier.total

    def results(self, status: Status, cause: Cause, message: str, receipt: LoadReceipt) -> Results:
        """Return the results of the run. `receipt` is the effect on the destination."""
        rejected = self.processed - self.validated
        return Results(
            status=status,
            records_processed=self.processed,
            records_validated=self.validated,
            records_rejected=rejected,
            rejection_rate=rejected / self.processed if self.processed else 0.0,
            records_failed=self.failed,
            records_evaluated=self.evaluated,
            records_fallback=self.fallback,
            records_loaded=receipt.rows,
            inserted=receipt.inserted,
            updated=receipt.updated,
            unchanged=receipt.unchanged,
            duplicates=receipt.duplicates,
            kept_out=receipt.kept_out,
            kept_rows=receipt.kept_rows,
            deleted=receipt.deleted,
            reasons=self.reasons(),
            cause=cause,
            message=message,
        )

    def judges(self) -> dict[str, list[str]]:
        """Return the names of the models that judged outputs, by evaluator."""
        return {name: sorted(models) for name, models in self._judges.items()}

    def evaluation(self) -> dict[str, ScoreSummary]:
        """Return the score summary of every evaluator, by name."""
        return {name: scores.summary() for name, scores in self._scores.items()}

    def cost(self) -> Cost:
        """Return the cost of this attempt in USD and tokens."""
        spending = self._spending
        breakdown: dict[str, float | None] = {
            stage: None if spending.unpriced[stage] else amount
            for stage, amount in spending.cost.items()
        }
        return Cost(
            total=spending.total,
            known=sum(spending.cost.values()),
            breakdown=breakdown,
            tokens={
                "input": spending.usage.input,
                "output": spending.usage.output,
                "cached": spending.usage.cached,
            },
            calls=spending.calls,
            cached=spending.cached,
            unpriced=sum(spending.unpriced.values()),
        )

    def performance(self, duration: float) -> Performance:
        """Return the times of the run in seconds. `duration` is the wall time of the whole run.

        The latency of a record is the time that the record waited for the model.
        """
        ordered = sorted(self._latencies)
        latency = {f"p{q}": percentile(ordered, q) for q in (50, 95, 99)}
        stages: Mapping[str, Stopwatch] = self.watches
        return Performance(
            duration=duration,
            latency=latency,
            stages={stage: watch.seconds for stage, watch in stages.items()},
        )
