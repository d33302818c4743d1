"""Decides how a run ended: its status, its cause and a message."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from loomgit.domain.amounts import percent_pair
from loomgit.errors import BudgetExceeded, LoomError, ProblemsFound, WorldError
from loomgit.pipeline.run_parts import RunEnd

if TYPE_CHECKING:
    from loomgit.domain.definitions import Evaluate, Pipeline
    from loomgit.domain.outages import LossStreak
    from loomgit.domain.records import RecordOutcome
    from loomgit.domain.runs import Cause
    from loomgit.pipeline.run_statistics import RunStatistics

MAX_ERROR_RATE = 0.05  # if outages make a larger fraction of the records fail, the run is partial


class Outage(WorldError):
    """No call has succeeded, or many consecutive records were lost to an outage."""


class TooManyFailures(LoomError):
    """More records failed than `max_failure_rate` allows."""

    exit_code = 1


def judge_run(tally: RunStatistics, evaluate: Evaluate) -> RunEnd:
    """Return the end of a run that raised no error: it depends on the outcomes of its records."""
    if not tally.processed:
        return RunEnd("success", "", "", complete=True)
    if not tally.validated and not tally.fallback:
        message = f"no record passed: {next(iter(tally.reasons()), '')}"
        return RunEnd("failed", "gate", message, complete=True)
    rate = tally.validated / tally.processed
    if evaluate.batch_threshold is not None and rate < evaluate.batch_threshold:
        message = f"batch threshold not met: {percent_pair(rate, evaluate.batch_threshold)}"
        return RunEnd("partial", "gate", message, complete=True)
    if tally.infrastructure > MAX_ERROR_RATE * tally.processed:
        lost = f"{tally.infrastructure:,} of {tally.processed:,} records"
        return RunEnd("partial", "world", f"{lost} failed because of outages", complete=True)
    return RunEnd("success", "", "", complete=True)


def check_failures(
    tally: RunStatistics, pipeline: Pipeline, losses: LossStreak, last: RecordOutcome
) -> None:
    """Raise LoomError if the run should not continue. `last` is the newest outcome.

    A run stops if no call has succeeded, if many consecutive records were lost to an outage, or if
    too many records were rejected.
    """
    reason = last.failure.reason if last.failure else ""
    if tally.infrastructure == tally.processed:
        raise Outage(f"no call to a model has succeeded: {reason}")
    if losses.is_outage:
        raise Outage(f"the last {losses.losses} records failed in a row: {reason}")
    check_failure_rate(tally, pipeline)


def check_failure_rate(tally: RunStatistics, pipeline: Pipeline) -> None:
    """Raise TooManyFailures if more records fail than `max_failure_rate` allows."""
    limit = pipeline.max_failure_rate
    rejected = tally.processed - tally.validated
    if limit is not None and tally.processed and rejected / tally.processed > limit:
        rate = f"{rejected / tally.processed:.1%} > {limit:.1%}"
        raise TooManyFailures(f"too many records fail: {rate} (max_failure_rate)")


def must_fail(tally: RunStatistics, pipeline: Pipeline, rejected: int, size: int) -> bool:
    """Whether too many records are rejected, whatever the outcomes of the next records are.

    `rejected` is the number of rejected records that `tally` does not contain yet. The share is
    that of the next check, after `size` records or at the end of the run.
    """
    limit, count = pipeline.max_failure_rate, tally.progress.total
    if limit is None or count is None:
        return False
    total = min(tally.processed + size, count)
    return tally.processed - tally.validated + rejected > limit * total


def stopped(tally: RunStatistics, total: int) -> RunEnd:
    """Return the end of a run that a person stopped. `total` is the number of its records."""
    done = f"{tally.processed:,} of {total:,} records"
    return RunEnd("partial", "stopped", f"stopped after {done}", complete=False)


def broken_by(error: BaseException, tally: RunStatistics, total: int) -> RunEnd:
    """Return the end of a run that was cancelled, or that failed because of a bug in Loom."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
        return stopped(tally, total)
    message = f"a bug in Loom: {type(error).__name__}: {error}"
    return RunEnd("failed", "world", " ".join(message.split()), complete=False)


def failed(error: LoomError) -> RunEnd:
    """Return the end of a run that an error ended."""
    if isinstance(error, BudgetExceeded):
        return RunEnd("budget_exceeded", "gate", error.message, complete=False, hint=error.hint)
    cause: Cause = "gate" if error.exit_code == 1 else "user" if error.exit_code == 2 else "world"
    message = str(error) if isinstance(error, ProblemsFound) else error.message
    return RunEnd("failed", cause, message, complete=False, hint=error.hint)


def full_hint(end: RunEnd, resume_hint: str) -> str | None:
    """Return advice for the user. It includes how to resume the run if that is possible."""
    if not end.can_resume:
        return end.hint
    return "; ".join(filter(None, (end.hint, resume_hint)))
