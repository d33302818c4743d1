import pytest

from loomgit.domain.runs import Results, ScoreSummary
from loomgit.report import text
from tests.history.test_store import make_run


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (None, "unknown"),
        (0.0, "$0.00"),
        (2.34, "$2.34"),
        (12345.6, "$12,345.60"),
        (0.0123, "$0.012"),
        (0.00000123, "$0.0000012"),
        (0.000074, "$0.000074"),
        (0.00007, "$0.00007"),
        (0.09999, "$0.10"),
        (0.0999, "$0.10"),
        (0.05, "$0.05"),
        (3e-13, "$0.00"),
    ],
)
def test_money_shows_what_small_amounts_are(amount, shown):
    assert text.money(amount) == shown


@pytest.mark.parametrize(
    ("wait", "shown"), [(None, "-"), (1.24, "1.2s"), (0.0123, "12ms"), (0.00044, "0.44ms")]
)
def test_latency(wait, shown):
    assert text.latency(wait) == shown


def test_scores_show_spread_and_errors():
    summary = ScoreSummary(0.874, 0.12, 0.0, 1.0, 10, 0, 0.7, 9)
    assert text.score(summary) == "0.87 (±0.12)"
    assert text.score(ScoreSummary(None, None, None, None, 0, 3, 0.7, 0)) == "no score (3 errors)"


def test_a_run_reads_like_the_documented_sample():
    lines = list(text.run_result(make_run()))
    assert lines[0].startswith("Transform: ✅ 10 processed (")
    assert lines[1].startswith("Evaluate:  ✅ 9 passed, 1 rejected (")
    assert "  Validated: 9 (90.0%)" in lines
    assert "  Label: 0.90 (±0.10)" in lines
    assert "Cost: $0.50" in lines
    assert lines[-1] == "✅ Pipeline completed successfully"


def test_a_run_that_failed_says_why_in_its_last_line():
    results = Results("failed", 4, 0, 4, 1.0, cause="world", message="disk full\nmore")
    assert list(text.run_result(make_run(results=results)))[-1] == "❌ Pipeline failed: disk full"


@pytest.mark.parametrize(
    ("counts", "shown"),
    [
        ({"inserted": 3, "unchanged": 96, "updated": 1}, "3 new, 1 updated, 96 unchanged"),
        ({"unchanged": 5}, "nothing (5 rows unchanged)"),
        ({}, "nothing"),
        ({"inserted": 2, "duplicates": 1}, "2 new; 1 superseded by a later record of the same key"),
    ],
)
def test_changes_are_counted_in_words(counts, shown):
    assert text.changes(make_run(results=Results("success", **counts))) == shown


def test_no_runs_are_no_table():
    assert list(text.run_list([])) == ["No runs yet."]
