"""Tests against a baseline, and what need not be asked again."""

import shutil

import pytest

from tests.pytest_plugin.sessions import (
    ASKING,
    loom,
    only,
    project_with,
    pytest_in,
    records,
    respond,
    runs,
    settings,
    units,
)
from tests.repos import commit, git
from tests.servers.openai_server import OpenAiServer

ROWS = 60
REVIEWS = "review_id,review,expected\n" + "".join(
    f"r-{n},{'This is great' if n % 2 else 'It is broken'} ({n}),"
    f"{'positive' if n % 2 else 'negative'}\n"
    for n in range(ROWS)
)
AGAINST = """\
distributional_tests:
  - {name: no_drop, type: regression, max_drop: 0.02}
  - {name: same_shape, type: drift, field: output.sentiment}
"""


def worse(request):
    """Reads one review in three wrong when the prompt tells it to hurry."""
    text = request["messages"][-1]["content"]
    said = respond(request)
    if "Hurry" in text and int(text.partition("(")[2].partition(")")[0] or 0) % 3 == 0:
        return said.replace("negative", "positive")
    return said


@pytest.fixture
def project(tmp_path, server):
    server.respond = worse
    return project_with(tmp_path / "work", server, AGAINST, **{"data/reviews.csv": REVIEWS})


def change(project, line, message="Change"):
    prompt = (project / "prompts/classify.txt").read_text() + f"{line}\n"
    return commit(project, {"prompts/classify.txt": prompt}, message)


def verdicts(project):
    return {test["name"]: test for test in runs(project)[-1]["tests"]}


def test_a_worse_prompt_fails_its_regression_test_and_warns_of_the_drift(project):
    pytest_in(project).expect(0, inconclusive=2)  # nothing to compare with yet
    git(project, "checkout", "-q", "-b", "hurry")
    change(project, "Hurry.")
    done = pytest_in(project).expect(1, passed=1, failed=1)
    assert "[FAIL] label drop < 0.02 against the baseline (actual: 0.167" in done.out
    assert "degraded over 60 cases: 1.000 -> 0.833" in done.out
    shifted = "warning: distributional::same_shape: output.sentiment is distributed as in "
    assert f"{shifted}the baseline: the distribution has shifted; p = " in done.out
    assert "case r-" in done.out
    assert "Label  0.833" in done.out
    assert "degraded" in done.out.partition("Δ BASELINE")[2].partition("\n  cost")[0]
    assert "compared with main" in done.out or "compared with merge base" in done.out
    found = verdicts(project)
    assert (
        "warning: the distribution has shifted"
        in found["distributional::same_shape"]["checks"][0]["note"]
    )


def test_a_change_that_harms_nobody_passes(project):
    pytest_in(project)
    git(project, "checkout", "-q", "-b", "kind")
    change(project, "Be kind.")
    done = pytest_in(project).expect(0, passed=2)
    assert "no worse" in done.out


def test_unit_tests_are_no_part_of_what_a_regression_test_compares(tmp_path, server):
    tests = AGAINST + units(20, first=500)
    project = project_with(tmp_path / "work", server, tests, **{"data/reviews.csv": REVIEWS})
    pytest_in(project)
    git(project, "checkout", "-q", "-b", "kind")
    change(project, "Be kind.")
    pytest_in(project).expect(0, passed=22)
    note = verdicts(project)["distributional::no_drop"]["checks"][0]["note"]
    assert note == "no worse over 60 cases: 1.000 -> 1.000"


def test_the_same_content_is_compared_with_itself(project, server):
    pytest_in(project)
    calls = server.calls
    git(project, "checkout", "-q", "-b", "other")
    commit(project, {"README.md": "x\n"})
    pytest_in(project).expect(0, passed=2)
    assert server.calls == calls


def test_an_older_commit_stands_in_for_a_baseline_that_was_never_measured(project):
    pytest_in(project)
    change(project, "Be polite.")
    change(project, "Be kind.")
    git(project, "checkout", "-q", "-b", "hurry")
    change(project, "Hurry.")
    done = pytest_in(project).expect(1, passed=1, failed=1)
    assert "2 commits older" in done.out


def test_of_the_same_content_a_part_of_the_tests_is_enough_to_compare_with(project):
    pytest_in(project, "-m", "loom_regression").expect(0, inconclusive=1, deselected=1)
    assert not only(runs(project))["complete"]
    git(project, "checkout", "-q", "-b", "hurry")
    change(project, "Hurry.")
    done = pytest_in(project).expect(1, passed=1, failed=1)
    assert "degraded over 60 cases: 1.000 -> 0.833" in done.out
    shifted = "warning: distributional::same_shape: output.sentiment is distributed as in "
    assert f"{shifted}the baseline: the distribution has shifted; p = " in done.out


def test_a_named_baseline_and_none_go_before_the_usual_one(project):
    pytest_in(project)
    first = git(project, "rev-parse", "HEAD")
    change(project, "Hurry.")
    pytest_in(project, "--loom-baseline", first).expect(1, passed=1, failed=1)
    done = pytest_in(project, "--loom-baseline=none").expect(0, inconclusive=2)
    assert "comparisons are off" in done.out


def test_a_test_may_name_its_baseline(project):
    pytest_in(project)
    git(project, "tag", "released")
    tests = AGAINST.replace("type: regression,", "type: regression, baseline: released,")
    commit(project, {"tests/demo_test.yaml": f"pipeline: demo\n{tests}"})
    change(project, "Hurry.")
    done = pytest_in(project).expect(1, passed=1, failed=1)
    assert "against released" in done.out


def test_results_from_another_machine_are_enough(tmp_path, project):
    """What `loom sync` brings are run files: cases with scores, no records."""
    pytest_in(project)
    shutil.rmtree(project / ".loom" / "records")
    shutil.rmtree(project / ".loom" / "cache")
    git(project, "checkout", "-q", "-b", "hurry")
    change(project, "Hurry.")
    done = pytest_in(project)
    assert done.code == 1
    assert "label drop < 0.02 against the baseline (actual: 0.167" in done.out


def test_after_a_rebase_and_a_squash_nothing_is_asked_again(tmp_path, server):
    tests = (
        units(6)
        + AGAINST
        + (
            "integration_tests:\n  - {name: whole, steps: [{extract: 4 records}],"
            " assertions: [records_extracted == 4]}\n"
        )
    )
    project = project_with(tmp_path / "work", server, tests)
    git(project, "checkout", "-q", "-b", "change")
    change(project, "Be kind.", "One")
    commit(project, {"notes.md": "x\n"}, "Two")
    pytest_in(project).expect(0, passed=7, inconclusive=2)
    calls = server.calls
    git(project, "checkout", "-q", "main")
    commit(project, {"other.md": "y\n"}, "Meanwhile")
    git(project, "checkout", "-q", "change")
    git(project, "rebase", "-q", "main")
    done = pytest_in(project).expect(0, passed=7, inconclusive=2)
    assert "0 model calls" in done.out
    git(project, "checkout", "-q", "main")
    git(project, "merge", "-q", "--squash", "change")
    git(project, "commit", "-q", "-m", "Squashed")
    pytest_in(project)
    assert server.calls == calls
    shutil.rmtree(project / ".loom" / "cache")  # the samples of the runs are enough for these
    pytest_in(project, "-m", "not loom_integration")
    assert server.calls == calls


def test_what_is_kept_can_be_shown_and_compared(project, server):
    pytest_in(project)
    git(project, "checkout", "-q", "-b", "hurry")
    change(project, "Hurry.")
    pytest_in(project)
    run = runs(project)[-1]
    shown = loom(project, "runs", "show", run["run_id"])
    assert shown.code == 0
    assert run["run_id"] in shown.out
    assert "Tests: 2: 1 fail, 1 pass" in shown.out
    assert "❌ distributional::no_drop: fail - label drop < 0.02" in shown.out
    assert shown.out.splitlines()[-1] == "❌ 1 of 2 tests failed"
    calls = server.calls
    compared = loom(project, "compare", "main...hurry")
    assert compared.code == 1, compared.out + compared.error
    assert "degraded" in compared.out
    assert server.calls == calls
    assert loom(project, "compare", "main...hurry", "--json").code == 1


def test_more_samples_are_drawn_beside_those_there_are(tmp_path, server):
    project = project_with(tmp_path / "work", server, units(4), ASKING)
    pytest_in(project)
    pytest_in(project, "--loom-samples=3").expect(0, passed=4)
    assert server.calls == 12
    assert [case["samples"] for case in runs(project)[-1]["cases"]] == [3] * 4


def test_a_contract_stops_when_it_is_decided(tmp_path, server):
    tests = (
        "unit_tests:\n"
        "  - {name: often, input: {review: great, expected: positive}, samples: 5, min_pass: 2}\n"
    )
    project = project_with(tmp_path / "work", server, tests)
    pytest_in(project).expect(0, passed=1)
    assert server.calls == 2
    assert only(runs(project))["tests"][0]["checks"][-1]["text"] == "2 of 5 replies pass"


JUDGED = """\
    - name: sense
      type: custom_criteria
      config: {criteria: "It makes sense."}
  quality_gate:"""
BY_JUDGE = "defaults: {judge_model: judge}\n"
CONFIRMED = AGAINST.replace("max_drop: 0.02", "max_drop: 0.02, confirm: true")


@pytest.fixture
def confirming(tmp_path, server):
    server.respond = worse
    files = {"data/reviews.csv": REVIEWS}
    made = project_with(tmp_path / "work", server, CONFIRMED, **files)
    pytest_in(made).expect(0, inconclusive=2)
    git(made, "checkout", "-q", "-b", "hurry")
    change(made, "Hurry.")
    return made


def test_a_drop_that_a_second_measurement_shows_too_fails(confirming, server):
    assert server.calls == ROWS
    done = pytest_in(confirming).expect(1, passed=1, failed=1)
    assert "measured again, and confirmed (p = " in done.out
    assert server.calls == 4 * ROWS  # both sides twice; the baseline's first was there
    asked = ["Hurry" in request["messages"][-1]["content"] for request in server.requests]
    assert asked.count(True) == 2 * ROWS
    assert len(records(confirming, runs(confirming)[-1])) == ROWS  # the verdict's own samples


def test_a_drop_that_a_second_measurement_does_not_show_is_inconclusive(confirming, server):
    seen = set()

    def worse_once(request):
        text = request["messages"][-1]["content"]
        first = text not in seen
        seen.add(text)
        return worse(request) if first else respond(request)

    server.respond = worse_once
    pytest_in(confirming).expect(0, passed=1, inconclusive=1)
    note = verdicts(confirming)["distributional::no_drop"]["checks"][0]["note"]
    assert "measured again, and not confirmed (p = " in note


def test_where_nothing_can_be_measured_again_the_first_verdict_stands(confirming, server):
    pytest_in(confirming, "--loom-baseline", "none")
    known = [run["cost"]["total"] for run in runs(confirming)]
    budget = str(known[0] / 2)
    done = pytest_in(confirming, "--loom-budget", budget).expect(1, passed=1, failed=1)
    assert "not confirmed: " in done.out
    assert "budget" in done.out
    assert server.calls < 3 * ROWS


def test_workers_measure_again_what_one_session_would(confirming, server):
    done = pytest_in(confirming, "-n", "2").expect(1, passed=1, failed=1)
    assert "measured again, and confirmed (p = " in done.out
    assert server.calls == 4 * ROWS
    assert len(records(confirming, runs(confirming)[-1])) == ROWS


def as_if_never_run(project, kept):
    """The project with the results that are `kept`, and nothing else but what Git tracks."""
    for name in ("runs", "records", "cache", "state"):
        shutil.rmtree(project / ".loom" / name, ignore_errors=True)
    shutil.copytree(kept, project / ".loom", dirs_exist_ok=True)


def test_what_is_recorded_confirms_where_no_model_is(confirming, server, tmp_path):
    held = tmp_path / "held"
    shutil.copytree(confirming / ".loom", held)
    pytest_in(confirming, "--loom-replay", "auto").expect(1, passed=1, failed=1)
    cassette = confirming / ".loom/cassettes/demo.jsonl"
    assert len(cassette.read_text().splitlines()) == 3 * ROWS
    recorded = cassette.read_bytes()
    as_if_never_run(confirming, held)
    calls = server.calls
    done = pytest_in(confirming, "--loom-replay", "only").expect(1, passed=1, failed=1)
    assert "measured again, and confirmed (p = " in done.out
    assert server.calls == calls
    assert cassette.read_bytes() == recorded
    pruned = loom(confirming, "cassette", "prune")
    assert cassette.read_bytes() == recorded, pruned.out


def test_what_the_baseline_has_recorded_is_not_asked_of_it_again(confirming, server, tmp_path):
    held = tmp_path / "held"
    shutil.copytree(confirming / ".loom", held)
    git(confirming, "checkout", "-q", "main")
    pytest_in(confirming, "--loom-replay", "auto", "--loom-samples", "2")
    own = ".loom/cassettes/demo.jsonl"
    replies = (confirming / own).read_text()
    assert len(replies.splitlines()) == ROWS  # the second of each; the first is held
    commit(confirming, {own: replies}, "Record")
    as_if_never_run(confirming, held)
    git(confirming, "rebase", "-q", "main", "hurry")
    git(confirming, "rm", "-q", own)
    git(confirming, "commit", "-q", "-m", "Forget")
    server.requests.clear()
    done = pytest_in(confirming, "--loom-replay", "auto").expect(1, passed=1, failed=1)
    assert "measured again, and confirmed (p = " in done.out
    asked = ["Hurry" in request["messages"][-1]["content"] for request in server.requests]
    assert asked == [True] * (2 * ROWS)
    assert len((confirming / own).read_text().splitlines()) == 2 * ROWS
    git(confirming, "checkout", "-q", "-f", "main")
    assert (confirming / own).read_text() == replies


def test_todays_judge_judges_both_sides_again(tmp_path, server):
    """The judge has moved since the baseline, whose own tree asks for it at the old place."""
    server.respond = worse
    pipeline = ASKING.replace("  quality_gate:", JUDGED)
    files = {"data/reviews.csv": REVIEWS, ".loom/config.yaml": judged_at(server, server)}
    project = project_with(tmp_path / "work", server, CONFIRMED, pipeline, **files)
    pytest_in(project).expect(0, inconclusive=2)
    git(project, "checkout", "-q", "-b", "hurry")
    with OpenAiServer(respond) as judge:
        commit(project, {".loom/config.yaml": judged_at(server, judge)}, "Move the judge")
        change(project, "Hurry.")
        server.requests.clear()
        done = pytest_in(project).expect(1, passed=1, failed=1)
        assert "measured again, and confirmed (p = " in done.out
        assert {request["model"] for request in server.requests} == {"local"}
        assert len(server.requests) == 3 * ROWS
        assert {request["model"] for request in judge.requests} == {"judge"}
        assert len(judge.requests) > 0


def judged_at(server, judge):
    """Settings with the judge at a server of its own."""
    return f"{settings(server)}  judge: {{base_url: '{judge.url}', api_key: k}}\n{BY_JUDGE}"


def test_a_baseline_that_is_named_and_not_there_fails(tmp_path, server, project):
    named = AGAINST.replace("max_drop: 0.02", "max_drop: 0.02, baseline: v9")
    commit(project, {"tests/demo_test.yaml": f"pipeline: demo\n{named}"})
    done = pytest_in(project).expect(1, failed=1, passed=1)
    assert "no_drop: error - there is no revision v9" in done.out
    done = pytest_in(project, "--loom-baseline", "v8").expect(1, failed=2)
    assert "there is no revision v8" in done.out
    assert runs(project)[-1]["tests"][0]["verdict"] == "error"


def test_two_test_files_may_have_cases_with_the_same_ids(tmp_path, server):
    server.respond = worse
    first = REVIEWS.replace("r-", "")
    second = first.replace("It is", "Really").replace("This is", "Very")
    test = "distributional_tests:\n  - {name: no_drop, type: regression, max_drop: 0.02}\n"
    project = project_with(
        tmp_path / "work",
        server,
        f"dataset: data/reviews.csv\n{test}",
        **{
            "data/reviews.csv": first,
            "data/second.csv": second,
            "tests/second_test.yaml": f"pipeline: demo\ndataset: data/second.csv\n{test}",
        },
    )
    assert loom(project, "test").code == 0
    git(project, "checkout", "-q", "-b", "hurry")
    change(project, "Hurry.")
    done = loom(project, "test")
    assert done.code == 1
    assert done.out.count("❌ label drop < 0.02 against the baseline (actual: 0.167") == 2, done.out


def test_drift_does_not_compare_cases_that_have_changed(project):
    assert loom(project, "test").code == 0
    git(project, "checkout", "-q", "-b", "other")
    other = REVIEWS.replace("It is", "Really").replace("This is", "Very")
    commit(project, {"data/reviews.csv": other})
    change(project, "Be kind.")
    assert loom(project, "compare", "--run-missing").code == 0
    done = loom(project, "test")
    assert "no case has this value on both sides" in done.out, done.out


def test_only_cases_of_the_baselines_own_tests_are_measured_again(tmp_path, server):
    """The head adds cases on which it is better than the baseline."""

    def respond_to(request):
        text = request["messages"][-1]["content"]
        number = int(text.partition("(")[2].partition(")")[0] or 0)
        if number >= 1000 and "Hurry" not in text:
            return respond(request).replace("negative", "neutral").replace("positive", "neutral")
        return respond(request) if number >= 1000 else worse(request)

    server.respond = respond_to
    project = project_with(tmp_path / "work", server, CONFIRMED, **{"data/reviews.csv": REVIEWS})
    assert loom(project, "test").code == 0
    git(project, "checkout", "-q", "-b", "hurry")
    new = "".join(
        f"n-{n},{'This is great' if n % 2 else 'It is broken'} ({1000 + n}),"
        f"{'positive' if n % 2 else 'negative'}\n"
        for n in range(ROWS)
    )
    commit(project, {"data/reviews.csv": REVIEWS + new})
    change(project, "Hurry.")
    assert loom(project, "compare", "--run-missing").code == 1
    done = loom(project, "test")
    assert done.code == 1, done.out
    assert "measured again, and confirmed" in done.out
