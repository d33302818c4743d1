import pytest

from loomgit.api import Project
from loomgit.wiring.project import Wiring
from tests.repos import commit, git, make
from tests.runs import make_run

FILES = {"pipelines/demo.yaml": "name: demo\n"}


@pytest.fixture
def main(tmp_path):
    folder = make(tmp_path / "main worktree")
    commit(folder, {**FILES, "part/pipelines/demo.yaml": "name: demo\n"})
    return folder


def folder_of(root):
    return Wiring(root, {}, pytest.fail).store.folder


def test_a_linked_worktree_shares_the_main_ones_runs(main, tmp_path):
    git(main, "worktree", "add", "--quiet", "../linked")
    linked = tmp_path / "linked"
    Wiring(linked, {}, pytest.fail).store.save(make_run())
    assert [run.uid for run in Project(main).runs()] == [make_run().uid]
    assert [run.uid for run in Project(linked).runs()] == [make_run().uid]
    assert not (linked / ".loom").exists()


def test_a_project_in_a_subfolder_shares_with_the_same_subfolder(main, tmp_path):
    git(main, "worktree", "add", "--quiet", "../linked")
    assert folder_of(tmp_path / "linked/part") == main / "part/.loom"


def test_the_main_worktree_and_a_folder_without_git_keep_their_own(main, tmp_path):
    assert folder_of(main) == main / ".loom"
    assert folder_of(main / "part") == main / "part/.loom"
    assert folder_of(tmp_path) == tmp_path / ".loom"


def test_a_submodule_is_a_project_of_its_own(main, tmp_path):
    outer = make(tmp_path / "outer")
    commit(outer, {"a.txt": "1"})
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(main), "sub")
    assert folder_of(outer / "sub") == outer / "sub/.loom"
    git(outer / "sub", "worktree", "add", "--quiet", "../../of-sub")
    assert folder_of(tmp_path / "of-sub") == outer / "sub/.loom"


def test_a_worktree_of_a_bare_repository_keeps_its_own(main, tmp_path):
    for name in ("bare.git", "hidden/.git"):
        git(tmp_path, "clone", "--quiet", "--bare", str(main), name)
        linked = tmp_path / f"of-{name.split('/')[0]}"
        git(tmp_path / name, "worktree", "add", "--quiet", str(linked))
        assert folder_of(linked) == linked / ".loom"


def test_a_worktree_whose_main_one_is_elsewhere_keeps_its_own(main, tmp_path):
    (main / ".git").rename(tmp_path / "apart.git")
    (main / ".git").write_text(f"gitdir: {tmp_path / 'apart.git'}\n")
    assert folder_of(main) == main / ".loom"
    git(main, "worktree", "add", "--quiet", "../linked")
    assert folder_of(tmp_path / "linked") == tmp_path / "linked/.loom"


def test_tracked_runs_stay_in_the_worktree_that_commits_them(main, tmp_path):
    commit(main, {".loom/config.yaml": "store: tracked\n"})
    git(main, "worktree", "add", "--quiet", "../linked")
    assert folder_of(tmp_path / "linked") == tmp_path / "linked/.loom"
