"""`loom compare` by what the tests and the commits say: accepted losses, `strict`, `confirm`."""

import json

import pytest

from loomgit.api import Project
from tests.command import loom
from tests.comparisons import (
    SUITE,
    WORSE,
    classify,
    copy_project,
    make_comparable,
    reviews,
    with_transform,
)
from tests.projects import PROMPT, TAXONOMY
from tests.repos import commit, git, write
from tests.servers.openai_server import OpenAiServer


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    folder = make_comparable(tmp_path_factory.mktemp("template") / "project")
    git(folder, "checkout", "--quiet", "-b", "feature")
    return folder


@pytest.fixture
def project(template, tmp_path):
    return copy_project(template, tmp_path / "project")


def policy(line):
    return {"tests/demo_test.yaml": SUITE + f"defaults: {{{line}}}\n"}


def test_a_loss_that_a_commit_accepts_passes_and_is_told(project):
    commit(project, WORSE)
    assert loom(project, "compare", "--run-missing").returncode == 1
    write(project, {"README.md": "x\n"})
    git(project, "add", "--all")
    message = "Go without a taxonomy\n\nLoom-Accept: label: the new one comes on Monday\n"
    git(project, "commit", "--quiet", "-m", message)
    done = loom(project, "compare")
    assert done.returncode == 0, done.stdout
    said = git(project, "rev-parse", "HEAD")[:8]
    assert f"accepted: label: the new one comes on Monday ({said})" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("Degraded, and accepted: demo")
    document = json.loads(loom(project, "compare", "--json").stdout)
    assert document["blocked"] is False
    assert document["pipelines"][0]["accepted"] == [f"label: the new one comes on Monday ({said})"]
    git(project, "commit", "--quiet", "--amend", "-m", "x\n\nLoom-Accept: cost: another metric\n")
    assert loom(project, "compare").returncode == 1


def test_a_part_of_the_baselines_own_results_counts_for_the_cases_that_it_has(project):
    git(project, "checkout", "--quiet", "main")
    Project(project).run("demo", limit=10)
    git(project, "checkout", "--quiet", "feature")
    commit(project, WORSE)
    Project(project).run("demo")
    (found,) = Project(project).compare().pipelines
    assert (found.compared, len(found.added), found.removed) == (10, 50, ())


def test_strict_tests_take_proof(project):
    commit(project, {"data/reviews.csv": reviews(8)})
    git(project, "branch", "--force", "main", "HEAD")
    commit(project, {"context/taxonomy.md": TAXONOMY.replace("broken, hate", "broken")})
    found = Project(project).compare(run_missing=True)
    assert found.outcome == "inconclusive"
    assert not found.blocks()
    commit(project, policy("strict: true"))
    done = loom(project, "compare")
    assert done.returncode == 1, done.stdout
    assert "inconclusive" in done.stdout


@pytest.mark.parametrize(("bad", "outcome"), [(61, "inconclusive"), (10_000, "degraded")])
def test_confirm_draws_both_sides_again_before_it_blocks(project, monkeypatch, bad, outcome):
    """A provider that has a bad hour, or a prompt that is worse for good."""
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-x")
    wrong = []

    def moody(request):
        if "Be brief" in request["messages"][-1]["content"] and len(wrong) < bad:
            wrong.append(request)
            return json.dumps({"sentiment": "neutral", "confidence": 0.9})
        return classify(request)

    with OpenAiServer(moody) as server:
        entry = f"{{base_url: '{server.url}', api_key: '${{LOOM_TEST_KEY}}', input_price: 1}}"
        commit(
            project,
            {
                "pipelines/demo.yaml": with_transform("model: gpt-4o-mini\n  temperature: 0.7"),
                ".loom/config.yaml": f"models: {{gpt-4o-mini: {entry}}}\n",
                **policy("confirm: true"),
            },
        )
        git(project, "branch", "--force", "main", "HEAD")
        commit(project, {"prompts/classify.txt": PROMPT + "\nBe brief.\n"})
        found = Project(project).compare(run_missing=True)
        calls = server.calls
        assert calls == 4 * 61  # both sides, twice
        assert found.outcome == outcome
        (pipeline,) = found.pipelines
        label = next(metric for metric in pipeline.metrics if metric.name == "label")
        assert label.reason.startswith("measured again, and")
        assert found.blocks() == (outcome == "degraded")
        Project(project).compare(run_missing=True)
        assert server.calls == calls  # what was drawn is found again
        told = loom(project, "compare").stdout
        assert "not confirmed by a second measurement: --run-missing makes one" in told
