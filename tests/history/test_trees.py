"""The project's files in the working tree, in the index and at a commit."""

import os

import pytest

from loomgit.errors import UserError
from loomgit.history.repository import Repository
from loomgit.history.trees import INDEX, Tree
from tests.repos import commit, git, make, write

FILES = {
    "pipelines/a.yaml": "a",
    "pipelines/ä ö.yaml": "umlaut",
    "pipelines/deep/b.yaml": "b",
    "pipelines/notes.txt": "no",
    "tests/x_test.yaml": "x",
    "data/rows.csv": "id\n1\n",
}


@pytest.fixture(params=["whole", "subfolder", "sha256"])
def project(request, tmp_path):
    """A project with FILES committed: a repository of its own, a folder of one, a modern one."""
    top = make(tmp_path / "repo", *(["--object-format=sha256"] * (request.param == "sha256")))
    folder = top / "teams/one" if request.param == "subfolder" else top
    write(top, {"outside.txt": "not ours", "pipelines/c.yaml": "of the whole"})
    if request.param != "subfolder":
        (top / "pipelines/c.yaml").unlink()
    write(folder, FILES)
    commit(top, {})
    return folder


def tree(folder, revision=None):
    repository = Repository.open(folder)
    if revision not in (None, INDEX):
        found = repository.objects([revision])[0]
        revision = found[0]
    return Tree(repository, revision)


EVERYWHERE = pytest.mark.parametrize("revision", [None, INDEX, "HEAD"])


@EVERYWHERE
def test_files_are_listed_the_same_everywhere(project, revision):
    found = tree(project, revision)
    assert found.names("pipelines", ".yaml") == ["pipelines/a.yaml", "pipelines/ä ö.yaml"]
    assert found.files("pipelines", ".yaml") == [
        "pipelines/a.yaml", "pipelines/deep/b.yaml", "pipelines/ä ö.yaml",
    ]  # fmt: skip
    assert found.names("nowhere", ".yaml") == []


@EVERYWHERE
def test_files_are_read_the_same_everywhere(project, revision):
    found = tree(project, revision).read(["pipelines/ä ö.yaml", "nowhere.txt", "data", *FILES])
    assert found == {name: text.encode() for name, text in FILES.items()}


@EVERYWHERE
def test_entries_are_the_same_everywhere(project, revision):
    (project / "data/rows.csv").chmod(0o755)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "mode")
    found = tree(project, revision).entries(["data/rows.csv", "pipelines/ä ö.yaml", "gone.txt"])
    blob = git(project, "hash-object", "pipelines/ä ö.yaml")
    assert found["pipelines/ä ö.yaml"] == ("100644", blob)
    assert found["data/rows.csv"].mode == "100755"
    assert "gone.txt" not in found
    assert tree(project, revision).entries([]) == {}


def test_the_three_trees_are_told_apart(project):
    path = "pipelines/a.yaml"
    write(project, {path: "staged"})
    git(project, "add", path)
    write(project, {path: "edited"})
    contents = {r: tree(project, r).read([path])[path] for r in ("HEAD", INDEX, None)}
    assert contents == {"HEAD": b"a", INDEX: b"staged", None: b"edited"}
    git(project, "rm", "--quiet", "--force", "--cached", path)
    assert tree(project, INDEX).names("pipelines", ".yaml") == ["pipelines/ä ö.yaml"]
    assert tree(project, INDEX).entries([path]) == {}


def test_many_paths_are_asked_for_together(tmp_path):
    folder = make(tmp_path / "repo")
    names = [f"many/{number}.txt" for number in range(600)]
    commit(folder, dict.fromkeys(names, "x"))
    for revision in (None, INDEX, "HEAD"):
        assert len(tree(folder, revision).entries(names)) == 600


@pytest.mark.parametrize("revision", [INDEX, "HEAD"])
def test_an_export_has_the_projects_files_and_touches_nothing(project, revision, tmp_path):
    top = tmp_path / "repo"
    write(project, {"pipelines/a.yaml": "edited", "loose.txt": "untracked"})
    kept = (top / ".git/index").read_bytes(), git(top, "for-each-ref"), git(top, "status", "-s")
    root = tree(project, revision).export(tmp_path / "export")
    assert (root / "pipelines/a.yaml").read_text() == "a"
    found = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    whole = {"outside.txt"} if project == top else set()
    assert found == FILES.keys() | whole
    assert kept == (
        (top / ".git/index").read_bytes(), git(top, "for-each-ref"), git(top, "status", "-s"),
    )  # fmt: skip


def test_an_export_is_what_a_checkout_would_write(tmp_path):
    folder = make(tmp_path / "repo")
    write(folder, {".gitattributes": "*.csv text eol=crlf\n", "rows.csv": "id\n1\n", "run.sh": "x"})
    (folder / "run.sh").chmod(0o755)
    (folder / "link.csv").symlink_to("rows.csv")
    commit(folder, {})
    root = tree(folder, "HEAD").export(tmp_path / "export")
    assert (root / "rows.csv").read_bytes() == b"id\r\n1\r\n"
    assert os.access(root / "run.sh", os.X_OK)
    assert (root / "link.csv").is_symlink()


def test_an_export_wakes_no_hook(tmp_path):
    folder = make(tmp_path / "repo")
    commit(folder, {"a.txt": "1"})
    for name in ("post-index-change", "post-checkout"):
        write(folder, {f".git/hooks/{name}": f"#!/bin/sh\ntouch '{tmp_path}/woken'\n"})
        (folder / ".git/hooks" / name).chmod(0o755)
    tree(folder, "HEAD").export(tmp_path / "export")
    assert not (tmp_path / "woken").exists()


def test_the_working_tree_needs_no_export(project, tmp_path):
    with pytest.raises(UserError):
        tree(project).export(tmp_path / "export")


def test_an_export_works_from_a_linked_worktree(tmp_path):
    folder = make(tmp_path / "repo")
    commit(folder, {"a.txt": "1"})
    git(folder, "worktree", "add", "--quiet", "-b", "other", str(tmp_path / "linked"))
    commit(tmp_path / "linked", {"a.txt": "2"})
    write(tmp_path / "linked", {"a.txt": "3"})
    git(tmp_path / "linked", "add", "a.txt")
    exported = tree(tmp_path / "linked", INDEX).export(tmp_path / "index")
    assert (exported / "a.txt").read_text() == "3"
    exported = tree(tmp_path / "linked", "HEAD").export(tmp_path / "head")
    assert (exported / "a.txt").read_text() == "2"


def test_a_tree_stands_at_a_commit(project):
    head = git(project, "rev-parse", "HEAD")
    for revision in (None, INDEX, "HEAD"):
        found = tree(project, revision).commit()
        assert (found.id, found.dirty, found.author) == (head, False, "Ada")
        assert len(found.tree) == len(head)


def test_the_index_is_dirty_where_it_differs_from_the_commit(project):
    write(project, {"data/rows.csv": "edited"})
    assert [tree(project, r).commit().dirty for r in (None, INDEX, "HEAD")] == [True, False, False]
    git(project, "add", "data/rows.csv")
    assert [tree(project, r).commit().dirty for r in (None, INDEX, "HEAD")] == [True, True, False]


def test_before_the_first_commit_all_is_unborn(tmp_path):
    folder = make(tmp_path / "repo")
    write(folder, FILES)
    git(folder, "add", "data")
    assert tree(folder).commit().id == tree(folder, INDEX).commit().id == "unborn"
    assert tree(folder, INDEX).files("data", ".csv") == ["data/rows.csv"]
    assert (tree(folder, INDEX).export(tmp_path / "x") / "data/rows.csv").exists()
