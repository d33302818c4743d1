"""A store and a cassette of evaluation format 1: replayed without a call, and not compared."""

import shutil
from pathlib import Path

import pytest

from loomgit.history import schema
from tests.projects import PROMPT
from tests.pytest_plugin.sessions import loom
from tests.repos import CLEAN, commit, git, make

HERE = Path(__file__).parent / "evaluation-1"
AT = {"GIT_AUTHOR_DATE": "2026-01-05T10:00:00Z", "GIT_COMMITTER_DATE": "2026-01-05T10:00:00Z"}
COMMITS = (
    "f1cc05cef9469ac30b901ebf82f5f4bcbc23d25c",
    "6a169dc7d20c0ac8160b6c828cc1de883e068354",
)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """The project that was recorded, at its two commits, with what was kept of it."""
    for name, value in AT.items():
        monkeypatch.setitem(CLEAN, name, value)
    folder = make(tmp_path / "project")
    shutil.copytree(HERE / "base", folder, dirs_exist_ok=True)
    base = commit(folder, {}, "Begin")
    head = commit(folder, {"prompts/classify.txt": PROMPT + "\nBe brief.\n"}, "Be brief")
    assert (base, head) == COMMITS
    shutil.copytree(HERE / "store", folder / ".loom")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1")  # no call is made
    return folder


def test_what_is_kept_has_questions_of_the_first_format():
    for path in sorted((HERE / "store/runs").rglob("*.json")):
        assert "format" not in schema.from_json(path.read_bytes()).question


def test_the_cassette_answers_every_call(project):
    done = loom(project, "test", "--replay", "only")
    assert done.code == 0, done.out
    assert "mean_score > 0.1 (actual: 0.95)" in done.out


def test_older_results_are_not_compared_and_the_reason_is_named(project):
    loom(project, "test", "--replay", "only")
    done = loom(project, "compare", "HEAD~1")
    assert done.code == 0
    assert "not comparable: evaluation format: 1 -> 3" in done.out
    assert "another version of Loom: --run-missing measures them again" in done.out
    assert loom(project, "compare", "HEAD~1", "--strict").code == 1


def test_the_cassette_measures_both_sides_again(project):
    for revision in ("main~1", "main"):
        git(project, "checkout", "--quiet", revision)
        assert loom(project, "test", "--replay", "only").code == 0
    done = loom(project, "compare", "HEAD~1")
    assert done.code == 0, done.out
    assert "label: no difference in 6 cases" in done.out
