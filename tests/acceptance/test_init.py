"""`loom init`, and what it makes: run, tested, guarded; and the project's own workflows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests import processes
from tests.repos import CLEAN, commit, git, make, write

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **CLEAN, **variables}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )


def installed(name: str) -> str:
    """A command of this Python's packages, which need not be on PATH, or another of that name."""
    beside = Path(sys.executable).parent
    found = shutil.which(name, path=str(beside)) or shutil.which(name)
    assert found is not None, f"{name} is in the lock file: install what it names"
    return found


def loom(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return processes.run("loomgit", *arguments, cwd=folder, env={**os.environ, **CLEAN})


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fresh")
    done = loom(folder, "init", "--github", "--pre-commit", "--hooks")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(fresh, tmp_path):
    return Path(shutil.copytree(fresh, tmp_path / "project", symlinks=True))


def test_a_fresh_project_runs_is_valid_and_its_tests_are_green(project):
    done = loom(project, "run", "reviews", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["results"]["records_validated"] == 20
    assert loom(project, "validate").returncode == 0
    done = run(project, sys.executable, "-m", "pytest", "--loom", "-q")
    assert done.returncode == 0, done.stdout
    assert "5 passed" in done.stdout


def test_all_that_is_made_can_be_committed_and_pushed(project):
    git(project, "config", "user.name", "Ada")
    git(project, "config", "user.email", "ada@example.org")
    loom(project, "run", "reviews")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "Begin")
    assert git(project, "status", "--porcelain") == ""
    assert "out/" not in git(project, "ls-files")
    git(project.parent, "init", "--quiet", "--bare", "remote.git")
    git(project, "remote", "add", "origin", str(project.parent / "remote.git"))
    done = run(project, "git", "push", "origin", "HEAD")
    assert done.returncode == 0, done.stderr
    assert "loom: pre-push passed" in done.stderr
    commit(project, {"context/sentiment.md": "There are two kinds.\n"}, "Worse")
    done = run(project, "git", "push", "origin", "HEAD")
    assert done.returncode != 0
    assert "Degraded: reviews" in done.stderr


def test_nothing_is_overwritten_and_what_is_left_is_said(project):
    (project / "prompts/classify_review.txt").write_text("mine\n")
    (project / ".gitignore").write_text("mine\n")
    before = files(project)
    done = loom(project, "init", "--github", "--pre-commit")
    assert done.returncode == 0
    assert files(project) == before
    assert "skipped  .github/workflows/loom.yml: the file exists" in done.stdout
    assert "made" not in done.stdout


def test_a_project_with_pipelines_gets_no_example(tmp_path):
    folder = make(tmp_path / "old")
    write(folder, {"pipelines/own.yaml": "name: own\n", ".gitignore": "mine\n"})
    document = json.loads(loom(folder, "init", "--json").stdout)
    assert document["example"] is False
    assert document["left"] == []
    assert document["made"] == [
        ".loom/config.yaml",
        ".loom/schemas/pipeline.json",
        ".loom/schemas/test.json",
        ".loom/schemas/config.json",
        ".loom/schemas/app.json",
        ".loom/schemas/dependencies.json",
    ]


def test_a_gitignore_of_ones_own_is_left_with_the_line_to_add(tmp_path):
    (tmp_path / ".gitignore").write_text("mine\n")
    done = loom(tmp_path, "init")
    assert "skipped  .gitignore: the file exists; add /out/ to it" in done.stdout


def test_editors_find_the_schemas_and_the_files_fit_them(project):
    jsonschema = pytest.importorskip("jsonschema_rs")
    for name in ("pipelines/reviews.yaml", "tests/reviews_test.yaml", ".loom/config.yaml"):
        file = project / name
        first, _, rest = file.read_text().partition("\n")
        where = first.removeprefix("# yaml-language-server: $schema=")
        schema = json.loads((file.parent / where).read_text())
        assert jsonschema.is_valid(schema, yaml.safe_load(rest)), name
        assert not jsonschema.is_valid(schema, {"nonsense": 1})


def test_in_a_subfolder_the_workflows_go_to_the_top_and_know_the_way(tmp_path):
    top = make(tmp_path / "whole")
    folder = top / "apps/a bot"
    folder.mkdir(parents=True)
    done = loom(folder, "init", "--github", "--pre-commit")
    assert done.returncode == 0, done.stderr
    assert "created  ../../.github/workflows/loom.yml" in done.stdout
    workflow = yaml.safe_load((top / ".github/workflows/loom.yml").read_text())
    job = workflow["jobs"]["prompts"]
    assert job["defaults"]["run"]["working-directory"] == "apps/a bot"
    assert "apps/a bot/.loom/cache\n" in job["steps"][3]["with"]["path"]
    config = yaml.safe_load((top / ".pre-commit-config.yaml").read_text())
    entry = config["repos"][0]["hooks"][0]["entry"]
    assert entry == "loom hooks run pre-push --project 'apps/a bot'"


# -- workflows


def workflows(fresh: Path) -> list[Path]:
    return [*WORKFLOWS, *sorted((fresh / ".github/workflows").glob("*.yml"))]


def steps_of(workflow: dict) -> list[dict]:
    if "runs" in workflow:
        return workflow["runs"]["steps"]
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_actions_are_pinned_to_a_commit(fresh):
    action = ROOT / ".github/actions/loom/action.yml"
    for file in [*workflows(fresh), action]:
        for step in steps_of(yaml.safe_load(file.read_text())):
            uses = step.get("uses", "./")
            pinned = uses.startswith("./") or len(uses.partition("@")[2]) == 40
            assert pinned, f"{file}: {uses}"


def test_workflows_may_do_no_more_than_they_need(fresh):
    writers = {"release.yml": "id-token"}  # trusted publishing; the others may comment
    for file in workflows(fresh):
        workflow = yaml.safe_load(file.read_text())
        assert workflow["permissions"] in ({}, {"contents": "read"}), file
        for job in workflow["jobs"].values():
            writes = [what for what, how in job.get("permissions", {}).items() if how == "write"]
            assert writes in ([], [writers.get(file.name, "pull-requests")]), file
        for step in steps_of(workflow):
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
            # what others can choose (titles, branches) never becomes part of a script
            assert "${{" not in step.get("run", ""), file


def test_only_the_last_job_of_a_release_may_publish_and_it_runs_no_code():
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]
    assert jobs["publish"]["needs"] == "check"
    assert jobs["check"]["needs"] == "build"
    assert not [step for step in jobs["publish"]["steps"] if "run" in step]


@pytest.mark.parametrize(("tag", "code"), [("v0.1.0", 0), ("v0.1", 1), ("v0.1.0rc1", 1)])
def test_a_release_has_the_version_that_its_tag_names(tmp_path, tag, code):
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    [check] = [step["run"] for step in jobs["build"]["steps"] if "tag" in step.get("name", "")]
    write(tmp_path, {"dist/loom_aietl-0.1.0-py3-none-any.whl": ""})
    done = run(tmp_path, "bash", "-e", "-c", check, GITHUB_REF_NAME=tag)
    assert done.returncode == code
    assert ("::error file=loomgit/__init__.py::the tag is" in done.stdout) == bool(code)


def test_the_workflow_that_may_comment_runs_nothing_of_a_pull_request(fresh):
    workflow = yaml.safe_load((fresh / ".github/workflows/loom-comment.yml").read_text())
    assert list(workflow[True]) == ["workflow_run"]  # YAML reads `on` so
    steps = steps_of(workflow)
    assert not [step for step in steps if "checkout" in step.get("uses", "")]
    assert "loom ci --publish" in steps[-1]["run"]


def test_workflows_fit_the_public_schema(fresh):
    checker = installed("check-jsonschema")
    for schema, found in (
        ("vendor.github-workflows", workflows(fresh)),
        ("vendor.github-actions", [ROOT / ".github/actions/loom/action.yml"]),
    ):
        done = run(ROOT, checker, "--builtin-schema", schema, *map(str, found))
        assert done.returncode == 0, done.stdout


# -- the pre-commit framework

LOCAL = """\
repos:
  - repo: HOOKS
    rev: REV
    hooks:
      - id: loom-pre-push
      - id: loom-pre-commit
      - id: loom-commit-msg
"""


def test_the_pre_commit_framework_drives_all_three_hooks(project, tmp_path):
    """Its own hooks, from our manifest; only that it need not build an environment for them."""
    framework = installed("pre-commit")
    manifest = (ROOT / ".pre-commit-hooks.yaml").read_text()
    source = make(tmp_path / "hooks")
    rev = commit(
        source,
        {".pre-commit-hooks.yaml": manifest.replace("language: python", "language: system")},
    )
    bin_ = tmp_path / "bin"
    write(bin_, {"loom": f'#!/bin/sh\nexec "{sys.executable}" -m loomgit "$@"\n'})
    (bin_ / "loom").chmod(0o755)
    variables = {
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "PRE_COMMIT_HOME": str(tmp_path / "home"),
    }
    loom(project, "hooks", "uninstall")
    config = LOCAL.replace("HOOKS", str(source)).replace("REV", rev)
    git(project, "config", "user.name", "Ada")
    git(project, "config", "user.email", "ada@example.org")
    git(project.parent, "init", "--quiet", "--bare", "remote.git")
    git(project, "remote", "add", "origin", str(project.parent / "remote.git"))
    commit(project, {".pre-commit-config.yaml": config}, "Begin")
    git(project, "push", "--quiet", "--set-upstream", "origin", "HEAD")
    for kind in ("pre-push", "pre-commit", "commit-msg"):
        done = run(project, framework, "install", "--hook-type", kind, **variables)
        assert done.returncode == 0, done.stderr

    write(project, {"context/sentiment.md": "There are two kinds.\n"})
    done = run(project, "git", "commit", "-a", "-m", "Worse", **variables)
    assert done.returncode != 0
    assert "Degraded: reviews" in done.stdout + done.stderr
    skipped = {**variables, "SKIP": "loom-pre-commit"}
    done = run(project, "git", "commit", "-a", "-m", "Worse", **skipped)
    assert done.returncode != 0  # commit-msg
    accepted = "Worse\n\nLoom-Accept: reviews: the words move"
    done = run(project, "git", "commit", "-a", "-m", accepted, **skipped)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(project, "git", "push", "origin", "HEAD", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "accepted: reviews: the words move" in done.stdout + done.stderr

    branch = git(project, "branch", "--show-current")
    git(project, "checkout", "--quiet", "-b", "other", "HEAD~1")
    write(project, {"context/sentiment.md": "There are three kinds.\n"})
    git(project, "commit", "--quiet", "--no-verify", "-a", "-m", "Worse")
    done = run(project, "git", "push", "origin", f"other:{branch}-2", **variables)
    assert done.returncode != 0
    assert "Degraded: reviews" in done.stdout + done.stderr
    git(project, "reset", "--quiet", "--hard", "HEAD~1")
    write(project, {"src/code.py": "pass\n"})
    git(project, "add", "src")
    done = run(project, "git", "commit", "-m", "Code", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(project, "git", "push", "origin", "other", **variables)
    assert done.returncode == 0, done.stdout + done.stderr
