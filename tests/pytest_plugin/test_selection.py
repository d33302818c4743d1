"""What pytest users do with tests: pick, stop, repeat, share, list."""

import pytest

from tests.pytest_plugin.sessions import (
    junit,
    loom,
    only,
    project_with,
    pytest_in,
    records,
    respond,
    runs,
    units,
)
from tests.repos import commit, git

MIXED = """\
unit_tests:
  - name: good
    input: {review: "this is great", expected: positive}
    expected: {sentiment: positive}
  - name: bad
    input: {review: "it is broken", expected: positive}
    expected: {sentiment: positive}
  - {name: other, input: {review: "I love it", expected: positive}, expected: {sentiment: positive}}
distributional_tests:
  - name: quality
    type: statistical
    sample_size: 4
    assertions: ["mean(evaluation_scores) > 0.5"]
  - {name: no_drop, type: regression, sample_size: 4}
integration_tests:
  - name: whole
    steps: [{extract: 4 records}]
    assertions: [records_loaded == 4]
"""


@pytest.fixture
def mixed(tmp_path, server):
    return project_with(tmp_path / "work", server, MIXED)


def test_each_test_is_an_item_and_a_run_is_kept(mixed, server):
    done = pytest_in(mixed, "-v").expect(1, passed=4, failed=1, inconclusive=1)
    for name in (
        "tests/demo_test.yaml::unit::good PASSED",
        "tests/demo_test.yaml::unit::bad FAILED",
        "tests/demo_test.yaml::distributional::quality PASSED",
        "tests/demo_test.yaml::distributional::no_drop INCONCLUSIVE",
        "tests/demo_test.yaml::integration::whole PASSED",
    ):
        assert name in done.out
    run = only(runs(mixed))
    assert (run["kind"], run["pipeline"], run["complete"]) == ("test", "demo", True)
    assert (run["selected"], run["total"]) == (6, 6)
    verdicts = {test["name"]: test["verdict"] for test in run["tests"]}
    assert verdicts == {
        "unit::good": "pass",
        "unit::bad": "fail",
        "unit::other": "pass",
        "distributional::quality": "pass",
        "distributional::no_drop": "inconclusive",
        "integration::whole": "pass",
    }
    assert run["tests"][0]["checks"][0]["text"] == "sentiment == 'positive'"
    assert run["tests"][0]["file"] == "tests/demo_test.yaml"
    assert len(run["cases"]) == 7
    assert len(records(mixed, run)) == 7
    assert (run["results"]["status"], run["results"]["cause"]) == ("partial", "gate")
    # The integration test asks what the distributional ones asked, one of them what a unit test
    # did.
    assert server.calls == 6


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        (["-k", "good or other"], 2),
        (["-m", "loom_unit", "-k", "not bad"], 2),
        (["-m", "loom_distributional and not loom_regression"], 1),
        (["-m", "loom_integration"], 1),
        (["tests/demo_test.yaml::unit::good"], 1),
    ],
)
def test_tests_are_picked_as_pytest_picks(mixed, server, arguments, passed):
    left = {} if "::" in arguments[0] else {"deselected": 6 - passed}
    pytest_in(mixed, *arguments).expect(0, passed=passed, **left)
    run = only(runs(mixed))
    assert (run["complete"], run["selected"]) == (False, passed)
    assert run["total"] == (passed if "::" in arguments[0] else 6)


def test_a_regression_test_has_a_marker_of_its_own(mixed):
    pytest_in(mixed, "-m", "loom_regression").expect(0, inconclusive=1, deselected=5)


def test_collecting_asks_nobody_and_writes_nothing(mixed, server):
    def files():
        # What was parsed is kept beside Git's own files, where it is nobody's to commit.
        return {path for path in mixed.rglob("*") if "loom" not in path.relative_to(mixed).parts}

    before = files()
    done = pytest_in(mixed, "--collect-only", "-q", "-p", "no:cacheprovider")
    assert done.code == 0
    assert "tests/demo_test.yaml::integration::whole" in done.out
    assert server.calls == 0
    assert files() == before


def test_without_the_cacheprovider_all_is_the_same(mixed):
    pytest_in(mixed, "-p", "no:cacheprovider").expect(1, passed=4, failed=1, inconclusive=1)


def test_the_last_failures_are_run_again_for_nothing_but_what_changed(mixed, server):
    pytest_in(mixed)
    calls = server.calls
    pytest_in(mixed, "--lf").expect(1, failed=1, deselected=5)
    assert server.calls == calls
    server.respond = lambda request: respond(request).replace("negative", "positive")
    prompt = mixed / "prompts" / "classify.txt"
    prompt.write_text(prompt.read_text() + "\nBe kind.\n")
    pytest_in(mixed, "--lf").expect(0, passed=1, deselected=5)
    assert server.calls == calls + 1


def test_stopping_at_the_first_failure_does_not_pay_for_everything(tmp_path, server):
    tests = units(1, "broken") + units(300, first=1).removeprefix("unit_tests:\n")
    project = project_with(tmp_path / "work", server, tests)
    server.latency = 0.01
    pytest_in(project, "-x").expect(1, failed=1)
    assert server.calls <= 1 + 5 * 8  # four windows ahead, and those that begin meanwhile
    run = only(runs(project))
    assert (run["complete"], run["selected"], run["total"]) == (False, 301, 301)
    assert len(run["cases"]) == 1


def test_maxfail_stops_as_late_as_it_says(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(100, "broken"))
    pytest_in(project, "--maxfail=3").expect(1, failed=3)
    assert server.calls <= 3 + 5 * 8


def test_durations_are_each_tests_own(tmp_path, server):
    server.latency = 0.5
    project = project_with(tmp_path / "work", server, units(3))
    done = pytest_in(project, "--durations=0", "-vv").expect(0, passed=3)
    lines = [line for line in done.out.splitlines() if "call     tests/demo" in line]
    times = [float(line.split("s ")[0]) for line in lines]
    assert len(times) == 3  # all of them were asked at once, and each waited for its own reply
    assert all(seconds >= 0.5 for seconds in times), times


def test_junit_tells_verdicts_apart(mixed):
    pytest_in(mixed, "--junitxml=out.xml")
    found = {name: (outcome, properties) for name, outcome, properties in junit(mixed / "out.xml")}
    assert found["good"] == (
        "passed",
        {
            "loom_verdict": "pass",
            "loom_score": "1.0",
            "loom_cost": found["good"][1]["loom_cost"],
            "loom: sentiment == 'positive'": "'positive'",
        },
    )
    assert float(found["good"][1]["loom_cost"]) > 0
    assert found["bad"][0] == "failure"
    assert found["bad"][1]["loom_verdict"] == "fail"
    assert found["no_drop"][0] == "passed"
    assert found["no_drop"][1]["loom_verdict"] == "inconclusive"


def test_ordinary_tests_run_beside(mixed):
    (mixed / "tests" / "test_plain.py").write_text("def test_it():\n    assert 1 + 1 == 2\n")
    pytest_in(mixed, "-k", "good or test_it").expect(0, passed=2, deselected=5)


def test_a_session_without_prompt_tests_says_and_keeps_nothing(tmp_path, server):
    (tmp_path / "test_plain.py").write_text("def test_it():\n    pass\n")
    done = pytest_in(tmp_path).expect(0, passed=1)
    assert "prompt tests" not in done.out
    assert not (tmp_path / ".loom").exists()


UNKNOWN = """\
unit_tests:
  - name: good
    input: {review: "this is great", expected: positive}
    assertions: ["passed and score.Labl > 0.5"]
integration_tests:
  - {name: whole, steps: [{extract: 4 records}], assertions: ["score.tone > 0.5"]}
"""


def test_an_evaluator_that_the_pipeline_does_not_have_is_told_at_its_place(tmp_path, server):
    project = project_with(tmp_path / "work", server, UNKNOWN)
    for arguments in ([], ["-n", "2"]):
        done = pytest_in(project, *arguments)
        assert "tests/demo_test.yaml:5:30: pipeline demo has no evaluator 'Labl'" in done.out
        assert "hint: did you mean 'label'?" in done.out
        assert "pipeline demo has no evaluator 'tone'" in done.out
        assert done.code in (1, 2)
    assert server.calls == 0
    told = loom(project, "validate", "demo")
    assert told.code == 2
    assert "tests/demo_test.yaml:5:30: pipeline demo has no evaluator 'Labl'" in told.out
    assert "did you mean 'label'?" in told.out


def test_validate_tells_what_is_wrong_in_the_pipelines_test_files(tmp_path, server):
    other = "pipeline: another\nunit_test: []\n"
    files = {"tests/another_test.yaml": other, "tests/nobodys_test.yaml": "unit_tests: [\n"}
    project = project_with(tmp_path / "work", server, "unit_test: []\n", **files)
    told = loom(project, "validate", "demo", "--offline")
    assert told.code == 2
    assert "❌ demo_test.yaml can be read" in told.out
    assert "tests/demo_test.yaml:2:1: unit_test: unknown key" in told.out
    assert "tests/nobodys_test.yaml:1:14: " in told.out
    assert "another" not in told.out


@pytest.mark.parametrize(
    ("arguments", "whole"),
    [(["-k", "quality or good"], False), (["-m", "not loom_integration"], True)],
)
def test_only_all_that_draws_samples_of_a_pipeline_is_a_complete_run(
    tmp_path, server, arguments, whole
):
    project = project_with(tmp_path / "work", server, MIXED.replace("is broken", "is bad"))
    other = "pipeline: demo\n" + units(1, first=900)
    commit(project, {"tests/other_test.yaml": other}, "More tests")
    pytest_in(project, *arguments)
    assert runs(project)[-1]["complete"] is whole
    pytest_in(project, "tests/demo_test.yaml")  # nothing is deselected, and yet not all is there
    assert not runs(project)[-1]["complete"]


def test_a_part_of_the_tests_is_no_baseline_of_later_commits(tmp_path, server):
    tests = units(2) + "distributional_tests:\n  - {name: no_drop, type: regression}\n"
    project = project_with(tmp_path / "work", server, tests)
    pytest_in(project, "-k", "case_000").expect(0, passed=1, deselected=2)
    prompt = (project / "prompts/classify.txt").read_text()
    commit(project, {"prompts/classify.txt": prompt + "Be polite.\n"}, "Polite")
    git(project, "checkout", "-q", "-b", "kind")
    commit(project, {"prompts/classify.txt": prompt + "Be kind.\n"}, "Kind")
    done = pytest_in(project)
    assert "commits older" not in done.out
    assert "there are no results of" in done.out
