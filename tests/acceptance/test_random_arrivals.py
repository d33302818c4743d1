"""Records that arrive between runs in any order, within the lag, are each loaded once."""

import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.arrivals import Arrivals
from tests.soak import sized

START = datetime(2026, 3, 1, tzinfo=UTC)
LAG = 60  # minutes
NOTATIONS = {
    "zulu": lambda moment: f"{moment:%Y-%m-%dT%H:%M:%SZ}",
    "offset": lambda moment: moment.astimezone(timezone(timedelta(hours=9))).isoformat(),
    "west": lambda moment: moment.astimezone(timezone(timedelta(hours=-11))).isoformat(sep=" "),
}
# For each run: how far a record is ahead of the earliest one that is not too late, in minutes, its
# notation, and how many times it occurs. The last number is the limit of the run.
RUNS = st.lists(
    st.tuples(
        st.lists(
            st.tuples(
                st.integers(0, 2 * LAG), st.sampled_from(sorted(NOTATIONS)), st.integers(1, 2)
            ),
            max_size=6,
        ),
        st.sampled_from([None, None, 1, 3]),
    ),
    min_size=2,
    max_size=4,
)


@pytest.mark.parametrize("source", ["sqlite", "jsonl", "lite"])
@settings(
    max_examples=sized(6, 300),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(runs=RUNS)
def test_each_record_is_loaded_once(source, runs):
    with tempfile.TemporaryDirectory() as folder:
        project = Arrivals(
            Path(folder) / "project",
            source,
            destination="jsonl",
            extract="  query: SELECT id || '' AS name, made FROM events\n",
            incremental=f"{{cursor: made, lag: {LAG}m}}",
        )
        newest, number = -LAG, 0
        for rows, limit in runs:
            earliest = max(0, newest - LAG)
            arriving = []
            for ahead, notation, times in rows:
                moment = NOTATIONS[notation](START + timedelta(minutes=earliest + ahead))
                arriving += [(f"r{number}", moment)] * times
                number += 1
            project.arrive(arriving)
            project.run(limit=limit)
            newest = max(newest, _watermark(project))
        while project.run().results.records_processed:
            pass
        assert Counter(project.loaded("name")) == Counter(name for name, _ in project.rows)


def _watermark(project):
    """The watermark in minutes since the start, or a number before it."""
    after = project.last.watermark.after
    if after is None:
        return -LAG
    moment = datetime.fromisoformat(after.replace("Z", "+00:00"))
    return int((moment - START).total_seconds() // 60)
