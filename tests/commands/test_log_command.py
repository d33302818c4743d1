import json
import subprocess
import sys

import pytest

from loomgit import cli
from loomgit.api import Project
from loomgit.domain.versions import Commit
from loomgit.wiring.revision import ProjectRevision
from tests.repos import commit, make, write
from tests.runs import make_run

PATH = "prompts/a.txt"
PIPELINE = """\
name: {name}
version: "1"
extract: {{source: data/a.csv}}
transform: {{prompt: prompts/a.txt}}
evaluate:
  evaluators:
    - {{name: label, type: contains, config: {{value: x}}}}
load: {{destination: sqlite://out/a.db/scores}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = make(tmp_path / "work")
    files = {f"pipelines/{name}.yaml": PIPELINE.format(name=name) for name in ("demo", "other")}
    first = commit(folder, {**files, PATH: "one\n"}, "First")
    project = Project(folder, warn=pytest.fail)
    for uid, pipeline in (("uid-1", "demo"), ("uid-2", "other")):
        config = ProjectRevision(project.wiring).version(pipeline).plan.config()
        made = make_run(uid, pipeline=pipeline, commit=Commit(first), config=config)
        project.wiring.store.save(made)
    commit(folder, {PATH: "two\n"}, "Second")
    monkeypatch.chdir(folder)
    return folder


def versions(capsys, *flags):
    assert cli._run(["log", PATH, "--json", *flags]) == 0
    return json.loads(capsys.readouterr().out)["versions"]


def test_the_log_joins_history_and_runs(project, capsys):
    new, old = versions(capsys)
    assert [new["subject"], new["runs"], old["subject"], old["runs"]] == ["Second", 0, "First", 2]
    assert old["scores"] == {"label": {"mean": 0.9, "n": 10}}
    assert old["cost_per_record"] == 0.05
    assert old["pipelines"] == ["demo", "other"]
    assert [(found["pipeline"], found["own"]) for found in old["results"]] == [
        ("demo", True), ("other", True),
    ]  # fmt: skip


def test_each_pipeline_has_a_line_of_its_own(project, capsys):
    assert cli._run(["log", PATH]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()[6:]) for line in lines[2:3]] == ["- $0.05 2026-11-21-001 First"]
    assert [line.split() for line in lines[3:5]] == [
        ["1", "0.900", "2026-11-21-001", f"{name},", "pipeline", "runs"]
        for name in ("demo", "other")
    ]


def test_a_pipeline_and_a_limit_narrow_it(project, capsys):
    assert versions(capsys, "--pipeline", "other")[1]["runs"] == 1
    assert len(versions(capsys, "--limit", "1")) == 1


def test_the_path_may_be_given_from_a_folder_within(project, capsys, monkeypatch):
    monkeypatch.chdir(project / "prompts")
    assert cli._run(["log", "a.txt"]) == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    assert (head.split()[0], first.split()[-1]) == ("VERSION", "Second")


def test_what_was_never_there_exits_2_with_a_hint(project, capsys):
    assert cli._run(["log", "prompts/b.txt"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: prompts/b.txt is neither in the working tree nor in the history")
    assert "hint: did you mean 'prompts/a.txt'?" in said
    assert cli._run(["log", PATH, "--pipeline", "dem"]) == 2
    assert "hint: did you mean 'demo'?" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "begins"), [("a.png", b"\x89PNG"), ("a.SVG", b"<?xml")])
def test_a_picture_is_written(project, capsys, name, begins):
    assert cli._run(["log", PATH, "--plot", name]) == 0
    assert (project / name).read_bytes().startswith(begins)
    assert f"Wrote the plot to {name}" in capsys.readouterr().out


def test_a_picture_that_cannot_be_is_an_error(project, capsys):
    assert cli._run(["log", PATH, "--plot", "a.jpg"]) == 2
    assert capsys.readouterr() == ("", "error: unknown image format: a.jpg\n"
                                   "hint: use a name that ends in .png or .svg\n")  # fmt: skip
    assert cli._run(["log", PATH, "--plot", "no/such/a.png"]) == 4
    assert "a.png cannot be written: No such file" in capsys.readouterr().err


def test_matplotlib_is_loaded_only_to_plot(project):
    assert cli._run(["log", PATH]) == 0  # .loom has its .gitignore from here on
    script = "import sys; from loomgit import cli; cli._run(['log', 'prompts/a.txt']); "
    script += "sys.exit('matplotlib' in sys.modules or 'pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=False, capture_output=True)  # parses
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_a_project_without_runs_gets_no_index(tmp_path, capsys, monkeypatch):
    folder = make(tmp_path / "bare")
    write(folder, {PATH: "one\n", "pipelines/x.yaml": ""})
    monkeypatch.chdir(folder)
    assert cli._run(["log", PATH]) == 0
    assert "(not committed)" in capsys.readouterr().out
    assert not (folder / ".loom").exists()
