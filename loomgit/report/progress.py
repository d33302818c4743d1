"""Render the progress of a run as one line."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

from loomgit.report.text import money

if TYPE_CHECKING:
    from loomgit.domain.stage_progress import StageName, StageProgressed

TITLES: dict[StageName, str] = {
    "extract": "Extract",
    "process": "Transform, evaluate",
    "load": "Load",
}
RATE_SECONDS = 20.0  # the rate is measured over this time
FEWEST = 5  # if fewer records are done in this time, the rate is the mean rate of the stage


class ProgressLine:
    """Renders the progress of one run, and measures the rate of each stage."""

    def __init__(self) -> None:
        self._stage: StageName | None = None
        self._first = (0.0, 0)  # the time and the number of records at the start of the stage
        self._recent: deque[tuple[float, int]] = deque()

    def render(self, progress: StageProgressed, now: float) -> str:
        """Return the line. `now` is the time in seconds on a clock that never goes backwards.

        An example is `Transform, evaluate: 120/500 records · 9.8/s · $0.12 · 39s left`. The
        rate and the time left are left out while they are unknown. The cost is left out until the
        first record is processed, and is `cost unknown` if the price of a call is unknown.
        """
        rate = self._measure(progress, now)
        total = progress.total
        count = f"{progress.done:,}" if total is None else f"{progress.done:,}/{total:,}"
        parts = [f"{TITLES[progress.stage]}: {count} records"]
        if rate:
            parts.append(f"{_rate(rate)}/s")
        if progress.stage == "load" or (progress.stage == "process" and progress.done):
            cost = progress.cost
            parts.append("cost unknown" if cost is None else money(cost))
        if rate and total is not None and progress.done < total:
            parts.append(f"{time_left((total - progress.done) / rate)} left")
        return " · ".join(parts)

    def _measure(self, progress: StageProgressed, now: float) -> float:
        """Return the rate in records per second, 0.0 if it is unknown."""
        if progress.stage != self._stage:
            self._stage = progress.stage
            self._first = (now, progress.done)
            self._recent.clear()
        self._recent.append((now, progress.done))
        while now - self._recent[0][0] > RATE_SECONDS:
            self._recent.popleft()
        since, done = self._recent[0]
        if progress.done - done < FEWEST:
            since, done = self._first
        return (progress.done - done) / (now - since) if now > since else 0.0


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}" if rate >= 1 else f"{rate:.2g}"


def time_left(duration: float) -> str:
    """Return a duration in seconds as text: `45s`, `1m 20s`, `2h 5m` or `3d 4h`.

    The duration is rounded up to the smaller unit.
    """
    minutes, rest = divmod(math.ceil(duration), 60)
    if not minutes:
        return f"{rest}s"
    if minutes < 60:
        return f"{minutes}m {rest}s"
    minutes += rest > 0
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m" if hours < 24 else f"{hours // 24}d {hours % 24}h"
