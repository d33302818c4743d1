"""The log of a file: contents and their names."""

import pytest

from loomgit.errors import UserError
from loomgit.history.log import read_log
from loomgit.history.repository import Repository
from tests.repos import commit, git, make, write

PATH = "prompts/a.txt"


@pytest.fixture
def folder(tmp_path):
    root = make(tmp_path / "work")
    commit(root, {PATH: "one\n"}, "First")
    git(root, "tag", "prompts/a@v1.0")
    return root


def log(folder, path=PATH, limit=None):
    return read_log(Repository.open(folder), path, limit)


def names(found):
    return [entry.name for entry in found.entries]


def test_versions_are_named_and_the_newest_is_first(folder):
    second = commit(folder, {PATH: "two\n"}, "Second")
    found = log(folder)
    newest, oldest = found.entries
    assert (newest.name, oldest.name) == (f"v1.0+1.g{newest.blob[:8]}", "v1.0")
    assert (newest.commits, newest.author, newest.subject) == ((second,), "Ada", "Second")
    assert newest.time == git(folder, "log", "-1", "--format=%aI")
    assert (newest.head, oldest.head, newest.worktree) == (True, False, False)
    assert (found.total, found.shallow, found.path) == (2, False, PATH)


def test_a_content_that_came_back_is_one_version_where_it_came_last(folder):
    commit(folder, {PATH: "two\n"}, "Second")
    back = commit(folder, {PATH: "one\n"}, "Back")
    first, second = log(folder).entries
    assert (first.name, first.subject, first.head) == ("v1.0", "Back", True)
    assert first.commits == (back, git(folder, "rev-parse", "HEAD~2"))
    assert (second.subject, second.head) == ("Second", False)


def test_what_is_not_committed_comes_first(folder):
    write(folder, {PATH: "draft\n"})
    draft, committed = log(folder).entries
    assert draft.name == f"v1.0+0.g{draft.blob[:8]}.dirty"
    assert (draft.worktree, draft.head, draft.commits, draft.time) == (True, False, (), "")
    assert (committed.worktree, committed.head) == (False, True)


def test_an_older_content_in_the_working_tree_moves_to_the_front(folder):
    commit(folder, {PATH: "two\n"}, "Second")
    write(folder, {PATH: "one\n"})
    first, second = log(folder).entries
    assert (first.name, first.worktree, first.head, first.subject) == ("v1.0", True, False, "First")
    assert (second.worktree, second.head) == (False, True)


def test_the_limit_counts_versions_and_says_how_many_there_are(folder):
    for text in ("two\n", "three\n"):
        commit(folder, {PATH: text})
    found = log(folder, limit=2)
    assert (len(found.entries), found.total) == (2, 3)


def test_before_the_first_commit_there_is_the_working_tree(tmp_path):
    root = make(tmp_path / "fresh")
    write(root, {PATH: "one\n"})
    (draft,) = log(root).entries
    assert (draft.name, draft.worktree) == (f"g{draft.blob[:8]}.dirty", True)


def test_an_untracked_file_has_one_version(folder):
    write(folder, {"new.txt": "new\n"})
    (draft,) = log(folder, "new.txt").entries
    assert draft.worktree


def test_former_paths_keep_their_tags(folder):
    git(folder, "mv", PATH, "b.txt")
    commit(folder, {}, "Move")
    commit(folder, {"b.txt": "two\n"}, "Second")
    found = log(folder, "b.txt")
    assert names(found)[1] == "v1.0"
    assert [entry.path for entry in found.entries] == ["b.txt", PATH]
    assert log(folder).entries[0].name == "v1.0"  # the path that is no more, asked for by name


def test_a_project_in_a_subfolder_has_paths_of_its_own(folder):
    commit(folder, {"apps/bot/prompts/a.txt": "bot\n"}, "Bot")
    git(folder, "mv", "apps/bot/prompts/a.txt", "apps/bot/prompts/b.txt")
    commit(folder, {"apps/bot/prompts/b.txt": "two\n"}, "Rewrite")
    git(folder, "mv", "apps/bot/prompts/b.txt", "apps/bot/prompts/c.txt")
    commit(folder, {}, "Move")
    project = folder / "apps" / "bot"
    assert [entry.path for entry in log(project, "prompts/c.txt").entries] == ["prompts/b.txt"]
    assert log(project, "../../prompts/a.txt").entries[0].subject == "First"


@pytest.mark.parametrize("depth", [1, 2])
def test_in_a_shallow_clone_who_brought_the_oldest_content_is_not_known(folder, depth):
    for text in ("two\n", "three\n"):
        commit(folder, {PATH: text}, text.strip())
    tip = git(folder, "rev-parse", "HEAD")
    clone = ("clone", "--quiet", f"--depth={depth}", f"file://{folder}", "shallow")
    git(folder.parent, *clone)
    found = log(folder.parent / "shallow")
    assert found.shallow
    assert [entry.subject for entry in found.entries] == ["three", ""][2 - depth :]
    last = found.entries[-1]
    assert (last.author, last.time) == ("", "")
    assert found.entries[0].commits == (tip,)


def test_a_sha256_repository_works(tmp_path):
    root = make(tmp_path / "long", "--object-format=sha256")
    commit(root, {PATH: "one\n"}, "First")
    git(root, "mv", PATH, "b.txt")
    commit(root, {}, "Move")
    (entry,) = log(root, "b.txt").entries
    assert (len(entry.blob), entry.path) == (64, PATH)


@pytest.mark.parametrize(
    ("path", "message", "hint"),
    [
        ("prompts/b.txt", "neither in the working tree nor in the history", "'prompts/a.txt'"),
        ("a", "neither in", "did you mean 'prompts/a.txt'?"),
        ("prompts", "prompts is a folder", "pass a file in it"),
        ("../outside.txt", "neither in", ""),
        ("/etc/passwd", "neither in", ""),
        ("nothing like it\n", "neither in", ""),
    ],
)
def test_a_path_that_never_was_is_an_error(folder, path, message, hint):
    with pytest.raises(UserError, match=message) as caught:
        log(folder, path)
    assert hint in (caught.value.hint or "")
