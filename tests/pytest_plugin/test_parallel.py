"""pytest-xdist: workers share the work, the controller keeps the results."""

import pytest

from tests.pytest_plugin.sessions import (
    ASKING,
    only,
    project_with,
    pytest_in,
    records,
    review_in,
    runs,
    units,
)

LATENCY = 0.02
MANY = 64
# What hallucination_rate brings is another subject, which asks the same of the model.
SHARED = (
    units(MANY)
    + """\
distributional_tests:
  - {name: quality, type: statistical, sample_size: 4, assertions: ["mean(evaluation_scores) > 0"]}
  - {name: truth, type: hallucination_rate, sample_size: 4, threshold: 0.9,
     evaluator: {type: similarity, config: {field: sentiment, reference: positive}}}
integration_tests:
  - {name: whole, steps: [{extract: 4 records}], assertions: [records_extracted == 4]}
"""
)
KILLER = """\
import os, pathlib, signal

def test_it(worker_id):
    once = pathlib.Path("killed")
    if not once.exists():
        once.write_text(worker_id)
        os.kill(os.getpid(), signal.SIGKILL)
"""
DYING = """\
import os, signal
import pytest

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item):
    if "LOST" in os.environ and item.nodeid.endswith(os.environ["LOST"]):
        os.kill(os.getpid(), signal.SIGKILL)
"""


def by_name(run):
    return {test["name"]: (test["verdict"], test["checks"]) for test in run["tests"]}


def test_two_workers_make_exactly_the_calls_of_none(tmp_path, server):
    server.latency = LATENCY
    calls, found = [], []
    for number, arguments in enumerate((["-n", "0"], ["-n", "2"], ["-n", "2"], ["-n", "3"])):
        server.clear()
        project = project_with(tmp_path / f"work-{number}", server, SHARED)
        done = pytest_in(project, *arguments).expect(0, passed=MANY + 3)
        calls.append(server.calls)
        found.append(only(runs(project)))
        assert done.out.count("demo (v1.0.0): 67 tests, 67 pass") == 1
    assert len(set(calls)) == 1, calls
    first, *others = found
    for run in others:
        assert [case["id"] for case in run["cases"]] == [case["id"] for case in first["cases"]]
        assert by_name(run) == by_name(first)
        assert (run["complete"], run["selected"], run["total"]) == (True, MANY + 3, MANY + 3)
        assert len(records(tmp_path / "work-1", found[1])) == len(first["cases"])


@pytest.mark.parametrize("round_", range(3))
def test_workers_share_what_is_asked_anew_each_time_too(tmp_path, server, round_):
    server.latency = LATENCY
    pipeline = ASKING.replace("  prompt:", "  cache: {enabled: false}\n  prompt:")
    project = project_with(tmp_path / "work", server, units(MANY), pipeline)
    pytest_in(project, "-n", "2").expect(0, passed=MANY)
    assert server.calls == MANY, round_
    assert server.highest <= 8  # so many at once in all, not each


def test_a_deselected_half_is_told_by_the_workers(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(20))
    pytest_in(project, "-n", "2", "-k", "case_00").expect(0, passed=10)
    run = only(runs(project))
    assert (run["complete"], run["selected"], run["total"]) == (False, 10, 20)
    assert server.calls == 10


def test_failures_arrive_with_all_that_one_needs(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(2, "broken"))
    done = pytest_in(project, "-n", "2").expect(1, failed=2)
    assert "[FAIL] sentiment == 'positive' (actual: 'negative')" in done.out
    assert "review: number 0 is broken" in done.out


def test_a_killed_worker_loses_its_one_item_and_no_draw(tmp_path, server):
    server.latency = LATENCY
    project = project_with(tmp_path / "work", server, units(MANY), **{"tests/test_kill.py": KILLER})
    done = pytest_in(project, "-n", "2")
    assert done.code == 1
    assert done.out.count("crashed while running") >= 1
    assert (done.counts["failed"], done.counts["passed"]) == (1, MANY)
    run = only(runs(project))
    assert (run["selected"], run["complete"]) == (MANY, True)
    assert len(run["cases"]) == len(records(project, run)) == MANY
    # The dead worker had so many calls in flight at most, which had to be made again.
    assert MANY <= server.calls <= MANY + 4


def test_a_worker_killed_in_a_prompt_test_costs_that_test(tmp_path, server):
    """The worker dies while its item is called: without a word, the other draws half way."""
    server.latency = LATENCY
    project = project_with(tmp_path / "work", server, units(MANY), **{"conftest.py": DYING})
    done = pytest_in(project, "-n", "2", env={"TMPDIR": str(tmp_path), "LOST": "case_030"})
    assert done.code == 1
    assert (done.counts["failed"], done.counts["passed"]) == (1, MANY - 1)
    run = only(runs(project))
    assert (run["selected"], run["complete"]) == (MANY, False)
    assert sorted(test["name"].partition("::")[2] for test in run["tests"]) == [
        f"case_{n:03d}" for n in range(MANY) if n != 30
    ]
    assert len(run["cases"]) == MANY - 1
    assert server.calls <= MANY + 4
    assert not list(tmp_path.glob("loom-draws-*"))
    calls = server.calls
    pytest_in(project, "-n", "2").expect(0, passed=MANY)
    # Nothing that a test was judged by is asked again. Of the lost test's own call nobody may have
    # heard the answer: the dead worker cannot say, and no other test needed it.
    again = [review_in(request) for request in server.requests[calls:]]
    assert again in ([], ["number 30 is great"])


def test_stopping_at_the_first_failure_holds_for_workers(tmp_path, server):
    server.latency = 0.01
    project = project_with(tmp_path / "work", server, units(300, "broken"))
    done = pytest_in(project, "-n", "2", "-x")
    assert done.code in (1, 2)
    assert server.calls <= 100
    assert only(runs(project))["complete"] is False
