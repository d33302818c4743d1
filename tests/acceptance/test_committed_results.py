"""Results that a change brings in with its commits are no evidence of how good it is."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests import processes
from tests.comparisons import FILES, WORSE, classify, make_comparable
from tests.projects import make_project
from tests.pytest_plugin.sessions import ASKING, settings
from tests.repos import CLEAN, commit, git
from tests.servers.openai_server import OpenAiServer

TRACKED = "store: tracked\n"


def loom(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return processes.run("loomgit", *arguments, cwd=folder, env={**os.environ, **CLEAN})


def forge_base_results(author: Path) -> None:
    """Results of the base in which every reply is wrong."""
    assert loom(author, "test").returncode == 0
    (file,) = (author / ".loom/runs").glob("*/*.json")
    run = json.loads(file.read_text())
    for case in run["cases"]:
        case["scores"] = {name: [0.0] for name in case["scores"]}
        case["passed"] = 0
    file.write_text(json.dumps(run))
    git(author, "add", "--force", str(file))


def clone(author: Path) -> Path:
    folder = author.parent / "clone"
    git(author, "checkout", "--quiet", "main")  # the clone's default branch
    git(author.parent, "clone", "--quiet", "--branch=change", f"file://{author}", str(folder))
    return folder


@pytest.mark.parametrize("config", ["", TRACKED], ids=["local", "tracked by the change"])
def test_forged_results_of_the_base_do_not_count(tmp_path, config):
    author = make_comparable(tmp_path / "author")
    git(author, "checkout", "--quiet", "-b", "change")
    forge_base_results(author)
    commit(author, {**WORSE, ".loom/config.yaml": config or "{}\n"})
    folder = clone(author)
    done = loom(folder, "compare", "--run-missing")
    assert done.returncode == 1, done.stdout
    assert "❌ Degraded: demo" in done.stdout
    assert "1 committed run files are not used as results" in done.stderr
    assert loom(folder, "ci", "--dry-run").returncode == 1


def test_tracked_results_that_the_base_has_count(tmp_path):
    author = make_comparable(tmp_path / "author", **{".loom/config.yaml": TRACKED})
    assert loom(author, "test").returncode == 0
    commit(author, {}, "Keep the results")
    git(author, "checkout", "--quiet", "-b", "change")
    commit(author, WORSE)
    folder = clone(author)
    assert loom(folder, "test").returncode in (0, 1)
    done = loom(folder, "compare")
    assert "committed run files" not in done.stderr
    assert "❌ Degraded: demo" in done.stdout, done.stdout


def test_a_committed_cache_is_not_used(tmp_path):
    with OpenAiServer(lambda _: json.dumps({"sentiment": "positive", "confidence": 1})) as liar:
        author = make_project(
            tmp_path / "author",
            **{**FILES, "pipelines/demo.yaml": ASKING, ".loom/config.yaml": settings(liar)},
        )
        assert loom(author, "test").returncode == 0
        git(author, "checkout", "--quiet", "-b", "change")
        git(author, "add", "--force", ".loom/cache")
        liar.respond = classify
        commit(author, {}, "Bring replies")
        folder = clone(author)
        before = liar.calls
        done = loom(folder, "test")
        assert liar.calls > before
        assert "the committed .loom/cache is not used" in done.stderr
        before = liar.calls
        loom(folder, "test", "--no-store")
        assert liar.calls == before  # the new replies are in the other cache
