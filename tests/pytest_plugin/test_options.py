"""Every option: the flag, the variable, the entry in the configuration; and what each does."""

import json
import re

import pytest

from tests.pytest_plugin.sessions import (
    ASKING,
    only,
    project_with,
    pytest_in,
    respond,
    runs,
    units,
)
from tests.repos import commit, git

QUALITY = """\
distributional_tests:
  - name: quality
    type: statistical
    sample_size: 4
    assertions: ["mean(evaluation_scores) > 0.5"]
"""
WARNED = QUALITY.replace("> 0.5", "> 0.9")  # four good replies do not prove that


@pytest.fixture
def project(tmp_path, server):
    return project_with(tmp_path / "work", server, units(3) + QUALITY)


def configure(project, *lines):
    text = "\n".join(["[pytest]", *lines]) + "\n"
    (project / "pytest.ini").write_text(text)


# -- words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--loom-samples=0"], "--loom-samples 0: must be greater than 0"),
        (["--loom-samples=many"], "--loom-samples many: must be a whole number"),
        (["--loom-budget=-1"], "--loom-budget -1: must be at least 0"),
        (["--loom-budget=nan"], "--loom-budget nan: must be finite"),
        (["--loom-budget=inf"], "--loom-budget inf: must be finite"),
        (["--loom-concurrency=1.5"], "--loom-concurrency 1.5: must be a whole number"),
        (
            ["--loom-replay=onyl"],
            "--loom-replay onyl: must be one of off, auto, only, record; did you mean 'only'?",
        ),
        (
            ["--loom-on-inconclusive=pass"],
            "--loom-on-inconclusive pass: must be one of point, warn, fail",
        ),
        (["--loom-report=out.txt"], "--loom-report out.txt: must end in "),
    ],
)
def test_a_word_that_means_nothing_is_refused_before_anything_runs(
    project, server, arguments, said
):
    done = pytest_in(project, *arguments)
    assert done.code == 4
    assert f"ERROR: {said}" in done.error
    assert "Traceback" not in done.error
    assert server.calls == 0


def test_a_bad_variable_and_a_bad_entry_are_refused_as_well(project):
    done = pytest_in(project, env={"LOOM_SAMPLES": "x"})
    assert (done.code, "LOOM_SAMPLES x: must be a whole number" in done.error) == (4, True)
    configure(project, "loom_replay = never")
    done = pytest_in(project)
    assert (done.code, "loom_replay never: must be one of off" in done.error) == (4, True)


def test_the_flag_goes_before_the_variable_and_that_before_the_configuration(project, server):
    configure(project, "loom_samples = 2")
    pytest_in(project, "-k", "case_000").expect(0, passed=1, deselected=3)
    assert server.calls == 2
    pytest_in(project, "-k", "case_000", env={"LOOM_SAMPLES": "3"})
    assert server.calls == 3
    pytest_in(project, "-k", "case_000", "--loom-samples=4", env={"LOOM_SAMPLES": "3"})
    assert server.calls == 4


def test_switches_can_be_turned_off_nearer_to_the_user(tmp_path, server):
    project = project_with(tmp_path / "work", server, WARNED)
    configure(project, "loom_strict = true", "loom_on_inconclusive = warn")
    pytest_in(project).expect(1, failed=1)
    pytest_in(project, env={"LOOM_STRICT": "0"}).expect(0, inconclusive=1)
    pytest_in(project, "--loom-on-inconclusive=point", env={"LOOM_STRICT": "0"}).expect(0, passed=1)


# -- what they do


def test_samples_and_sample_size_stand_for_the_tests_own(project, server):
    pytest_in(project, "--loom-samples=2", "--loom-sample-size=3").expect(0, passed=4)
    run = only(runs(project))
    assert [case["samples"] for case in run["cases"]] == [2] * 6
    assert server.calls == 12


def test_concurrency_is_how_many_calls_are_in_flight(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(40))
    server.latency = 0.02
    pytest_in(project, "--loom-concurrency=3").expect(0, passed=40)
    assert server.highest == 3
    server.clear()
    pytest_in(project, "--loom-no-store", "--loom-concurrency=20", "--loom-samples=2")
    assert 12 < server.highest <= 20


def test_another_model_may_be_asked(tmp_path, server):
    more = f"  other: {{base_url: '{server.url}', api_key: k, input_price: 1, output_price: 1}}\n"
    project = project_with(tmp_path / "work", server, units(3), config=more)
    done = pytest_in(project, "--loom-model=other").expect(0, passed=3)
    assert {request["model"] for request in server.requests} == {"other"}
    assert only(runs(project))["config"]["model"] == "other"
    assert re.search(r"Label +1\.000 ", done.out)


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "two workers"])
def test_a_budget_is_never_overspent_and_tests_beyond_it_fail(tmp_path, server, workers):
    project = project_with(tmp_path / "work", server, units(40))
    budget = 0.004
    done = pytest_in(project, f"--loom-budget={budget}", *workers)
    assert done.code == 1
    assert 0 < done.counts["passed"] < 40
    assert done.counts["failed"] == 40 - done.counts["passed"]
    assert re.search(r"case_\d+: error - .*budget: 0\.00\d+ of 0\.00\d+ USD are spent", done.out)
    spent = sum(_price(server, request) for request in server.requests)
    assert budget / 4 < spent <= budget
    run = only(runs(project))
    assert run["complete"] is False
    verdicts = [test["verdict"] for test in run["tests"]]
    assert verdicts.count("error") == done.counts["failed"]


def test_a_budget_of_zero_allows_no_paid_call(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(2))
    pytest_in(project, "--loom-budget=0").expect(1, failed=2)
    assert not server.requests
    only_stored = project_with(tmp_path / "stored", server, units(2))
    pytest_in(only_stored).expect(0, passed=2)
    pytest_in(only_stored, "--loom-budget=0").expect(0, passed=2)


def _price(server, request):
    from tests.servers.openai_server import tokens

    asked = sum(tokens(message["content"]) for message in request["messages"]) + 3
    return (asked * 1.0 + tokens(respond(request)) * 2.0) / 1e6


def test_an_integration_test_spends_from_the_same_budget(tmp_path, server):
    tests = units(2) + (
        "integration_tests:\n"
        "  - {name: whole, steps: [{extract: 4 records}], assertions: [records_loaded == 4]}\n"
    )
    project = project_with(tmp_path / "work", server, tests)
    done = pytest_in(project, "--loom-budget=0.00075").expect(1, passed=2, failed=1)
    assert "whole: fail - budget: " in done.out
    assert sum(_price(server, request) for request in server.requests) <= 0.00075
    pytest_in(project, "--loom-budget=0.006").expect(0, passed=3)


def test_a_budget_needs_prices(tmp_path, server):
    config = f"models:\n  local: {{base_url: '{server.url}', api_key: k}}\n"
    project = project_with(tmp_path / "work", server, units(1), **{".loom/config.yaml": config})
    done = pytest_in(project, "--loom-budget=1").expect(1, failed=1)
    assert "local: a budget needs the price of the model, which is unknown" in done.out
    assert "models: {local: {input_price: ..., output_price: ...}}" in done.out


def test_reports_are_written_as_their_names_say(project):
    pytest_in(project, "--loom-report=out.json").expect(0, passed=4)
    document = json.loads((project / "out.json").read_text())
    table = only(document["pipelines"])
    assert (document["schema_version"], table["pipeline"]) == (1, "demo")
    assert [line["name"] for line in table["lines"]] == [
        "case_000",
        "case_001",
        "case_002",
        "quality",
    ]
    score = only(table["scores"])
    assert (score["name"], score["mean"], score["n"]) == ("label", 1.0, 7)
    pytest_in(project, "--loom-report=out.html").expect(0, passed=4)
    page = (project / "out.html").read_text(encoding="utf-8")
    assert page.lower().startswith("<!doctype html>")
    assert "All 4 tests passed" in page
    assert "case_000" in page
    done = pytest_in(project, "--loom-report=out.md")
    text = (project / "out.md").read_text()
    assert "## demo (v1.0.0): 4 tests, 4 pass" in text
    assert "✅ unit::case\\_000" in text
    assert done.code == 0


def test_a_report_that_cannot_be_written_is_said_and_the_results_are_kept(project):
    done = pytest_in(project, "--loom-report=deep/out.md")
    assert "deep/out.md: No such file or directory" in done.out
    assert len(runs(project)) == 1


def test_without_the_store_nothing_is_kept_or_taken(project, server):
    pytest_in(project, "--loom-no-store").expect(0, passed=4)
    assert not runs(project)
    assert server.calls == 7
    pytest_in(project).expect(0, passed=4)
    done = pytest_in(project, "--loom-no-store").expect(0, passed=4)
    assert "samples of earlier runs" not in done.out
    assert "7 replies from the cache" in done.out
    assert len(runs(project)) == 1


# -- modified


@pytest.fixture
def branch(tmp_path, server):
    """Two pipelines with tests on `main`, and a branch off it."""
    files = {
        "pipelines/second.yaml": ASKING.replace("name: demo", "name: second").replace(
            "prompts/classify.txt", "prompts/second.txt"
        ),
        "prompts/second.txt": "Review: {{ input.review }}\n{{ context.taxonomy }}\n",
        "tests/second_test.yaml": f"pipeline: second\n{units(2)}",
    }
    project = project_with(tmp_path / "work", server, units(3), **files)
    git(project, "checkout", "-q", "-b", "change")
    return project


@pytest.mark.parametrize(
    ("files", "counts"),
    [
        ({"docs.md": "x"}, {"deselected": 5}),
        ({"prompts/second.txt": "Review: {{ input.review }}\n"}, {"passed": 2, "deselected": 3}),
        ({"context/taxonomy.md": "### positive\n"}, {"passed": 5}),
        ({"tests/demo_test.yaml": f"pipeline: demo\n{units(4)}"}, {"passed": 4, "deselected": 2}),
        ({"pipelines/demo.yaml": ASKING.replace("1.0.0", "1.0.1") + "tags: [x]\n"}, None),
        ({".loom/config.yaml": "defaults: {concurrency: 3}\n"}, {"deselected": 5}),
    ],
    ids=["unrelated", "prompt", "shared context", "test file", "pipeline file", "settings"],
)
def test_only_what_changed_is_run(branch, server, files, counts):
    if ".loom/config.yaml" in files:
        files = {
            ".loom/config.yaml": (branch / ".loom/config.yaml").read_text()
            + files[".loom/config.yaml"]
        }
    commit(branch, files)
    done = pytest_in(branch, "--loom-modified")
    found = dict(done.counts.items())
    if counts is not None:
        assert found == counts, done.out
        assert done.code == (0 if "passed" in counts else 5)
    assert (server.calls == 0) == ("passed" not in found)


def test_uncommitted_changes_count_as_changed(branch):
    (branch / "prompts" / "second.txt").write_text("Review: {{ input.review }}\n")
    pytest_in(branch, "--loom-modified").expect(0, passed=2, deselected=3)
    pytest_in(branch, "--loom-modified", "-n", "2").expect(0, passed=2)


def test_without_a_baseline_everything_is_run(project):
    pytest_in(project, "--loom-modified").expect(0, passed=4)


# -- replay


def test_recorded_replies_are_replayed_and_a_changed_prompt_is_unverified(project, server):
    pytest_in(project, "--loom-replay=record").expect(0, passed=4)
    cassette = project / ".loom" / "cassettes" / "demo.jsonl"
    assert len(cassette.read_text().splitlines()) == server.calls == 7
    commit(project, {}, "Record")
    git(project, "clean", "-qfdx")
    pytest_in(project, "--loom-replay=only").expect(0, passed=4)
    assert server.calls == 7
    prompt = project / "prompts" / "classify.txt"
    prompt.write_text(prompt.read_text() + "Be brief.\n")
    done = pytest_in(project, "--loom-replay=only").expect(0, unverified=4)
    assert "nothing is recorded for this request in .loom/cassettes/demo.jsonl" in done.out
    pytest_in(project, "--loom-replay=only", "--loom-strict").expect(1, failed=4)
    assert server.calls == 7
    pytest_in(project, "--loom-replay=auto").expect(0, passed=4)
    assert server.calls == 14
    pytest_in(project, "--loom-replay=only", "--loom-no-store").expect(0, passed=4)
    assert server.calls == 14


def test_workers_record_into_one_cassette(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(30) + QUALITY)
    pytest_in(project, "--loom-replay=record", "-n", "2").expect(0, passed=31)
    cassette = project / ".loom" / "cassettes" / "demo.jsonl"
    assert len(cassette.read_text().splitlines()) == server.calls == 34
    pytest_in(project, "--loom-replay=only", "--loom-no-store", "-n", "2").expect(0, passed=31)
    assert server.calls == 34


def test_a_damaged_cassette_names_its_line(project, server):
    path = project / ".loom" / "cassettes" / "demo.jsonl"
    path.parent.mkdir()
    path.write_text("{not json\n")
    done = pytest_in(project, "--loom-replay=only").expect(1, failed=4)
    assert ".loom/cassettes/demo.jsonl:1:" in done.out
    assert server.calls == 0
