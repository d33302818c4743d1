"""A machine that lacks something: one line, the right exit code, nothing half-written."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import loom
from tests.projects import PIPELINE, make_project
from tests.repos import commit

LOOM = [sys.executable, "-m", "loomgit"]


def run(project, *arguments, env=None, **options):
    usual = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "LOOM_"))}
    return subprocess.run(
        [*LOOM, *arguments], cwd=project, env={**usual, **(env or {})}, text=True, check=False,
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
    )  # fmt: skip


def lines(text):
    return [line for line in text.splitlines() if not line.startswith("hint: ")]


@pytest.mark.parametrize("arguments", [["run", "demo"], ["compare"], ["log", "prompts"]])
def test_without_git(tmp_path, arguments):
    project = make_project(tmp_path / "project")
    done = run(project, *arguments, env={"PATH": str(tmp_path)})
    assert done.returncode in (2, 4)
    assert "`git` command was not found" in done.stderr
    assert "GIT_PYTHON" not in done.stderr
    assert "bug in Loom" not in done.stderr


def test_without_an_identity(tmp_path):
    project = make_project(tmp_path / "project")
    env = {"HOME": str(tmp_path), "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for name in ("EMAIL", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
        env[name] = ""
    subprocess.run(["git", "config", "user.useConfigOnly", "true"], cwd=project, check=True)
    for key in ("user.name", "user.email"):
        subprocess.run(["git", "config", "--unset", key], cwd=project, check=False)
    done = run(project, "tag", "prompts/classify.txt", "v1", env=env)
    assert done.returncode == 2, done.stderr
    assert "Git does not know your name and email" in done.stderr
    assert "user.email" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_repository_of_another_user(tmp_path):
    project = make_project(tmp_path / "project")
    subprocess.run(["chown", "-R", "nobody", str(project)], check=True)
    done = run(project, "run", "demo", env={"HOME": str(tmp_path), "SUDO_UID": ""})
    assert done.returncode == 2, done.stderr
    assert "belongs to another user" in done.stderr
    assert f"git config --global --add safe.directory {project}" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [["runs", "list"], ["run", "demo", "--json"], ["validate"]])
def test_a_full_standard_output(tmp_path, arguments):
    project = make_project(tmp_path / "project")
    with Path("/dev/full").open("w") as full:
        done = run(project, *arguments, stdout=full)
    assert done.returncode == 4
    assert lines(done.stderr)[-1] == f"error: {os.strerror(errno.ENOSPC)}"
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_gone(tmp_path):
    script = (
        "import os, sys\nfrom loomgit import cli\n"
        "os.mkdir('gone')\nos.chdir('gone')\nos.rmdir('../gone')\ncli.main(sys.argv[1:])\n"
    )
    for arguments in (["run", "x"], ["init"], ["validate"], ["hooks", "status"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2, done.stderr
        assert lines(done.stderr) == ["error: the current folder does not exist"]


def test_a_disk_that_fills_up_leaves_no_empty_file(tmp_path, monkeypatch):
    from loomgit.history import atomic_files

    written = []

    def fill(aside, content):
        written.append(aside)
        if len(written) > 3:
            aside.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(b"")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(aside, content)

    real = atomic_files._fill
    monkeypatch.setattr(atomic_files, "_fill", fill)
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    done = loom(tmp_path, "init")
    assert done.returncode == 4
    assert os.strerror(errno.ENOSPC) in done.stderr
    left = [path for path in tmp_path.rglob("*") if path.is_file() and ".git" not in path.parts]
    assert len(left) == 3
    assert all(path.stat().st_size for path in left)
    monkeypatch.undo()
    assert loom(tmp_path, "init").returncode == 0
    assert loom(tmp_path, "validate").returncode == 0


@pytest.mark.parametrize("folder", ["pipelines", "prompts", "tests", "pipelines/deep"])
def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch, folder):
    """As the user of a CI system meets it; root reads everything."""
    project = make_project(tmp_path / "project", **{"tests/none.txt": "", "pipelines/deep/x": ""})
    scandir = os.scandir

    def refuse(path="."):
        if not isinstance(path, int) and Path(path) == project / folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = loom(project, "validate")
    if folder == "prompts":  # no command lists it: a prompt is opened by its name
        assert done.returncode == 0
        return
    assert done.returncode == 4, done.stdout + done.stderr
    assert f"{project / folder} cannot be read" in done.stdout + done.stderr


NUMBERS = {
    "a limit of twenty digits": (["run", "demo", "--limit", "9" * 20], "not in the range"),
    "a negative limit": (["run", "demo", "--limit", "-1"], "not in the range"),
    "no number": (["run", "demo", "--limit", "1e3"], "not a valid integer"),
    "a drop that is not a number": (["power", "--drop", "nan"], "not a share"),
    "an infinite drop": (["power", "--drop", "inf"], "not a share"),
    "a budget that is not a number": (["run", "demo", "--budget", "nan"], "not a number"),
    "an infinite budget": (["compare", "--run-missing", "--budget", "inf"], "not a number"),
    "a budget of ci": (["ci", "--budget", "nan"], "not a number"),
    "too many concurrent calls": (["test", "--concurrency", "1000000"], "not in the range"),
    "too many samples": (["test", "--samples", "9" * 30], "not in the range"),
}


@pytest.mark.parametrize(("arguments", "message"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_that_no_machine_keeps(tmp_path, arguments, message):
    project = make_project(tmp_path / "project")
    done = loom(project, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert not (project / ".loom/runs").exists()


@pytest.mark.parametrize(
    ("line", "place"),
    [
        ("  concurrency: 1000000", "pipelines/demo.yaml:7:3"),
        ("  batch_size: 99999999999", "pipelines/demo.yaml:7:3"),
        ("  max_tokens: 9999999999999999999999", "pipelines/demo.yaml:7:3"),
    ],
)
def test_numbers_in_a_file(tmp_path, line, place):
    text = PIPELINE.replace("  prompt:", f"{line}\n  prompt:")
    project = make_project(tmp_path / "project", **{"pipelines/demo.yaml": text})
    for arguments in (["validate"], ["run", "demo"]):
        done = loom(project, *arguments)
        assert done.returncode == 2
        assert place in done.stdout + done.stderr


def test_a_bug_is_still_called_one(tmp_path, monkeypatch):
    from loomgit.api import Project

    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(Project, "find", fail)
    commit(make_project(tmp_path / "project"), {}, "x")
    done = loom(tmp_path / "project", "run", "demo")
    assert done.returncode == 3
    assert "bug in Loom" in done.stderr
