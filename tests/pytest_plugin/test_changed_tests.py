"""What `loom test` and pytest say of a change that loosens its own tests, or answers another
question."""

import json

import pytest

from tests.comparisons import copy_project
from tests.projects import PIPELINE, make_project
from tests.pytest_plugin.sessions import ASKING, loom, project_with, pytest_in, respond, runs
from tests.repos import commit, git
from tests.ways import WORSE

REVIEWS = "review_id,review,expected\n" + "".join(
    f"r-{n},number {n} is {'bad' if n < 8 else 'great'},{'negative' if n < 8 else 'positive'}\n"
    for n in range(100)
)
WITHOUT_BAD = "\n".join(line for line in REVIEWS.splitlines() if "bad" not in line) + "\n"
SUITE = """\
pipeline: demo
unit_tests:
  - name: plain
    input: {review: I love it}
    expected: {sentiment: positive}
distributional_tests:
  - {name: quality, type: statistical, assertions: ["mean(evaluation_scores) > 0.5"]}
"""
ONLY_POSITIVE = {"context/taxonomy.md": "### positive\nCue words: great, good, love\n"}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = make_project(
        tmp_path_factory.mktemp("template") / "project",
        **{"data/reviews.csv": REVIEWS, "tests/demo_test.yaml": SUITE},
    )
    git(folder, "checkout", "--quiet", "-b", "change")
    return folder


@pytest.fixture
def project(template, tmp_path):
    return copy_project(template, tmp_path / "project")


def test_cases_that_are_deleted_are_listed_and_fail_a_strict_session(project):
    commit(project, {"data/reviews.csv": WITHOUT_BAD, **ONLY_POSITIVE})
    done = loom(project, "test")
    assert done.code == 0
    assert "warning: demo: 8 cases removed: r-" in done.error
    assert loom(project, "test", "--strict").code == 1
    done = pytest_in(project, "--loom-strict")
    assert (done.code, "loom: demo: 8 cases removed: r-" in done.out) == (1, True)
    commit(project, {}, "Say why\n\nLoom-Accept: demo.cases: those reviews were spam\n")
    done = loom(project, "test", "--strict")
    assert (done.code, "removed" in done.error) == (0, False), done.out


def test_looser_limits_are_shown_and_do_not_count_in_a_strict_session(project):
    looser = SUITE.replace("type: statistical", "sample_size: 3, type: statistical")
    commit(project, {"tests/demo_test.yaml": looser})
    done = loom(project, "test")
    assert done.code == 0
    line = "demo: quality: sample_size: all -> 3 (hooks and `loom ci` use all until it is merged)"
    assert f"warning: {line}" in done.error
    done = loom(project, "test", "--strict", "--json")
    assert done.code == 0
    assert len(runs(project)[-1]["cases"]) == 101


def test_a_test_that_is_deleted_is_listed(project):
    commit(project, {"tests/demo_test.yaml": SUITE[: SUITE.index("distributional")]})
    done = loom(project, "test")
    assert "warning: demo: quality: the test is deleted or looser" in done.error
    assert loom(project, "test", "--strict").code == 1


def test_a_threshold_that_is_lower_fails_what_it_would_have_failed(project):
    suite = SUITE + '  - {name: passing, type: statistical, assertions: ["rate(passed) > 0.9"]}\n'
    git(project, "branch", "--force", "main", commit(project, {"tests/demo_test.yaml": suite}))
    lower = PIPELINE.replace("expected}", "expected, threshold: 0}")
    commit(project, {"pipelines/demo.yaml": lower, **WORSE})
    done = loom(project, "test")
    assert "✅ rate(passed) > 0.9" in done.out
    assert "warning: demo: label: threshold: 0.7 -> 0" in done.error
    done = loom(project, "test", "--strict")
    assert "❌ rate(passed) > 0.9" in done.out


REGRESSION = "distributional_tests:\n  - {name: no_drop, type: regression}\n"
JUDGED = ASKING.replace(
    "  quality_gate",
    "    - {name: useful, type: custom_criteria, criteria: It is useful}\n"
    "  model: judge\n  quality_gate",
)


def test_many_easy_new_cases_do_not_hide_what_the_others_lost(project):
    suite = SUITE + "  - {name: no_drop, type: regression}\n"
    git(project, "branch", "--force", "main", commit(project, {"tests/demo_test.yaml": suite}))
    easy = "".join(f"e-{n},item {n} is great,positive\n" for n in range(600))
    commit(project, {"data/reviews.csv": REVIEWS + easy, **ONLY_POSITIVE})
    assert loom(project, "compare", "--run-missing").code == 1  # measures the new cases of both
    done = loom(project, "test")
    assert "❌ label drop < 0.02 against the baseline (actual: 0.080" in done.out, done.out


def test_other_evaluators_are_named(tmp_path, server):
    server.respond = respond
    project = project_with(tmp_path / "work", server, REGRESSION)
    assert loom(project, "test").code == 0
    git(project, "checkout", "--quiet", "-b", "change")
    other = ASKING.replace("type: exact_match", "type: contains")
    commit(project, {"pipelines/demo.yaml": other})
    done = loom(project, "test")
    line = "not comparable: evaluators.label.type: exact_match -> contains"
    assert line in done.out, done.out
    assert loom(project, "test", "--strict").code == 1


def test_a_judge_that_was_served_as_another_gives_no_delta(tmp_path, server):
    server.respond = respond
    more = f"  judge: {{base_url: '{server.url}', api_key: k}}\ndefaults: {{cache: false}}\n"
    project = project_with(tmp_path / "work", server, REGRESSION, JUDGED)
    config = project / ".loom/config.yaml"
    config.write_text(config.read_text() + more)
    commit(project, {})
    assert loom(project, "test").code == 0
    git(project, "checkout", "--quiet", "-b", "change")
    server.served = lambda model: f"{model}-today"
    prompt = (project / "prompts/classify.txt").read_text() + "Be kind.\n"
    commit(project, {"prompts/classify.txt": prompt})
    done = loom(project, "test")
    assert "not comparable: the judge as served differs: judge -> judge-today" in done.out
    assert loom(project, "test", "--strict").code == 1


def test_a_model_that_answers_under_another_name_is_reported(tmp_path, server):
    server.respond = respond
    server.served = lambda _: "cheap-model"
    project = project_with(tmp_path / "work", server, REGRESSION)
    done = loom(project, "test")
    assert "warning: requests for local were answered by cheap-model" in done.error
    assert runs(project)[-1]["served"] == ["cheap-model"]
    assert "requests for local were answered by cheap-model" in loom(project, "run", "demo").out
    git(project, "checkout", "--quiet", "-b", "change")
    server.served = str
    prompt = (project / "prompts/classify.txt").read_text() + "Be kind.\n"
    commit(project, {"prompts/classify.txt": prompt})
    done = loom(project, "compare", "--run-missing")
    assert "base: requests for local were answered by cheap-model" in done.out
    assert "the model as served differs: cheap-model -> local" in done.out


@pytest.mark.parametrize(
    ("key", "code"), [("'${NO_KEY}'", 2), ("k", 4)], ids=["no key", "nobody answers"]
)
def test_a_session_in_which_no_model_answers_is_no_success(tmp_path, server, key, code):
    project = project_with(tmp_path / "work", server, SUITE.partition("\n")[2])
    config = f"models:\n  local: {{base_url: 'http://127.0.0.1:1', api_key: {key}}}\n"
    commit(project, {".loom/config.yaml": config})
    done = loom(project, "test")
    assert (done.code, "No test failed (0/2 passed, 2 unverified)" in done.out) == (code, True)
    assert loom(project, "test", "--strict").code == 1
    event = tmp_path / "event.json"
    fork = {"sha": "1" * 40, "repo": {"full_name": "mallory/bot"}}
    event.write_text(json.dumps({"pull_request": {"number": 7, "head": fork, "base": fork}}))
    workflow = {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/bot"}
    done = loom(project, "test", env={**workflow, "GITHUB_EVENT_PATH": str(event)})
    assert done.code == 0, done.out + done.error
