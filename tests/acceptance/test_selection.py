"""`--select`: the pipelines of a project by name, by the data they share, by what differs."""

import json

import pytest

from loomgit.api import Project
from loomgit.errors import ProblemsFound, UserError
from tests.command import loom
from tests.projects import PIPELINE, PROMPT, TAXONOMY, make_project
from tests.repos import commit, git, write


def pipeline(name, source="data/reviews.csv", destination=None, more=""):
    text = PIPELINE.replace("name: demo", f"name: {name}").replace("data/reviews.csv", source)
    text = text.replace("prompts/classify.txt", f"prompts/{name}.txt")
    destination = destination or f"out/{name}.jsonl"
    return text.replace("sqlite://out/demo.db/scores", destination) + more


@pytest.fixture
def project(tmp_path):
    """raw -> clean (by its data) -> report (by depends_on); alone. Each has its own prompt."""
    passing = "  include: [review, expected]\n"
    files = {
        "pipelines/raw.yaml": pipeline("raw", destination="out/raw.jsonl", more=passing),
        "pipelines/clean.yaml": pipeline("clean", source="./out/raw.jsonl"),
        "pipelines/report.yaml": pipeline("report", more="depends_on: [clean]\n"),
        "pipelines/alone.yaml": pipeline("alone", more="tags: [nightly]\n"),
    }
    files |= {f"prompts/{name}.txt": PROMPT for name in ("raw", "clean", "report", "alone")}
    folder = make_project(tmp_path / "project", **files)
    (folder / "pipelines/demo.yaml").unlink()
    commit(folder, {})
    git(folder, "checkout", "--quiet", "-b", "feature")
    return folder


def ran(folder):
    return [run.pipeline for run in Project(folder).runs()]


def would(folder, *arguments):
    done = loom(folder, "run", *arguments, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["pipelines"]
    return {each["pipeline"]: each["reasons"] for each in found}


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("clean", ["clean"]),
        ("raw+", ["raw", "clean", "report"]),
        ("+clean", ["raw", "clean"]),
        ("+clean+", ["raw", "clean", "report"]),
        ("tag:nightly clean", ["alone", "clean"]),
        ("state:modified+", []),
    ],
)
def test_pipelines_are_selected_by_the_data_they_share(project, expression, names):
    assert list(would(project, "--select", expression)) == names


def test_pipelines_run_behind_what_they_take_their_data_from(project):
    done = loom(project, "run", "report", "clean", "raw", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [run["pipeline"] for run in document["runs"]] == ["raw", "clean", "report"]
    assert (project / "out/clean.jsonl").read_text().count("\n") == 4


def test_a_selection_and_names_go_together_and_some_may_be_left_out(project):
    assert list(would(project, "alone", "--select", "raw+")) == ["alone", "raw", "clean", "report"]
    assert list(would(project, "--select", "raw+", "--exclude", "clean")) == ["raw", "report"]
    assert would(project, "--select", "raw", "--select", "raw+")["raw"] == ["named"]


def test_what_differs_from_the_baseline_is_modified(project):
    blob = git(project, "rev-parse", "HEAD:prompts/clean.txt")[:8]
    commit(project, {"prompts/clean.txt": PROMPT + "Be brief.\n"})
    after = git(project, "rev-parse", "HEAD:prompts/clean.txt")[:8]
    found = would(project, "--select", "state:modified+")
    assert found == {
        "clean": [f"modified: prompts/clean.txt: {blob} -> {after}"],
        "report": ["downstream of clean"],
    }
    write(project, {"prompts/alone.txt": PROMPT + "Be quick.\n"})  # not committed
    assert list(would(project, "--select", "state:modified")) == ["alone", "clean"]
    write(project, {"context/taxonomy.md": TAXONOMY + "\n"})
    assert len(would(project, "--select", "state:modified")) == 4


def test_a_model_that_changed_in_the_configuration_is_a_modification(project):
    commit(project, {".loom/config.yaml": "defaults: {model: gpt-4o-mini}\n"})
    found = would(project, "--select", "state:modified")
    assert found["raw"] == ["modified: model: embedded/icl -> gpt-4o-mini"]


def test_an_untracked_pipeline_is_new(project):
    write(project, {"pipelines/more.yaml": pipeline("more"), "prompts/more.txt": PROMPT})
    assert would(project, "--select", "state:modified") == {"more": ["modified: new"]}


def test_a_pipeline_that_was_broken_before_is_modified(project):
    git(project, "checkout", "--quiet", "main")
    whole = (project / "pipelines/alone.yaml").read_text()
    commit(project, {"pipelines/alone.yaml": "name: alone\n"})
    git(project, "checkout", "--quiet", "-b", "mended")
    commit(project, {"pipelines/alone.yaml": whole})
    (reasons,) = would(project, "--select", "state:modified").values()
    assert reasons[0].startswith("modified: the baseline's pipeline cannot be used: pipelines/")


def test_without_a_baseline_everything_is_modified(project):
    git(project, "checkout", "--quiet", "--orphan", "island")
    commit(project, {})
    found = would(project, "--select", "state:modified")
    assert len(found) == 4
    assert found["raw"] == ["modified: no baseline: main and the head share no history"]


def test_a_dry_run_runs_nothing_and_leaves_nothing(project):
    commit(project, {"prompts/clean.txt": PROMPT + "Be brief.\n"})
    done = loom(project, "run", "--select", "state:modified+", "--dry-run", "--explain")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == "Would run 2 pipelines:"
    assert lines[1].startswith("  clean: modified: prompts/clean.txt: ")
    assert lines[2] == "  report: downstream of clean"
    assert git(project, "status", "--porcelain", "--ignored") == ""


def test_explain_says_why_before_it_runs(project):
    commit(project, {"prompts/clean.txt": PROMPT + "Be brief.\n"})
    loom(project, "run", "raw")
    done = loom(project, "run", "--select", "state:modified", "--explain")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("clean: modified: prompts/clean.txt: ")
    assert lines[1].startswith("Pipeline: clean")
    assert ran(project) == ["raw", "clean"]


def test_an_empty_selection_runs_nothing_and_is_no_fault(project):
    done = loom(project, "run", "--select", "state:modified")
    assert (done.returncode, done.stdout) == (0, "No pipeline is selected\n")
    assert ran(project) == []


BESIDE = "review_id,review,expected\nr-1,great,positive\n"


@pytest.mark.parametrize(
    ("reviews", "began"),
    [
        ("review_id,review,expected\nr-1,great,negative\n", ["alone", "raw"]),
        ("review_id,review\nr-1,great\n", ["alone"]),  # nothing to compare with: it never begins
    ],
)
def test_what_fails_stops_those_behind_it_and_nothing_else(project, reviews, began):
    text = (project / "pipelines/alone.yaml").read_text()
    files = {
        "data/reviews.csv": reviews,
        "data/own.csv": BESIDE,
        "pipelines/alone.yaml": text.replace("data/reviews.csv", "data/own.csv"),
        "pipelines/raw.yaml": pipeline("raw", more="max_failure_rate: 0.1\n"),
    }
    write(project, files)
    done = loom(project, "run", "--select", "raw+ alone", "--json")
    assert done.returncode == (1 if "raw" in began else 2)
    assert "clean is skipped: its upstream pipeline raw failed" in done.stderr
    assert "report is skipped: its upstream pipeline raw failed" in done.stderr
    assert ran(project) == began
    document = json.loads(done.stdout)
    assert len(document["runs"]) == len(began)
    refused = [error["pipeline"] for error in document.get("errors", ())]
    assert refused == [name for name in ["raw"] if name not in began]


def test_a_cycle_is_a_fault_that_names_the_pipelines(project):
    text = (project / "pipelines/raw.yaml").read_text()
    write(project, {"pipelines/raw.yaml": text + "depends_on: [report]\n"})
    done = loom(project, "run", "--select", "raw+")
    assert done.returncode == 2
    assert "these pipelines wait for each other: " in done.stderr
    for name in ("raw", "clean", "report"):
        assert name in done.stderr
    assert done.stderr.startswith("error: pipelines/")
    assert ran(project) == []


def test_a_dependency_that_is_no_pipeline_is_told_with_its_place(project):
    text = (project / "pipelines/report.yaml").read_text()
    write(project, {"pipelines/report.yaml": text.replace("[clean]", "[claen]")})
    for arguments in (["report"], ["--select", "raw+"]):
        done = loom(project, "run", *arguments)
        assert done.returncode == 2
        assert "depends_on: there is no pipeline 'claen'" in done.stderr
        assert "hint: did you mean 'clean'?" in done.stderr


def test_a_broken_pipeline_stops_a_selection_and_not_a_name(project):
    write(project, {"pipelines/alone.yaml": "name: alone\n"})
    with pytest.raises(ProblemsFound, match=r"pipelines/alone.yaml"):
        Project(project).select((), ("raw+",))
    chosen = Project(project).select(("report", "raw")).chosen
    assert [each.name for each in chosen] == ["raw", "report"]


def test_nothing_to_run_is_a_mistake_in_the_command(project):
    done = loom(project, "run")
    assert done.returncode == 2
    assert "PIPELINE" in done.stderr
    assert loom(project, "run", "--select", "nope").returncode == 2
    assert loom(project, "run", "nope").returncode == 2


def test_compare_takes_the_same_selections_against_the_same_baseline(project):
    commit(project, {"prompts/clean.txt": PROMPT + "Be brief.\n"})

    def compared(*expressions):
        found = Project(project).compare(select=expressions)
        return [each.pipeline for each in found.pipelines]

    assert compared() == ["alone", "clean", "raw", "report"]
    assert compared("state:modified") == ["clean"]
    assert compared("state:modified+") == ["clean", "report"]
    assert compared("tag:nightly", "+clean") == ["alone", "raw", "clean"]
    with pytest.raises(UserError, match="there is no pipeline nope"):
        compared("nope")
    done = loom(project, "compare", "--select", "state:modified", "--explain")
    assert done.returncode == 0
    assert "  differs: prompts/clean.txt: " in done.stdout
    assert "raw" not in done.stdout


def test_the_selection_of_compare_is_that_of_the_head_it_compares(project):
    commit(project, {"prompts/clean.txt": PROMPT + "Be brief.\n"})
    git(project, "checkout", "--quiet", "main")
    found = Project(project).compare(expression="main..feature", select=("state:modified",))
    assert [each.pipeline for each in found.pipelines] == ["clean"]
