"""Projects whose files are not what they should be: one line, the right exit code, no waiting."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.command import loom
from tests.projects import PIPELINE, make_project

RUN, COMPARE, VALIDATE = ("run", "demo"), ("compare",), ("validate",)


def file(name, text="x"):
    def make(project):
        path = project / name
        if path.is_dir():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return make


def folder(name):
    def make(project):
        (project / name).unlink(missing_ok=True)
        (project / name).mkdir(parents=True)

    return make


def link(name, target):
    def make(project):
        (project / name).unlink()
        (project / name).symlink_to(target)

    return make


def pipe(name):
    def make(project):
        path = project / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    return make


def without(name):
    return lambda project: shutil.rmtree(project / name)


def without_objects(project):
    for path in (project / ".git" / "objects").iterdir():
        if len(path.name) == 2:
            shutil.rmtree(path)


def bare(project):
    subprocess.run(["git", "config", "core.bare", "true"], cwd=project, check=True)


# The damage, the command, the exit code, a part of the line.
DAMAGES = {
    "loom is a file": (file(".loom"), RUN, 4, ".loom/.gitignore cannot be written"),
    "runs is a file": (file(".loom/runs"), RUN, 4, ".loom/runs cannot be written"),
    "records is a file": (file(".loom/records"), RUN, 4, ".loom/records"),
    "state is a file": (file(".loom/state"), RUN, 4, ".loom/state"),
    "the configuration is a folder": (folder(".loom/config.yaml"), RUN, 2, "a directory"),
    "HEAD is garbage": (file(".git/HEAD", "garbage"), RUN, 2, "is not in a Git repository"),
    "the index is garbage": (file(".git/index", "garbage"), RUN, 4, "index file smaller"),
    "the index is garbage, compared": (file(".git/index", "x"), COMPARE, 4, "index file smaller"),
    "no repository": (without(".git"), RUN, 2, "is not in a Git repository"),
    "no objects": (without_objects, RUN, 4, "bad object HEAD"),
    "no objects, compared": (without_objects, COMPARE, 4, "bad object HEAD"),
    "a bare repository": (bare, RUN, 2, "is a bare repository"),
    "out is a file": (file("out"), RUN, 2, "out is a file, not a folder"),
    "the database is a folder": (folder("out/demo.db"), RUN, 2, "is a folder, not a file"),
    "the database is garbage": (file("out/demo.db", "x" * 9999), RUN, 2, "is not a SQLite"),
    "prompts is a file": (file("prompts"), RUN, 2, "prompts/classify.txt does not exist"),
    "context is a file": (file("context"), RUN, 2, "context/taxonomy.md does not exist"),
    "pipelines is a file": (file("pipelines"), VALIDATE, 2, "is not in a Loom project"),
    "tests is a file": (file("tests"), ("test",), 2, "no test files found"),
    "a link to nothing": (
        link("data/reviews.csv", "nowhere.csv"), RUN, 2, "a link to a file that does not exist"
    ),
    "a link to itself": (
        link("data/reviews.csv", "reviews.csv"), RUN, 2, "a link to a file that does not exist"
    ),
    "the data is a folder": (folder("data/reviews.csv"), RUN, 2, "is a folder, not a file"),
    "the data is empty": (file("data/reviews.csv", ""), RUN, 2, "is empty"),
    "the data is UTF-16": (
        lambda project: (project / "data/reviews.csv").write_bytes("a,b".encode("utf-16")),
        RUN, 2, "is not UTF-8",
    ),
    "the pipeline is a folder": (folder("pipelines/demo.yaml"), RUN, 2, "pipelines/demo.yaml"),
    "the prompt is a folder": (folder("prompts/classify.txt"), RUN, 2, "prompts/classify.txt"),
    "the prompt is not text": (
        lambda project: (project / "prompts/classify.txt").write_bytes(b"\xff\xfe\x00"),
        RUN, 2, "not UTF-8",
    ),
}  # fmt: skip
PIPES = {
    "the data": (pipe("data/reviews.csv"), RUN, "is not a regular file"),
    "the pipeline": (pipe("pipelines/demo.yaml"), RUN, "is not a regular file"),
    "the configuration": (pipe(".loom/config.yaml"), RUN, "is not a regular file"),
    "the prompt": (pipe("prompts/classify.txt"), RUN, "prompts/classify.txt does not exist"),
    "a test file": (pipe("tests/x_test.yaml"), ("test",), "no test files found"),
}


def require_one_line(done, code, part):
    assert done.returncode == code, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("hint: ")]
    assert line.startswith("error: ")
    assert part in line
    assert "bug in Loom" not in line
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_one_line(tmp_path, name):
    damage, arguments, code, part = DAMAGES[name]
    project = make_project(tmp_path / "project")
    damage(project)
    shown = loom(project, *arguments)
    validated = "\n".join(line.strip() for line in shown.stdout.splitlines())
    if arguments == VALIDATE and not shown.stderr:
        assert part in validated
        assert shown.returncode == code
    else:
        require_one_line(shown, code, part)
    for path in project.rglob("*"):
        assert not path.name.endswith((".part", ".tmp"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
@pytest.mark.parametrize("name", PIPES)
def test_a_named_pipe_is_not_waited_for(tmp_path, name):
    damage, arguments, part = PIPES[name]
    project = make_project(tmp_path / "project")
    damage(project)
    done = subprocess.run(
        [sys.executable, "-m", "loomgit", *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    require_one_line(done, 2, part)


def test_a_damaged_index_of_runs_is_made_anew(tmp_path):
    project = make_project(tmp_path / "project", **{"pipelines/demo.yaml": PIPELINE})
    assert loom(project, *RUN).returncode == 0
    (project / ".loom" / "index.json").write_text("{{{")
    done = loom(project, "runs", "list")
    assert done.returncode == 0
    assert "demo" in done.stdout
