import pytest

from loomgit.errors import UserError, WorldError
from loomgit.history.git_command import GitCommand
from loomgit.history.repository import Repository
from tests.repos import commit, git, make, write


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "work")


def test_outside_of_a_repository_is_the_users_to_change(tmp_path):
    with pytest.raises(UserError, match="not in a Git repository") as caught:
        Repository.open(tmp_path)
    assert caught.value.hint == "run `git init`"


def test_a_bare_repository_has_no_files(tmp_path):
    with pytest.raises(UserError, match="bare"):
        Repository.open(make(tmp_path / "bare.git", "--bare"))


def test_before_the_first_commit_head_is_unborn(folder):
    head = Repository.open(folder).head()
    assert (head.id, head.branch, head.dirty) == ("unborn", "main", True)


def test_head_names_commit_tree_branch_and_author(folder):
    identity = commit(folder, {"a.txt": "1"})
    head = Repository.open(folder).head(["a.txt"])
    assert head.id == identity
    assert head.tree == git(folder, "rev-parse", "HEAD^{tree}")
    assert (head.branch, head.author, head.dirty) == ("main", "Ada", False)
    assert head.object_format == "sha1"


def test_a_detached_head_has_no_branch(folder):
    commit(folder, {"a.txt": "1"})
    git(folder, "checkout", "--quiet", "--detach")
    assert Repository.open(folder).head().branch == ""


def test_a_changed_file_makes_head_dirty_and_an_unrelated_new_one_does_not(folder):
    commit(folder, {"a.txt": "1"})
    write(folder, {"notes.txt": "mine"})
    repository = Repository.open(folder)
    assert not repository.head(["a.txt"]).dirty
    assert repository.head(["notes.txt"]).dirty
    write(folder, {"a.txt": "2"})
    assert repository.head(["a.txt"]).dirty


def test_objects_answers_in_the_order_of_the_questions(folder):
    identity = commit(folder, {"a b.txt": "1", "ü.txt": "2"})
    found = Repository.open(folder).objects(["HEAD", "nope", "HEAD:a b.txt", "HEAD:ü.txt", "x\ny"])
    assert found[0] == (identity, "commit")
    assert found[1] is None
    assert found[2] is not None
    assert found[3] is not None
    assert found[2][1] == found[3][1] == "blob"
    assert found[4] is None


def test_files_are_hashed_as_git_would_store_them(folder):
    commit(folder, {".gitattributes": "*.txt text eol=crlf\n", "a.txt": "one\ntwo\n"})
    (folder / "a.txt").write_bytes(b"one\r\ntwo\r\n")
    repository = Repository.open(folder)
    assert repository.hash_files(["a.txt"]) == repository.blobs_at("HEAD", ["a.txt"])


def test_missing_files_have_no_hash(folder):
    write(folder, {"a.txt": "1"})
    assert list(Repository.open(folder).hash_files(["a.txt", "b.txt"])) == ["a.txt"]


def test_a_project_in_a_subfolder_sees_its_own_paths(folder):
    commit(folder, {"apps/bot/prompts/p.txt": "1", "other.txt": "x"})
    repository = Repository.open(folder / "apps" / "bot")
    assert repository.blobs_at("HEAD", ["prompts/p.txt", "other.txt"]).keys() == {"prompts/p.txt"}
    assert repository.hash_files(["prompts/p.txt"]) == repository.blobs_at(
        "HEAD", ["prompts/p.txt"]
    )
    write(folder, {"other.txt": "changed"})
    assert not repository.head().dirty  # not this project's file


def test_a_tag_is_annotated_and_made_once(folder):
    commit(folder, {"a.txt": "1"})
    repository = Repository.open(folder)
    repository.create_tag("a@v1", "first")
    assert git(folder, "cat-file", "-t", "a@v1") == "tag"
    with pytest.raises(UserError, match="already exists"):
        repository.create_tag("a@v1", "again")
    with pytest.raises(UserError, match="is not a valid name for a Git tag"):
        repository.create_tag("a@v 2", "bad")


def test_a_linked_worktree_shares_the_common_folder(folder, tmp_path):
    commit(folder, {"a.txt": "1"})
    git(folder, "worktree", "add", "--quiet", str(tmp_path / "linked"), "-b", "side")
    linked = Repository.open(tmp_path / "linked")
    assert linked.common_dir == (folder / ".git").resolve()
    assert linked.head().branch == "side"


@pytest.mark.parametrize("options", [[], ["-C", "."], ["-c", "core.pager=cat"], ["--no-pager"]])
def test_an_error_names_the_subcommand(tmp_path, options):
    command = GitCommand(make(tmp_path / "work"), {})
    with pytest.raises(WorldError, match="^git show: "):
        command.run(*options, "show", "nonsense")
