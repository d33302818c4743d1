import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from msgspec.structs import replace

from loomgit import cli
from loomgit.api import Project
from loomgit.domain.versions import Commit
from loomgit.errors import UserError, WorldError
from loomgit.history import schema
from loomgit.history.repository import Repository
from loomgit.history.store import RunStore
from loomgit.history.sync import Sync
from loomgit.wiring.project import Wiring
from tests.repos import CLEAN, commit, git, make, write
from tests.runs import make_run

BRANCH = "loom-results"
NOW = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)
OURS = re.compile(r"refs/loom/|refs/remotes/[^/]+/loom-results\b")
FILES = {"pipelines/demo.yaml": "name: demo\n", ".gitignore": "/.loom/.gitignore\n"}


@pytest.fixture
def remote(tmp_path):
    return make(tmp_path / "remote.git", "--bare")


@pytest.fixture
def clone(tmp_path, remote):
    """Makes clones with a project in them; the first commits and pushes it."""

    def make_clone(name: str, *options: str) -> Path:
        git(tmp_path, "clone", "--quiet", *options, remote.as_uri(), name)
        folder = tmp_path / name
        git(folder, "config", "user.name", "Ada")
        git(folder, "config", "user.email", "ada@example.org")
        if not (folder / "pipelines").exists():
            commit(folder, FILES)
            git(folder, "push", "--quiet", "origin", "HEAD:main")
        return folder

    return make_clone


def store_of(folder: Path) -> RunStore:
    return RunStore(folder / ".loom", pytest.fail)


def save(folder: Path, *uids: str) -> None:
    store = store_of(folder)
    store.begin("demo", NOW)  # writes .loom/.gitignore
    for uid in uids:
        store.save(make_run(uid))


def uids(folder: Path) -> list[str]:
    return [row.uid for row in store_of(folder).all()]


def on_branch(remote: Path) -> set[str]:
    said = git(remote, "ls-tree", "-r", "--name-only", BRANCH)
    return {Path(line).stem for line in said.splitlines()}


def seen_by_the_user(folder: Path) -> dict[str, object]:
    """Everything that sync must leave as it is.

    Not `refs/remotes/origin/loom-results`: Git notes there what it pushed, as for every branch.
    """
    inside = Path(git(folder, "rev-parse", "--absolute-git-dir"))
    refs = git(folder, "for-each-ref", "--format=%(refname) %(objectname)")
    logs = sorted(inside.glob("logs/**/*"))
    return {
        "status": git(folder, "--no-optional-locks", "status", "--porcelain", "--ignored"),
        "HEAD": (inside / "HEAD").read_bytes(),
        "index": (inside / "index").read_bytes() if (inside / "index").exists() else None,
        "refs": [line for line in refs.splitlines() if not OURS.match(line)],
        "logs": {
            str(path): path.read_bytes()
            for path in logs
            if path.is_file() and not OURS.match(path.relative_to(inside / "logs").as_posix())
        },
        "FETCH_HEAD": (inside / "FETCH_HEAD").exists(),
        "inside": sorted(p.name for p in inside.iterdir()),
    }


def test_runs_go_from_one_clone_to_another_and_touch_nobodys_checkout(clone, remote):
    one, two = clone("one"), clone("two")
    write(one, {"pipelines/demo.yaml": "name: changed\n", "loose.txt": "mine"})
    git(one, "add", "loose.txt")
    save(one, "uid-1", "uid-2")
    save(two, "uid-3")
    before = seen_by_the_user(one), seen_by_the_user(two)
    pushed = Project(one).sync_push()
    assert [Path(name).stem for name in pushed.files] == ["uid-1", "uid-2"]
    assert (pushed.total, pushed.attempts) == (2, 1)
    pulled = Project(two).sync_pull()
    assert [Path(name).stem for name in pulled.files] == ["uid-1", "uid-2"]
    assert Project(two).sync_push().total == 3
    assert (seen_by_the_user(one), seen_by_the_user(two)) == before
    assert uids(two) == ["uid-1", "uid-2", "uid-3"]
    assert on_branch(remote) == {"uid-1", "uid-2", "uid-3"}
    name = pushed.files[0]
    assert (one / ".loom" / name).read_bytes() == (two / ".loom" / name).read_bytes()


def test_the_branch_is_an_orphan_and_grows_without_force(clone, remote):
    folder = clone("one")
    save(folder, "uid-1")
    Project(folder).sync_push()
    first = git(remote, "rev-parse", BRANCH)
    save(folder, "uid-2")
    Project(folder).sync_push()
    assert git(remote, "rev-list", "--parents", BRANCH).splitlines()[0].split()[1:] == [first]
    with pytest.raises(subprocess.CalledProcessError):
        git(remote, "merge-base", "main", BRANCH)


def test_what_was_sent_is_not_sent_again(clone, remote):
    folder = clone("one")
    save(folder, "uid-1")
    Project(folder).sync_push()
    tip = git(remote, "rev-parse", BRANCH)
    again = Project(folder).sync_push()
    assert (again.files, again.total) == ((), 1)
    assert git(remote, "rev-parse", BRANCH) == tip
    assert Project(folder).sync_pull().files == ()


def test_without_a_branch_there_is_nothing_to_pull_and_without_runs_nothing_to_push(clone, remote):
    folder = clone("one")
    assert Project(folder).sync_pull().total == 0
    assert Project(folder).sync_push().total == 0
    assert BRANCH not in git(remote, "for-each-ref", "--format=%(refname:short)")


def test_pull_never_overwrites(clone):
    one, two = clone("one"), clone("two")
    save(one, "uid-1")
    save(two, "uid-1", "uid-2")
    path = next((two / ".loom/runs").glob("*/uid-1.json"))
    path.write_bytes(schema.to_json(make_run("uid-1", pipeline="mine")))
    Project(one).sync_push()
    assert Project(two).sync_pull().files == ()
    assert b'"mine"' in path.read_bytes()


def test_other_projects_of_the_repository_keep_their_runs(clone, remote):
    folder = clone("one")
    for part in ("a b", "ü"):
        write(folder, {f"{part}/pipelines/demo.yaml": "name: demo\n"})
        save(folder / part, f"uid-{part[0]}" if part == "a b" else "uid-u")
        Project(folder / part).sync_push()
    assert on_branch(remote) == {"uid-a", "uid-u"}
    other = clone("two")
    write(other, {"a b/pipelines/demo.yaml": "name: demo\n"})
    Project(other / "a b").sync_pull()
    assert uids(other / "a b") == ["uid-a"]


def test_a_shallow_clone_shares_too(clone, remote):
    full = clone("full")
    commit(full, {"a.txt": "1"})
    commit(full, {"a.txt": "2"})
    git(full, "push", "--quiet", "origin", "HEAD:main")
    save(full, "uid-1")
    Project(full).sync_push()
    shallow = clone("shallow", "--depth=1")
    save(shallow, "uid-2")
    before = seen_by_the_user(shallow)
    Project(shallow).sync_pull()
    Project(shallow).sync_push()
    assert uids(shallow) == ["uid-1", "uid-2"]
    assert git(shallow, "rev-parse", "--is-shallow-repository") == "true"
    assert seen_by_the_user(shallow) == before
    assert on_branch(remote) == {"uid-1", "uid-2"}


def test_a_repository_without_commits_shares_its_runs(tmp_path, remote):
    folder = make(tmp_path / "new")
    git(folder, "remote", "add", "origin", str(remote))
    write(folder, {"pipelines/demo.yaml": "name: demo\n"})
    assert Project(folder).sync_push().total == 0
    run = make_run("uid-1", commit=Commit("unborn", branch="main", dirty=True))
    store_of(folder).save(run)
    assert Project(folder).sync_push().files == ("runs/unborn/uid-1.json",)
    assert git(folder, "status", "--porcelain").splitlines() == ["?? .loom/", "?? pipelines/"]


def test_sha256_repositories_share(tmp_path):
    remote = make(tmp_path / "remote.git", "--bare", "--object-format=sha256")
    for name in ("one", "two"):
        folder = make(tmp_path / name, "--object-format=sha256")
        commit(folder, FILES)
        git(folder, "remote", "add", "origin", str(remote))
    run = make_run("uid-1", commit=replace(make_run().commit, id="a" * 64))
    store_of(tmp_path / "one").save(run)
    Project(tmp_path / "one").sync_push()
    Project(tmp_path / "two").sync_pull()
    assert store_of(tmp_path / "two").get("uid-1") == run


def test_a_linked_worktree_sends_what_the_main_one_has(clone, remote):
    folder = clone("one")
    git(folder, "worktree", "add", "--quiet", "../linked")
    save(folder, "uid-1")
    assert Project(folder.parent / "linked").sync_push().total == 1
    assert on_branch(remote) == {"uid-1"}


def test_a_machine_without_a_name_can_push(clone, remote, monkeypatch):
    folder = clone("one")
    for key in ("user.name", "user.email"):
        git(folder, "config", "--unset", key)
    git(folder, "config", "user.useConfigOnly", "true")
    for name, value in CLEAN.items():
        if name.startswith("GIT_CONFIG"):
            monkeypatch.setenv(name, value)
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    save(folder, "uid-1")
    Project(folder).sync_push()
    assert git(remote, "log", "-1", "--format=%an <%ae>", BRANCH) == "Loom <loom@localhost>"


def test_the_users_settings_of_git_do_not_get_in_the_way(clone, remote):
    folder = clone("one")
    hook = folder / ".git/hooks/pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\ntouch hook-ran\nexit 1\n")
    hook.chmod(0o755)
    for key, value in {
        "core.splitIndex": "true",
        "core.autocrlf": "true",
        "push.followTags": "true",
        "fetch.prune": "true",
        "core.logAllRefUpdates": "always",
        "commit.gpgSign": "true",
        "push.default": "nothing",
    }.items():
        git(folder, "config", key, value)
    save(folder, "uid-1")
    before = seen_by_the_user(folder)
    assert Project(folder).sync_push().total == 1
    assert seen_by_the_user(folder) == before
    assert not (folder / "hook-ran").exists()
    said = git(remote, "cat-file", "-p", f"{BRANCH}:.loom/runs/{'a' * 40}/uid-1.json")
    assert "\r" not in said


def test_a_damaged_run_neither_leaves_nor_enters(clone, remote):
    one, two = clone("one"), clone("two")
    save(one, "uid-1", "uid-2")
    path = next((one / ".loom/runs").glob("*/uid-1.json"))
    path.write_bytes(b"{")
    warnings: list[str] = []
    pushed = Project(one, warn=warnings.append).sync_push()
    assert [Path(name).stem for name in pushed.files] == ["uid-2"]
    assert "uid-1.json is damaged and was skipped" in warnings[0]

    runs = ".loom/runs"
    foreign = ["evil.json", ".loom/evil.json", f"{runs}/evil.json", f"{runs}/x/evil.json"]
    foreign += [f"{runs}/unborn/.evil.json", f"{runs}/unborn/evil.sh", f"{runs}/unborn/a/evil.json"]
    put_on_branch(one, f"{runs}/unborn/bad.json", *foreign)
    warnings.clear()
    pulled = Project(two, warn=warnings.append).sync_pull()
    assert [Path(name).stem for name in pulled.files] == ["uid-2"]
    assert len(warnings) == 1
    assert warnings[0].startswith("origin: runs/unborn/bad.json is damaged and was skipped: ")
    assert uids(two) == ["uid-2"]
    assert not list(two.glob("**/*evil*"))


def put_on_branch(folder: Path, *names: str) -> None:
    """Put empty files on the remote's branch, as no Loom does."""
    git(folder, "fetch", "--quiet", "origin", BRANCH)
    git(folder, "worktree", "add", "--quiet", "--detach", "../foreign", "FETCH_HEAD")
    foreign = folder.parent / "foreign"
    commit(foreign, dict.fromkeys(names, ""))
    git(foreign, "push", "--quiet", "origin", f"HEAD:{BRANCH}")


def test_a_newer_format_travels(clone):
    one, two = clone("one"), clone("two")
    save(one, "uid-1")
    path = next((one / ".loom/runs").glob("*/*.json"))
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | {"schema_version": 99}))
    Project(one, warn=lambda _: None).sync_push()
    Project(two).sync_pull()
    assert next((two / ".loom/runs").glob("*/*.json")).read_bytes() == path.read_bytes()


def test_an_unknown_remote_is_named_with_what_there_is(clone):
    folder = clone("one")
    with pytest.raises(UserError, match="there is no remote orign") as caught:
        Project(folder).sync_push("orign")
    assert "origin" in caught.value.hint
    git(folder, "remote", "remove", "origin")
    with pytest.raises(UserError) as caught:
        Project(folder).sync_pull()
    assert caught.value.hint == "run `git remote add origin URL`"
    with pytest.raises(UserError):
        Project(folder).sync_pull("--upload-pack=touch hacked")


def test_a_remote_that_cannot_be_reached_is_the_worlds_failure_in_gits_words(clone, tmp_path):
    folder = clone("one")
    git(folder, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    save(folder, "uid-1")
    for share in (Project(folder).sync_push, Project(folder).sync_pull):
        with pytest.raises(WorldError, match=r"git ls-remote: fatal: .*nowhere.* not appear"):
            share()


def test_a_remote_that_refuses_is_asked_a_few_times_and_then_believed(clone, remote):
    folder = clone("one")
    hook = remote / "hooks/pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    save(folder, "uid-1")
    waits: list[float] = []
    repository = Repository.open(folder)
    sync = Sync(repository, store_of(folder), pytest.fail, wait=waits.append)
    with pytest.raises(WorldError, match="pre-receive hook declined"):
        sync.push("origin")
    assert len(waits) == 3
    assert waits[0] < 1


def test_whoever_comes_second_puts_theirs_on_top(clone, remote):
    one, two = clone("one"), clone("two")
    save(one, "uid-1")
    save(two, "uid-2")

    class Overtaken(Repository):
        """Between the fetch and the push, somebody else pushes; the first time only."""

        overtaken = False

        def plumbing(self, *arguments, **options):
            if arguments[0] == "push" and not self.overtaken:
                self.overtaken = True
                Project(two).sync_push()
            return super().plumbing(*arguments, **options)

    sync = Sync(Overtaken.open(one), store_of(one), pytest.fail, wait=lambda _: None)
    assert sync.push("origin").attempts == 2
    assert on_branch(remote) == {"uid-1", "uid-2"}


def test_four_clones_that_push_at_once_lose_nothing(clone, remote):
    folders = [clone(f"clone-{number}") for number in range(4)]
    for number, folder in enumerate(folders):
        save(folder, *(f"uid-{number}-{k}" for k in range(5)))
    before = [seen_by_the_user(folder) for folder in folders]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "loomgit", "sync", "push", "--json"],
            cwd=folder,
            env={**os.environ, **CLEAN},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for folder in folders
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()
    assert on_branch(remote) == {f"uid-{n}-{k}" for n in range(4) for k in range(5)}
    assert [seen_by_the_user(folder) for folder in folders] == before
    Project(folders[0]).sync_pull()
    assert len(uids(folders[0])) == 20


def test_a_tracked_store_is_shared_by_commits(clone, remote, capsys, monkeypatch):
    folder = clone("one")
    write(folder, {".loom/config.yaml": "store: tracked\n"})
    store = Wiring(folder, {}, pytest.fail).store
    store.begin("demo", NOW)
    store.save(make_run("uid-1"))
    assert "?? .loom/runs/" in git(folder, "status", "--porcelain", "-uall")
    monkeypatch.chdir(folder)
    assert cli._run(["sync", "push"]) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert cli._run(["sync", "pull", "--json"]) == 0
    nothing = {"remote": None, "runs": [], "total": None, "attempts": 0}
    document = orjson.loads(capsys.readouterr().out)
    assert document == {"schema_version": 1, "tracked": True, **nothing}
    assert BRANCH not in git(remote, "for-each-ref")


def test_the_command_says_what_it_did(clone, capsys, monkeypatch):
    folder = clone("one")
    save(folder, "uid-1")
    monkeypatch.chdir(folder)
    assert cli._run(["sync", "push"]) == 0
    assert capsys.readouterr().out == "Pushed 1 run to origin (1 on the branch)\n"
    assert cli._run(["sync", "pull", "--json"]) == 0
    document = orjson.loads(capsys.readouterr().out)
    assert document["runs"] == []
    assert (document["remote"], document["total"]) == ("origin", 1)
