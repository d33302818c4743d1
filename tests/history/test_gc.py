import os
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from msgspec.structs import replace

from loomgit import cli
from loomgit.domain.versions import Commit
from loomgit.history.gc import choose_removals, collect, find_reachable
from loomgit.history.repository import Repository
from loomgit.history.store import RunStore
from tests.repos import commit, git, make
from tests.runs import make_run

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
OLD = NOW - timedelta(days=91)
YOUNG = NOW - timedelta(days=89)
LOST = "d" * 40


@pytest.fixture
def folder(tmp_path):
    folder = make(tmp_path / "work")
    commit(folder, {"pipelines/demo.yaml": "name: demo\n", ".gitignore": "/.loom/\n"})
    return folder


@pytest.fixture
def store(folder):
    return RunStore(folder / ".loom", pytest.fail)


def save(
    store, uid, *, at="b" * 40, started=OLD, branch="topic", dirty=False, records=True, **more
):
    run = make_run(
        uid,
        commit=Commit(at, "", branch, dirty=dirty),
        started=started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        **more,
    )
    store.save(run)
    if records:
        with store.records(uid) as log:
            log.write([{"a": 1}])
    return run


def gc(store, folder, **options):
    done = collect(store, Repository.open(folder), now=NOW, **{"keep": 0, **options})
    return [run.uid for run in done.runs], done


def left(store):
    return sorted(row.uid for row in store.all())


def test_runs_of_commits_that_a_ref_reaches_stay(folder, store):
    first = git(folder, "rev-parse", "HEAD")
    on_main = commit(folder, {"a.txt": "1"})
    git(folder, "checkout", "--quiet", "-b", "topic")
    tagged = commit(folder, {"a.txt": "2"})
    git(folder, "tag", "v1")
    remote = commit(folder, {"a.txt": "3"})
    git(folder, "update-ref", "refs/remotes/origin/topic", remote)
    amended = commit(folder, {"a.txt": "4"})
    git(folder, "checkout", "--quiet", "main")
    git(folder, "branch", "--quiet", "-D", "topic")
    for name, at in {
        "first": first,
        "main": on_main,
        "tagged": tagged,
        "remote": remote,
        "amended": amended,
        "never-here": LOST,
    }.items():
        save(store, name, at=at)
    removed, done = gc(store, folder)
    assert sorted(removed) == ["amended", "never-here"]
    assert left(store) == ["first", "main", "remote", "tagged"]
    assert (done.kept, done.unknown) == (4, 0)


def test_a_detached_worktree_reaches_its_commit(folder, store):
    git(folder, "worktree", "add", "--quiet", "--detach", "../linked")
    at = commit(folder.parent / "linked", {"a.txt": "1"})
    save(store, "there", at=at)
    assert gc(store, folder)[0] == []


def test_young_runs_stay(folder, store):
    save(store, "young", started=YOUNG)
    save(store, "old")
    assert gc(store, folder)[0] == ["old"]


def test_the_last_of_a_branch_stay_by_pipeline_and_kind(folder, store):
    for number in range(3):
        at = OLD - timedelta(days=number)
        save(store, f"a-{number}", started=at)
        save(store, f"b-{number}", started=at, branch="other")
        save(store, f"c-{number}", started=at, pipeline="second")
        save(store, f"d-{number}", started=at, kind="test")
    removed, _ = gc(store, folder, keep=2)
    assert sorted(removed) == ["a-2", "b-2", "c-2", "d-2"]


def test_uncommitted_work_goes_by_age_and_number_alone(folder, store):
    here = git(folder, "rev-parse", "HEAD")
    save(store, "dirty", at=here, dirty=True)
    save(store, "unborn", at="unborn", dirty=True)
    save(store, "young", at="unborn", dirty=True, started=YOUNG)
    save(store, "clean", at=here)
    assert sorted(gc(store, folder)[0]) == ["dirty", "unborn"]


def test_run_records_and_emptied_folder_go_and_the_bytes_are_counted(folder, store):
    save(store, "old")
    save(store, "records-gone", records=False)
    size = sum(p.stat().st_size for p in store.folder.glob("r*/**/*") if p.is_file())
    _, done = gc(store, folder)
    assert done.bytes == size
    assert [p for p in store.folder.glob("r*/**/*") if p.is_file()] == []
    assert list((store.folder / "runs").iterdir()) == []
    assert store.all() == []


def test_a_rehearsal_removes_nothing(folder, store):
    save(store, "old")
    removed, done = gc(store, folder, dry_run=True)
    assert removed == ["old"]
    assert done.bytes > 1000
    assert left(store) == ["old"]
    assert (store.folder / "records/old.jsonl").exists()


def test_records_of_no_run_go_after_a_day(folder, store):
    save(store, "run", started=YOUNG)
    records = store.folder / "records"
    day = 86400
    for name, age in {"lost": 2 * day, "at-work": 0, "run": 2 * day}.items():
        path = records / f"{name}.jsonl"
        path.write_bytes(b"{}\n")
        os.utime(path, (NOW.timestamp() - age,) * 2)
    _, done = gc(store, folder)
    assert done.orphans == ("records/lost.jsonl",)
    assert sorted(p.name for p in records.iterdir()) == ["at-work.jsonl", "run.jsonl"]


def test_records_of_a_damaged_run_are_not_loose(folder, store):
    save(store, "run", started=YOUNG)
    path = next((store.folder / "runs").glob("*/run.json"))
    path.rename(path.with_name("run.json.damaged"))
    os.utime(store.folder / "records/run.jsonl", (0, 0))
    assert gc(store, folder)[1].orphans == ()


def test_a_shallow_clone_keeps_what_its_history_may_hold(folder, store, tmp_path):
    at = git(folder, "rev-parse", "HEAD")
    commit(folder, {"a.txt": "1"})
    git(tmp_path, "clone", "--quiet", "--depth=1", folder.as_uri(), "shallow")
    shallow = tmp_path / "shallow"
    cut = RunStore(shallow / ".loom", pytest.fail)
    save(cut, "cut-off", at=at)
    save(cut, "tip", at=git(shallow, "rev-parse", "HEAD"))
    save(cut, "dirty", at=at, dirty=True)
    removed, done = gc(cut, shallow)
    assert removed == ["dirty"]
    assert done.unknown == 1


def test_a_repository_without_commits_knows_no_commit(tmp_path):
    folder = make(tmp_path / "new")
    store = RunStore(folder / ".loom", pytest.fail)
    save(store, "unborn", at="unborn", dirty=True)
    save(store, "stranger", at=LOST)
    assert sorted(gc(store, folder)[0]) == ["stranger", "unborn"]


def test_what_is_no_commit_id_never_reaches_git(folder):
    reach = find_reachable(Repository.open(folder), ["--output=x", "HEAD", "unborn"])
    assert reach.reached == frozenset()


def test_a_date_that_cannot_be_read_keeps_the_run(folder, store):
    save(store, "odd")
    rows = [replace(store.all()[0], started="yesterday")]
    reach = find_reachable(Repository.open(folder), [])
    assert choose_removals(rows, reach, now=NOW, days=90, keep=0) == ([], 0)


def test_the_command_prints_what_went(folder, store, capsys, monkeypatch):
    for number in range(3):
        save(store, f"old-{number}", started=OLD - timedelta(days=number))
    monkeypatch.chdir(folder)
    assert cli._run(["runs", "gc", "--keep", "2", "--dry-run"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("2026-11-21-001  demo  2026-08-20T12:00:00.000Z  ")
    assert out[-1].startswith("Would remove 1 runs: ")
    assert out[-1].endswith("; 2 runs remain")
    assert cli._run(["runs", "gc", "--keep", "1", "--days", "10", "--json"]) == 0
    document = orjson.loads(capsys.readouterr().out)
    assert [run["uid"] for run in document["runs"]] == ["old-2", "old-1"]
    assert (document["dry_run"], document["kept"], document["unknown"]) == (False, 1, 0)
    assert document["bytes"] == sum(run["bytes"] for run in document["runs"]) > 0
    assert left(store) == ["old-0"]


def test_many_commits_are_one_question_to_git(folder, store):
    for number in range(60):
        save(store, f"run-{number}", at=f"{number:040x}", records=False)
    asked = []

    class Counting(Repository):
        def plumbing(self, *arguments, **options):
            asked.append(arguments[0])
            return super().plumbing(*arguments, **options)

    done = collect(store, Counting.open(folder), now=NOW, keep=0)
    assert len(done.runs) == 60
    assert len(asked) < 8
