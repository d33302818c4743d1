"""`loom compare` in repositories as people have them, which it leaves as they were."""

import os
import signal
import subprocess
import sys
import time

import pytest

from loomgit.api import Project
from loomgit.errors import LoomError, ProblemsFound
from tests.comparisons import (
    NEUTRAL,
    SUITE,
    WORSE,
    classify,
    copy_project,
    make_comparable,
    reviews,
    with_transform,
)
from tests.projects import FILES, PIPELINE, PROMPT
from tests.repos import commit, git, make, write
from tests.servers.openai_server import OpenAiServer

SMALL = {"data/reviews.csv": reviews(30), "tests/demo_test.yaml": SUITE}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A project of two branches: feature is worse than main."""
    folder = make_comparable(tmp_path_factory.mktemp("template") / "project", **SMALL)
    git(folder, "checkout", "--quiet", "-b", "feature")
    commit(folder, WORSE)
    return folder


@pytest.fixture
def project(template, tmp_path):
    return copy_project(template, tmp_path / "project")


def measure(folder, **wanted):
    return Project(folder, warn=pytest.fail).compare(run_missing=True, **wanted)


def clone(source, folder, *options):
    git(source.parent, "clone", "--quiet", *options, f"file://{source}", str(folder))
    return folder


# -- every kind of repository


def test_a_detached_head(project):
    git(project, "checkout", "--quiet", "--detach")
    assert measure(project).outcome == "degraded"


def test_a_test_merge_of_a_pull_request_at_depth_two(project, tmp_path):
    git(project, "checkout", "--quiet", "--detach", "main")
    commit(project, NEUTRAL)
    git(project, "branch", "--force", "main", "HEAD")
    git(project, "merge", "--quiet", "--no-ff", "-m", "test merge", "feature")
    git(project, "update-ref", "refs/pull/7/merge", "HEAD")
    runner = make(tmp_path / "runner")
    git(runner, "fetch", "--quiet", "--depth=2", f"file://{project}",
        "+refs/pull/7/merge:refs/remotes/pull/7/merge")  # fmt: skip
    git(runner, "checkout", "--quiet", "--detach", "refs/remotes/pull/7/merge")
    found = measure(runner)
    assert found.outcome == "degraded"
    assert found.base.name == "the pull request's base"
    assert len(found.pipelines[0].inputs) == 1  # its own change, not what main has besides


def test_a_shallow_clone_says_which_depth_it_takes(project, tmp_path):
    shallow = clone(project, tmp_path / "clone", "--depth=1", "--branch=feature")
    git(shallow, "fetch", "--quiet", "--depth=1", "origin", "+main:refs/remotes/origin/main")
    git(shallow, "remote", "set-head", "origin", "main")
    found = measure(shallow)
    assert (found.outcome, found.missing_baseline) == ("inconclusive", True)
    assert "fetch-depth 0" in found.notes[0]
    assert measure(clone(project, tmp_path / "two", "--depth=2", "--branch=feature"),
                   expression="HEAD~1..HEAD").outcome == "degraded"  # fmt: skip


def test_a_linked_worktree_shares_the_results(project, tmp_path):
    git(project, "worktree", "add", "--quiet", str(tmp_path / "linked"), "main")
    write(tmp_path / "linked", WORSE)
    assert measure(tmp_path / "linked").outcome == "degraded"
    assert Project(project).compare().outcome == "degraded"  # the same content: known


def test_a_submodule(project, tmp_path):
    whole = make(tmp_path / "whole")
    git(whole, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add",
        f"file://{project}", "part")  # fmt: skip
    commit(whole, {})
    assert measure(whole / "part", expression="origin/main").outcome == "degraded"


def test_a_folder_of_a_monorepo_whose_other_folders_do_not_matter(tmp_path):
    top = make(tmp_path / "repo")
    folder = top / "teams" / "one"
    write(folder, {**FILES, **SMALL})
    commit(top, {"pipelines/other.yaml": "not: a pipeline of ours"})
    git(top, "checkout", "--quiet", "-b", "feature")
    commit(top, {"teams/two/x.txt": "x", "context/taxonomy.md": "not ours"})
    found = measure(folder)
    assert found.outcome == "unchanged"
    assert found.pipelines[0].inputs == ()
    write(folder, WORSE)
    commit(top, {})
    found = measure(folder)
    assert found.outcome == "degraded"
    assert found.pipelines[0].inputs[0].startswith("context/taxonomy.md: ")


def test_a_repository_with_sha256(tmp_path):
    folder = make(tmp_path / "repo", "--object-format=sha256")
    commit(folder, {**FILES, **SMALL})
    git(folder, "checkout", "--quiet", "-b", "feature")
    commit(folder, WORSE)
    found = measure(folder)
    assert found.outcome == "degraded"
    assert len(found.base.commit) == 64


def test_names_with_spaces_and_of_all_alphabets(tmp_path):
    names = {
        "prompts/classify.txt": "prompts/bewertung für alle.txt",
        "context/taxonomy.md": "context/分類.md",
        "data/reviews.csv": "data/отзывы 1.csv",
    }
    pipeline, files = PIPELINE, {**FILES, **SMALL}
    suite = SUITE
    for old, new in names.items():
        pipeline, suite = pipeline.replace(old, new), suite.replace(old, new)
        files[new] = files.pop(old)
    files["prompts/bewertung für alle.txt"] = PROMPT.replace("context.taxonomy", "context['分類']")
    folder = make(tmp_path / "ein Ordner é")
    commit(folder, files | {"pipelines/demo.yaml": pipeline, "tests/demo_test.yaml": suite})
    git(folder, "checkout", "--quiet", "-b", "fix/ünïcode")
    commit(folder, {"context/分類.md": "Nothing."})
    found = measure(folder)
    assert found.outcome == "degraded"
    assert found.head.name == "fix/ünïcode"
    assert found.pipelines[0].inputs[0].startswith("context/分類.md: ")
    assert measure(folder, merged=("main", "fix/ünïcode")).outcome == "degraded"


def test_a_checkout_with_other_line_ends_differs_in_nothing(project):
    git(project, "config", "core.autocrlf", "true")
    for path in ("prompts/classify.txt", "context/taxonomy.md", "pipelines/demo.yaml"):
        (project / path).write_bytes((project / path).read_bytes().replace(b"\n", b"\r\n"))
    found = measure(project, expression="feature", head="worktree")
    assert found.outcome == "unchanged"
    assert found.pipelines[0].inputs == ()
    assert Project(project).runs() == []


def test_before_the_first_commit(tmp_path):
    folder = make(tmp_path / "repo")
    write(folder, {**FILES, **SMALL})
    found = measure(folder)
    assert found.missing_baseline
    assert found.notes == ("no baseline: there is no commit yet",)
    git(folder, "add", "--all")
    assert measure(folder, head="index").missing_baseline


def test_a_squash_merge_is_compared_with_the_commit_before_it(project):
    git(project, "checkout", "--quiet", "main")
    git(project, "merge", "--quiet", "--squash", "feature")
    git(project, "commit", "--quiet", "-m", "Squashed")
    found = measure(project)
    assert (found.outcome, found.base.name) == ("degraded", "HEAD^1")
    git(project, "checkout", "--quiet", "feature")
    found = measure(project, expression="main..feature")
    assert found.outcome == "unchanged"  # the same content by two ways


def test_a_prompt_that_was_renamed_twice_is_the_same_prompt(project):
    git(project, "checkout", "--quiet", "-B", "feature", "main")
    for old, new in (("classify.txt", "label.txt"), ("label.txt", "judge.txt")):
        git(project, "mv", f"prompts/{old}", f"prompts/{new}")
        text = PIPELINE.replace("prompts/classify.txt", f"prompts/{new}")
        commit(project, {"pipelines/demo.yaml": text})
    found = measure(project)
    assert found.outcome == "unchanged"
    assert Project(project).runs() == []
    assert "prompts/classify.txt: removed" in found.pipelines[0].inputs
    assert "prompts/judge.txt: added" in found.pipelines[0].inputs
    commit(project, WORSE)
    assert measure(project).outcome == "degraded"


def test_a_pinned_prompt_is_that_of_its_version_on_both_sides(project):
    git(project, "checkout", "--quiet", "main")
    git(project, "tag", "prompts/classify@v1")
    commit(project, {"pipelines/demo.yaml": with_transform("prompt_version: v1")})
    git(project, "checkout", "--quiet", "-B", "feature")
    commit(project, {"prompts/classify.txt": "Say something: {{ input.review }}"})
    assert measure(project).outcome == "unchanged"
    assert Project(project).runs() == []


def test_data_is_read_where_the_head_has_it(project):
    """The staged rows, though other ones lie in the working tree."""
    write(project, {"data/reviews.csv": reviews(40)})
    git(project, "add", "--all")
    write(project, {"data/reviews.csv": reviews(33)})
    assert len(measure(project, head="worktree").pipelines[0].added) == 3
    assert len(measure(project, head="index").pipelines[0].added) == 10


# -- nothing of the user's is touched


def kept(folder):
    """All that a comparison may not change: HEAD, refs, index, files, configuration."""
    return (
        git(folder, "status", "--porcelain=v2", "--branch", "--ignored"),
        git(folder, "for-each-ref"),
        git(folder, "stash", "list"),
        git(folder, "worktree", "list"),
        {name: (folder / ".git" / name).read_bytes() for name in ("index", "HEAD", "config")},
        {p: p.read_bytes() for p in folder.rglob("*")
         if p.is_file() and not {".git", ".loom"} & set(p.relative_to(folder).parts)},
    )  # fmt: skip


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """Where temporary files go, to see that none stays."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_no_comparison_touches_anything(project, temporary):
    write(project, NEUTRAL | {"untracked.txt": "x", ".loom/.gitignore": "*\n"})
    write(project, {"staged.txt": "x"})
    git(project, "add", "staged.txt")
    git(project, "status")  # so that the index knows its files
    before = kept(project)
    for wanted in (
        {}, {"expression": "main..feature"}, {"head": "index"}, {"aa": True},
        {"merged": ("main", "feature")}, {"select": ("state:modified",)},
    ):  # fmt: skip
        measure(project, **wanted)
        assert kept(project) == before, wanted
        assert list(temporary.iterdir()) == [], wanted


def test_exported_files_are_removed_when_something_is_wrong(project, temporary):
    write(project, {"tests/demo_test.yaml": SUITE.replace("reviews.csv", "nowhere.csv")})
    git(project, "add", "--all")
    with pytest.raises(LoomError, match="nowhere.csv"):
        measure(project, head="index")
    assert list(temporary.iterdir()) == []
    own = PIPELINE.replace("type: exact_match", "type: 'evaluators/own.py:judge'")
    commit(project, {"pipelines/demo.yaml": own, "tests/demo_test.yaml": SUITE})
    with pytest.raises(ProblemsFound, match=r"evaluators/own.py"):
        measure(project)
    assert list(temporary.iterdir()) == []


@pytest.fixture
def slow(project, monkeypatch):
    """The project on a model that takes its time, and the server."""
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-x")
    with OpenAiServer(classify, latency=0.1) as server:
        git(project, "checkout", "--quiet", "main")
        config = (
            f"defaults: {{cache: false, concurrency: 4}}\nmodels:\n  gpt-4o-mini:\n"
            f"    {{base_url: '{server.url}', api_key: '${{LOOM_TEST_KEY}}'}}\n"
        )
        commit(project, {"pipelines/demo.yaml": with_transform("model: gpt-4o-mini"),
                         ".loom/config.yaml": config})  # fmt: skip
        git(project, "checkout", "--quiet", "-B", "feature")
        commit(project, WORSE)
        yield project, server


def test_ctrl_c_keeps_what_was_drawn_and_leaves_no_files(slow, temporary):
    project, server = slow
    before = git(project, "status", "--porcelain")
    process = subprocess.Popen(
        [sys.executable, "-m", "loomgit", "compare", "--run-missing", "--head", "HEAD"],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while server.calls < 12 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert out == ""
    assert "samples were saved: run the same command again to continue" in err
    assert "Traceback" not in err
    assert list(temporary.iterdir()) == []
    assert (
        git(project, "status", "--porcelain").replace("?? .loom/.gitignore", "").strip() == before
    )
    drawn, server.latency = server.calls, 0.0
    assert 12 <= drawn < 62
    assert not any(run.complete for run in Project(project).runs())
    (part,) = Project(project).compare().pipelines
    assert 1 <= part.compared < 31
    assert measure(project).outcome == "degraded"
    assert server.calls == 62  # 31 cases of two versions: no call was made twice


def test_a_second_ctrl_c_does_not_wait(slow, temporary):
    project, server = slow
    server.latency = 20.0
    process = subprocess.Popen(
        [sys.executable, "-m", "loomgit", "compare", "--run-missing"],
        cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ},
    )  # fmt: skip
    assert server.arrived.wait(60)
    started = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.monotonic() - started < 15
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert list(temporary.iterdir()) == []
