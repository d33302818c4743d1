"""Versions in every state that a repository can be in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loomgit.errors import UserError
from loomgit.history.repository import Repository
from loomgit.history.versions import Versions
from tests.repos import CLEAN, commit, git, make, write

PATH = "prompts/classify.txt"


@pytest.fixture
def folder(tmp_path):
    root = make(tmp_path / "work")
    commit(root, {PATH: "one\n"})
    git(root, "tag", "-a", "prompts/classify@v1.0", "-m", "x")
    return root


def versions(folder) -> Versions:
    return Versions(Repository.open(folder))


def clone(folder, name, *options):
    git(folder.parent, "clone", "--quiet", *options, f"file://{folder}", name)
    return folder.parent / name


def test_an_unborn_branch_beside_a_history_names_what_tags_hold(folder):
    git(folder, "checkout", "--quiet", "--orphan", "fresh")
    write(folder, {"prompts/draft.txt": "x"})
    assert Repository.open(folder).head().id == "unborn"
    assert versions(folder).read(PATH).name == "v1.0"
    assert versions(folder).read(PATH, "v1.0").text == "one\n"
    write(folder, {PATH: "changed\n"})
    for path in (PATH, "prompts/draft.txt"):
        found = versions(folder).read(path)
        assert found.name == f"g{found.blob[:8]}.dirty"


def test_a_detached_head_counts_from_where_it_stands(folder):
    commit(folder, {PATH: "two\n"})
    git(folder, "checkout", "--quiet", "--detach")
    commit(folder, {PATH: "three\n"})
    commit(folder, {PATH: "four\n"})
    git(folder, "checkout", "--quiet", "HEAD~1")
    assert versions(folder).read(PATH).name.startswith("v1.0+2.g")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_shallow_clone_names_tagged_contents_and_counts_nothing(folder, depth):
    for text in ("two\n", "three\n", "four\n"):
        commit(folder, {PATH: text})
    shallow = clone(folder, "shallow", f"--depth={depth}")
    found = versions(shallow).read(PATH)
    assert (found.text, found.name) == ("four\n", f"g{found.blob[:8]}")
    fetch = ("fetch", "--quiet", "--depth=1", "origin", "tag", "prompts/classify@v1.0")
    git(shallow, *fetch)
    assert versions(shallow).read(PATH, "v1.0").text == "one\n"
    assert versions(shallow).read(PATH).name == f"g{found.blob[:8]}"  # the tag is behind a gap
    write(shallow, {PATH: "one\n"})
    assert versions(shallow).read(PATH).name == "v1.0"


def test_a_tag_within_a_shallow_clone_is_named_without_a_count(folder):
    commit(folder, {PATH: "two\n"})
    git(folder, "tag", "prompts/classify@v2.0")
    commit(folder, {PATH: "three\n"})
    found = versions(clone(folder, "shallow", "--depth=2")).read(PATH)
    assert found.name == f"v2.0+g{found.blob[:8]}"


def test_deepening_a_clone_brings_the_count(folder):
    git(folder, "tag", "-d", "prompts/classify@v1.0")  # so that deepening brings no tag
    commit(folder, {PATH: "two\n"})
    git(folder, "tag", "prompts/classify@v2.0")
    commit(folder, {PATH: "three\n"})
    shallow = clone(folder, "shallow", "--depth=2")
    assert versions(shallow).read(PATH).name.startswith("v2.0+g")
    git(shallow, "fetch", "--quiet", "--unshallow")
    assert versions(shallow).read(PATH).name.startswith("v2.0+1.g")


@pytest.mark.parametrize("depth", [1, 2])
def test_a_pull_requests_test_merge_is_read_like_any_commit(folder, depth):
    git(folder, "checkout", "--quiet", "-b", "change")
    tip = commit(folder, {PATH: "changed\n"})
    git(folder, "checkout", "--quiet", "main")
    commit(folder, {"other.txt": "x"})
    git(folder, "merge", "--quiet", "--no-ff", "-m", "Merge", "change")
    git(folder, "update-ref", "refs/pull/7/merge", "HEAD")
    git(folder, "reset", "--quiet", "--hard", "HEAD^1")
    checkout = make(folder.parent / "checkout")
    git(checkout, "remote", "add", "origin", f"file://{folder}")
    git(checkout, "fetch", "--quiet", "--no-tags", f"--depth={depth}", "origin",
        "+refs/pull/7/merge:refs/remotes/pull/7/merge")  # fmt: skip
    git(checkout, "checkout", "--quiet", "--force", "refs/remotes/pull/7/merge")
    repository = Repository.open(checkout)
    assert (repository.head([PATH]).branch, repository.head([PATH]).dirty) == ("", False)
    found = Versions(repository).read(PATH)
    assert (found.text, found.name) == ("changed\n", f"g{found.blob[:8]}")
    known = repository.objects(["HEAD^1^{commit}", "HEAD^2^{commit}"])
    assert known[1] == ((tip, "commit") if depth == 2 else None)


def test_a_linked_worktree_has_its_own_head_and_the_same_tags_and_cache(folder):
    commit(folder, {PATH: "two\n"})
    git(folder, "worktree", "add", "--quiet", "-b", "side", "../linked")
    linked = folder.parent / "linked"
    commit(linked, {PATH: "three\n"})
    assert versions(linked).read(PATH).name.startswith("v1.0+2.g")
    assert versions(folder).read(PATH).name.startswith("v1.0+1.g")
    assert (folder / ".git" / "loom" / "versions.json").is_file()
    assert not (folder / ".git" / "worktrees" / "linked" / "loom").exists()


def test_a_submodule_has_versions_of_its_own(folder):
    outer = make(folder.parent / "outer")
    commit(outer, {PATH: "outer\n"})
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add",
        f"file://{folder}", "inner")  # fmt: skip
    git(outer, "commit", "--quiet", "-m", "Add")
    inner = versions(outer / "inner").read(PATH)
    assert (inner.text, inner.name) == ("one\n", "v1.0")
    assert versions(outer).read(PATH).name.startswith("g")


def test_projects_of_a_monorepo_have_tags_that_do_not_collide(folder):
    for name in ("bot", "desk"):
        commit(folder, {f"apps/{name}/{PATH}": f"{name}\n"})
    bot, desk = folder / "apps" / "bot", folder / "apps" / "desk"
    assert versions(bot).tag(PATH, "v1") == "apps/bot/prompts/classify@v1"
    assert versions(desk).tag(PATH, "v1") == "apps/desk/prompts/classify@v1"
    commit(folder, {f"apps/bot/{PATH}": "new\n", PATH: "root\n"})
    assert versions(bot).read(PATH, "v1").text == "bot\n"
    assert versions(bot).read(PATH).name.startswith("v1+1.g")
    assert versions(desk).read(PATH).name == "v1"
    git(folder, "tag", "prompts/classify@v9")  # by hand, as from within the project
    assert versions(bot).read(PATH, "v9").text == "new\n"


@pytest.mark.parametrize("pack", [False, True])
def test_a_sha256_repository_works(tmp_path, pack):
    root = make(tmp_path / "long", "--object-format=sha256")
    write(root, {PATH: "draft\n"})
    assert Repository.open(root).head().object_format == "sha256"
    commit(root, {PATH: "one\n"})
    if pack:
        git(root, "gc", "--quiet")
    versions(root).tag(PATH, "v1")
    git(root, "tag", "v0.9")
    commit(root, {PATH: "two\n", "prompts/b.txt": "b\n"})
    head = Repository.open(root).head([PATH])
    assert (len(head.id), len(head.tree), head.object_format, head.dirty) == (
        64, 64, "sha256", False,
    )  # fmt: skip
    assert versions(root).read(PATH, "v1").text == "one\n"
    assert versions(root).read(PATH).name.startswith("v1+1.g")
    git(root, "tag", "v1.0")
    assert versions(root).read("prompts/b.txt").name == "v1.0"


@pytest.mark.parametrize(
    ("path", "quote"),
    [
        ("prompts/grüße 日本.txt", "true"),
        ("prompts/grüße 日本.txt", "false"),
        ('"a" b.txt', "true"),
        ("-prompts/--x.txt", "true"),
        (":(top)x.txt", "true"),
        ("prompts/[a]*?.txt", "false"),
        ("a\\b.txt", "true"),
        ("p@q/r@s.txt", "true"),
    ],
)
def test_odd_names_are_names(folder, path, quote):
    git(folder, "config", "core.quotePath", quote)
    commit(folder, {path: "one\n"})
    git(folder, "tag", "v7")
    commit(folder, {path: "two\n"})
    found = versions(folder).read(path)
    assert found.name == f"v7+1.g{found.blob[:8]}"
    assert versions(folder).read(path, "v7").text == "one\n"
    repository = Repository.open(folder)
    assert not repository.head([path]).dirty
    for revision in (None, "HEAD"):
        assert repository.tree_entries(revision, [path]) == {path: ("100644", found.blob)}


def test_line_ends_of_the_checkout_change_neither_blob_nor_text(folder):
    commit(folder, {".gitattributes": "prompts/*.txt text eol=crlf\n"})
    os.utime(folder / PATH, (1, 1))
    write(folder, {PATH: b"one\r\n"})
    found = versions(folder).read(PATH)
    assert (found.text, found.name) == ("one\n", "v1.0")


def test_autocrlf_changes_neither_blob_nor_text(folder):
    git(folder, "config", "core.autocrlf", "true")
    write(folder, {PATH: b"one\r\n"})
    found = versions(folder).read(PATH)
    assert (found.text, found.name) == ("one\n", "v1.0")


def test_attributes_with_a_folder_hold_in_a_subfolder_of_a_monorepo(folder):
    commit(folder, {".gitattributes": "/apps/bot/prompts/*.txt text eol=crlf\n",
                    f"apps/bot/{PATH}": "one\n"})  # fmt: skip
    write(folder, {f"apps/bot/{PATH}": b"one\r\n"})
    found = versions(folder / "apps" / "bot").read(PATH)
    assert not found.name.endswith(".dirty")


def test_content_keeps_its_tagged_name_through_squash_and_rebase(folder):
    git(folder, "checkout", "--quiet", "-b", "side")
    commit(folder, {PATH: "two\n"})
    commit(folder, {PATH: "three\n"})
    git(folder, "tag", "prompts/classify@v2.0")
    git(folder, "checkout", "--quiet", "main")
    commit(folder, {"other.txt": "x"})
    git(folder, "merge", "--quiet", "--squash", "side")
    git(folder, "commit", "--quiet", "-m", "Squash")
    assert versions(folder).read(PATH).name == "v2.0"
    git(folder, "checkout", "--quiet", "side")
    git(folder, "rebase", "--quiet", "main~1")
    assert versions(folder).read(PATH).name == "v2.0"
    git(folder, "branch", "-D", "--quiet", "main")
    assert versions(folder).read(PATH, "v2.0").text == "three\n"


def test_a_symlink_is_its_target_here_and_at_a_revision(folder):
    (folder / PATH).unlink()
    write(folder, {"shared/classify.txt": "shared\n"})
    (folder / PATH).symlink_to("../shared/classify.txt")
    commit(folder, {})
    found = versions(folder).read(PATH)
    assert (found.text, found.name) == ("shared\n", f"v1.0+1.g{found.blob[:8]}")
    assert versions(folder).read(PATH, "HEAD").text == "shared\n"
    assert versions(folder).read(PATH, "v1.0").text == "one\n"


def test_a_tag_wins_over_a_branch_of_its_name(folder):
    git(folder, "branch", "v3")
    git(folder, "tag", "v2")
    commit(folder, {PATH: "two\n"})
    git(folder, "tag", "v3")
    git(folder, "branch", "v2")
    assert versions(folder).read(PATH, "v3").text == "two\n"
    assert versions(folder).read(PATH, "v2").text == "one\n"


def test_the_case_of_a_tag_counts(folder):
    commit(folder, {PATH: "two\n"})
    git(folder, "tag", "V1.0")
    assert versions(folder).read(PATH, "V1.0").text == "two\n"
    assert versions(folder).read(PATH, "v1.0").text == "one\n"


def test_a_tag_of_a_tag_is_a_version_and_one_of_no_commit_is_none(folder):
    commit(folder, {PATH: "two\n"})
    git(folder, "tag", "-a", "inner", "-m", "x")
    git(folder, "tag", "-a", "middle", "inner", "-m", "x")
    git(folder, "tag", "-a", "prompts/classify@v2", "middle", "-m", "x")
    git(folder, "tag", "-d", "inner", "middle")
    git(folder, "tag", "prompts/classify@v3", "HEAD^{tree}")
    git(folder, "tag", "prompts/classify@v4", f"HEAD:{PATH}")
    assert versions(folder).read(PATH).name == "v2"
    assert versions(folder).read(PATH, "v2").text == "two\n"
    assert versions(folder).known(PATH) == ["v2", "v1.0"]


@pytest.mark.parametrize("packed", [False, True])
def test_four_hundred_tags_are_told_apart(folder, packed):
    refs = "".join(f"create refs/tags/prompts/other_{n}@v1.0 HEAD\n" for n in range(200))
    refs += "".join(f"create refs/tags/v0.{n} HEAD\n" for n in range(200))
    subprocess.run(["git", "update-ref", "--stdin"], cwd=folder, input=refs.encode(), check=True)
    if packed:
        git(folder, "pack-refs", "--all", "--prune")
    assert versions(folder).read(PATH).name == "v1.0"
    commit(folder, {PATH: "two\n", "new.txt": "x"})
    assert versions(folder).read(PATH).name.startswith("v1.0+1.g")
    assert versions(folder).read("new.txt").name.startswith("g")


def test_a_release_candidate_is_older_than_the_release(folder):
    for tag in ("v2.0-rc1", "v2.0", "v2.0-rc2"):
        git(folder, "tag", f"prompts/classify@{tag}")
    assert versions(folder).known(PATH) == ["v2.0", "v2.0-rc2", "v2.0-rc1", "v1.0"]


def test_another_files_tags_are_not_this_ones(folder):
    commit(folder, {"prompts.txt": "one\n"})
    git(folder, "tag", "prompts/classify/deep@v5")
    assert versions(folder).known(PATH) == ["v1.0"]
    assert versions(folder).read("prompts.txt").name.startswith("g")


def test_a_hooks_environment_does_not_lead_elsewhere(folder, tmp_path, monkeypatch):
    other = make(tmp_path / "other")
    commit(other, {PATH: "elsewhere\n"})
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    monkeypatch.setenv("GIT_INDEX_FILE", str(other / ".git" / "index"))
    monkeypatch.setenv("GIT_PREFIX", "prompts/")
    monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
    repository = Repository.open(folder)
    assert repository.common_dir == (folder / ".git").resolve()
    assert not repository.head([PATH]).dirty
    assert list(repository.tree_entries(None, [PATH])) == [PATH]
    assert Versions(repository).read(PATH).name == "v1.0"


def test_a_hook_sees_the_index_that_is_committed(folder):
    """`git commit -a` hands its hook an index of its own: there the change is in."""
    hook = folder / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    python = "from loomgit.history.repository import Repository; from pathlib import Path; "
    python += f"print(Repository.open(Path('.')).tree_entries(None, ['{PATH}']), "
    python += f"Repository.open(Path('.')).objects([':{PATH}']), file=open('seen', 'w'))"
    hook.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{python}"\n')
    hook.chmod(0o755)
    write(folder, {PATH: "two\n"})
    subprocess.run(["git", "commit", "-qam", "x"], cwd=folder, env={**os.environ, **CLEAN,
                   "PYTHONPATH": str(Path.cwd())}, check=True)  # fmt: skip
    blob = git(folder, "rev-parse", f"HEAD:{PATH}")
    said = (folder / "seen").read_text()
    assert said.count(blob) == 2


def test_a_relative_index_of_the_hook_is_this_repositorys(folder, monkeypatch):
    (folder / "sub").mkdir()
    git(folder, "rm", "--quiet", "--cached", PATH)
    (folder / ".git" / "index").replace(folder / ".git" / "next-index")
    git(folder, "read-tree", "HEAD")
    monkeypatch.setenv("GIT_INDEX_FILE", ".git/next-index")
    assert Repository.open(folder).objects([f":{PATH}"]) == [None]
    assert Repository.open(folder / "sub").objects([f":{PATH}"]) == [None]


def test_a_folders_name_is_no_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE", "elsewhere")
    root = make(tmp_path / "$HERE")
    commit(root, {PATH: "one\n"})
    assert versions(root).read(PATH).text == "one\n"


def test_a_path_out_of_the_repository_is_not_there(folder):
    write(folder.parent, {"outside.txt": "x"})
    for path in ("../outside.txt", "prompts/../../outside.txt"):
        with pytest.raises(UserError, match="does not exist at HEAD"):
            versions(folder).read(path, "HEAD")
        with pytest.raises(UserError, match="has no version v9"):
            versions(folder).read(path, "v9")
