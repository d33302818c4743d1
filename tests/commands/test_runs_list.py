import json

import pytest

from loomgit import cli
from loomgit.domain.versions import Commit
from loomgit.history.store import RunStore
from tests.repos import commit, make
from tests.runs import make_run


@pytest.fixture
def project(tmp_path, monkeypatch):
    folder = make(tmp_path / "work")
    first = commit(folder, {"pipelines/demo.yaml": "name: demo\n"})
    second = commit(folder, {"a.txt": "1"})
    store = RunStore(folder / ".loom", pytest.fail)
    store.save(make_run("uid-1", commit=Commit(first, branch="main")))
    store.save(
        make_run("uid-2", commit=Commit(second, branch="topic"), started="2026-11-23T10:00:00.000Z")
    )
    store.save(make_run("uid-3", commit=Commit("unborn", branch="main", dirty=True)))
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    ("flags", "uids"),
    [
        ([], ["uid-2", "uid-3", "uid-1"]),
        (["--branch", "topic"], ["uid-2"]),
        (["--commit", "HEAD~1"], ["uid-1"]),
        (["--commit", "main"], ["uid-2"]),
        (["--commit", "unborn"], ["uid-3"]),
        (["--since", "2026-11-22"], ["uid-2"]),
        (["--pipeline", "other"], []),
        (["--status", "failed"], []),
        (["--branch", "main", "--limit", "1"], ["uid-3"]),
    ],
)
def test_the_list_shows_what_was_asked_for(project, capsys, flags, uids):
    assert cli._run(["runs", "list", "--json", *flags]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [run["uid"] for run in document["runs"]] == uids


def test_a_commit_is_found_by_its_beginning(project, capsys):
    identity = json.loads((project / ".loom/runs").glob("*/uid-1.json").__next__().read_text())
    assert cli._run(["runs", "list", "--json", "--commit", identity["commit"]["id"][:7]]) == 0
    assert [run["uid"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["uid-1"]


def test_a_revision_that_is_not_there_is_named(project, capsys):
    assert cli._run(["runs", "list", "--commit", "no-such"]) == 2
    assert capsys.readouterr().err == "error: the commit no-such does not exist\n"
