"""`loom power`: how many cases a comparison needs, by what the stored runs scatter."""

import json
import math
import re

import pytest

from loomgit.stats.power import needed_cases
from tests.pytest_plugin.sessions import ASKING, loom, only, project_with, pytest_in, respond
from tests.repos import commit

TESTS = """\
distributional_tests:
  - {name: quality, type: statistical, assertions: ["mean(evaluation_scores) > 0.1"]}
  - {name: no_drop, type: regression, max_drop: 0.03}
"""


@pytest.fixture
def project(tmp_path, server):
    """A model that is wrong each fourth time that it is asked."""
    asked = []

    def sometimes(request):
        asked.append(1)
        said = respond(request)
        return said if len(asked) % 4 else '{"sentiment": "odd", "confidence": 0.5}'

    server.respond = sometimes
    return project_with(tmp_path / "work", server, TESTS)


def measure(project, samples):
    pytest_in(project, f"--loom-samples={samples}", "--loom-concurrency=1")


def plan(project, *arguments):
    done = loom(project, "power", "demo", "--json", *arguments)
    assert done.code == 0, done.error
    found = only(json.loads(done.out)["pipelines"])
    return found, only(found["metrics"])


def test_the_deviation_within_cases_decides(project):
    measure(project, 4)  # 1 1 1 0 for each of four cases
    found, label = plan(project, "--drop", "0.1")
    assert label["deviation"] == pytest.approx(0.5)
    assert not label["over_estimate"]
    assert (label["cases"], label["samples"], found["max_drop"]) == (4, 4.0, 0.03)
    for need, m in zip(label["needs"], (1, 3, 5), strict=True):
        expected = needed_cases(0.1, 0.5, m, 0.03)
        assert (need["samples"], need["cases"]) == (m, expected)
        assert need["replies"] == expected * m
        assert 0 < need["cost"] < 1


def test_one_sample_a_case_gives_an_over_estimate_and_says_so(project):
    measure(project, 1)
    _, label = plan(project, "--drop", "0.1")
    assert label["over_estimate"]
    assert label["deviation"] == pytest.approx(math.sqrt(0.25))
    done = loom(project, "power", "--drop", "0.1")
    assert "0.500*" in done.out
    assert (
        "* over all scores, because no case has two samples: the deviation and the numbers of "
        "cases are too large" in done.out
    )


def test_the_table_is_for_people(project):
    measure(project, 3)
    done = loom(project, "power", "demo", "--drop", "0.1", "--samples", "2", "--max-drop", "0.05")
    assert done.code == 0
    assert done.out.startswith(
        "Power for: demo (v1.0.0)\nFrom: results of today's content (1 runs)"
    )
    assert (
        "To block a drop of 0.1 with a probability of 80%, if up to 0.05 is accepted and single "
        "replies fail:" in done.out
    )
    assert re.search(r"Label +0\.\d{3} +2 +[\d,]+ +[\d,]+ +\$\d", done.out), done.out
    assert "Today, Label: 4 cases x 3 samples block such a drop" in done.out


def test_a_drop_that_is_accepted_is_impossible_to_block(project):
    measure(project, 2)
    done = loom(project, "power", "demo", "--drop", "0.03")
    assert "impossible" in done.out
    assert "A good max_drop is half the drop" in done.out
    _, label = plan(project, "--drop", "0.03")
    assert {need["cases"] for need in label["needs"]} == {None}


def test_an_unknown_price_is_said(tmp_path, server):
    config = f"models:\n  local: {{base_url: '{server.url}', api_key: k}}\n"
    project = project_with(tmp_path / "work", server, TESTS, **{".loom/config.yaml": config})
    measure(project, 2)
    done = loom(project, "power", "--drop", "0.1")
    assert "unknown" in done.out
    assert "The stored runs do not contain the cost of a reply." in done.out


def test_the_baselines_results_count_where_the_prompt_changed(project):
    measure(project, 2)
    prompt = (project / "prompts/classify.txt").read_text() + "Be kind.\n"
    commit(project, {"prompts/classify.txt": prompt})
    found, _ = plan(project, "--drop", "0.1")
    assert re.match(r"results of ", found["basis"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing option '--drop'"),
        (["--drop", "0"], "Invalid value for '--drop'"),
        (["--drop", "0.1", "dmeo"], "there is no pipeline dmeo"),
        (["--drop", "0.1", "demo"], "demo: there are no results to estimate from"),
    ],
)
def test_what_must_be_changed_first_is_exit_2(project, arguments, said):
    done = loom(project, "power", *arguments)
    assert (done.code, said in done.error) == (2, True), done.error


def test_pipelines_without_results_are_left_out_of_all(project):
    commit(project, {"pipelines/other.yaml": ASKING.replace("name: demo", "name: other")})
    measure(project, 2)
    done = loom(project, "power", "--drop", "0.1")
    assert (done.code, "Power for: demo" in done.out) == (0, True)
    assert "warning: other: there are no results to estimate from" in done.error


def test_a_drop_can_be_given_in_percent(project):
    measure(project, 3)
    assert plan(project, "--drop", "0.1") == plan(project, "--drop", " 10% ")


@pytest.mark.parametrize("drop", ["10 percent", "%", "nan", "inf", "0", "0%", "101%", "-5%"])
def test_a_drop_is_a_share_above_zero(project, drop):
    done = loom(project, "power", "demo", "--drop", drop)
    assert (done.code, done.out) == (2, "")
    assert "--drop" in done.error
