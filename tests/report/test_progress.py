import pytest

from loomgit.domain.stage_progress import StageProgressed
from loomgit.report.progress import ProgressLine, time_left


def lines(*measured):
    """The line for each (time, StageProgressed)."""
    line = ProgressLine()
    return [line.render(progress, now) for now, progress in measured]


def process(done, cost=0.12, total=500):
    return StageProgressed("process", done, total, cost)


def test_the_line_shows_count_rate_cost_and_time_left():
    assert lines((100.0, process(0)), (110.0, process(98)))[1] == (
        "Transform, evaluate: 98/500 records · 9.8/s · $0.12 · 42s left"
    )


def test_what_is_unknown_is_left_out_and_an_unknown_cost_is_named():
    assert lines((0.0, process(0, 0.0)), (9.0, process(0, 0.0)), (10.0, process(5, None))) == [
        "Transform, evaluate: 0/500 records",
        "Transform, evaluate: 0/500 records",
        "Transform, evaluate: 5/500 records · 0.5/s · cost unknown · 16m 30s left",
    ]


def test_the_total_of_the_extraction_is_unknown():
    rows = [StageProgressed("extract", count, None, 0.0) for count in (1_000, 61_000)]
    assert lines((1.0, rows[0]), (3.0, rows[1])) == [
        "Extract: 1,000 records",
        "Extract: 61,000 records · 30,000/s",
    ]


def test_a_new_stage_has_its_own_rate():
    shown = lines(
        (0.0, process(0)),
        (10.0, process(500)),
        (11.0, StageProgressed("load", 400, 500, 2.34)),
        (12.0, StageProgressed("load", 450, 500, 2.34)),
    )
    assert shown[2:] == [
        "Load: 400/500 records · $2.34",
        "Load: 450/500 records · 50/s · $2.34 · 1s left",
    ]
    finished = StageProgressed("load", 500, 500, 2.34)
    assert lines((0.0, process(0)), (1.0, finished))[1] == "Load: 500/500 records · $2.34"


def test_the_rate_is_that_of_the_last_seconds():
    """Replies from the cache at the beginning do not make the rest look fast."""
    measured = [(0.0, process(0, total=10_000)), (1.0, process(9_000, total=10_000))]
    measured += [(float(now), process(9_000 + now, total=10_000)) for now in range(2, 61)]
    assert " · 1.0/s · " in lines(*measured)[-1]
    assert lines(*measured)[-1].endswith(" · 15m 40s left")


def test_a_slow_stage_has_the_mean_rate_of_the_stage():
    measured = [(float(now), process(now // 60)) for now in range(301)]
    assert " · 0.017/s · " in lines(*measured)[-1]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "1s"), (45, "45s"), (59.5, "1m 0s"), (80, "1m 20s"), (3599, "59m 59s"),
        (3600, "1h 0m"), (7471, "2h 5m"), (90_000, "1d 1h"),
    ],
)  # fmt: skip
def test_time_left(seconds, shown):
    assert time_left(seconds) == shown
