import pytest

from loomgit.errors import UserError
from loomgit.history.repository import Repository
from loomgit.hooks.install import Hooks, RefUpdate, parse_updates
from loomgit.hooks.shim import HOOKS, is_loom_hook
from tests.repos import commit, git, make


@pytest.fixture
def root(tmp_path):
    root = make(tmp_path / "repository")
    commit(root, {"a.txt": "a"})
    return root


def hooks(root) -> Hooks:
    return Hooks(Repository.open(root, {}))


def install(root, hook="pre-push", project="."):
    return hooks(root).install(hook, python="/usr/bin/python3", project=project)


def test_installing_twice_is_installing_once(root):
    path = install(root)
    first = path.read_bytes()
    assert install(root).read_bytes() == first
    assert sorted(p.name for p in path.parent.iterdir() if "sample" not in p.name) == ["pre-push"]
    assert hooks(root).uninstall() == [path]
    assert not path.exists()
    assert hooks(root).uninstall() == []


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o644])
@pytest.mark.parametrize("content", [b"#!/bin/sh\nexit 0", b"\x7fELF\x00\xff\r\n", b""])
def test_what_was_there_comes_back_byte_for_byte(root, mode, content):
    path = root / ".git/hooks/pre-push"
    path.write_bytes(content)
    path.chmod(mode)
    install(root)
    install(root)
    assert is_loom_hook(path.read_bytes())
    hooks(root).uninstall()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (content, mode)


@pytest.mark.parametrize("target", ["../../a.txt", "nowhere"])
def test_a_link_comes_back_as_a_link(root, target):
    path = root / ".git/hooks/pre-push"
    path.symlink_to(target)
    install(root)
    assert not path.is_symlink()
    hooks(root).uninstall()
    assert str(path.readlink()) == target


def test_a_hook_left_aside_is_not_overwritten(root):
    folder = root / ".git/hooks"
    (folder / "pre-push.before-loom").write_text("precious")
    (folder / "pre-push").write_text("another")
    with pytest.raises(UserError, match="exists already"):
        install(root)
    assert (folder / "pre-push").read_text() == "another"
    assert (folder / "pre-push.before-loom").read_text() == "precious"


@pytest.mark.parametrize(
    "asks", ['n=$(basename "$0")', "basename -- $0", "${0##*/}", "File.basename($0)"]
)
def test_a_hook_that_asks_its_name_is_not_moved(root, asks):
    path = root / ".git/hooks/pre-push"
    path.write_text(f"#!/bin/sh\n{asks}\n")
    with pytest.raises(UserError, match="reads its own file name") as caught:
        install(root)
    assert "hooks run pre-push --project . " in caught.value.hint
    assert path.read_text() == f"#!/bin/sh\n{asks}\n"


def test_huskys_folder_is_not_ours(root):
    git(root, "config", "core.hooksPath", ".husky/_")
    with pytest.raises(UserError, match="belongs to husky") as caught:
        install(root)
    assert caught.value.hint.startswith("add this line to .husky/pre-push: ")


def test_a_hooks_path_counts_from_the_top_wherever_one_stands(root):
    git(root, "config", "core.hooksPath", "tools/hooks")
    (root / "apps/bot").mkdir(parents=True)
    path = install(root / "apps/bot", project="apps/bot")
    assert path == root / "tools/hooks/pre-push"
    states = {state.hook: state for state in hooks(root).states()}
    assert states["pre-push"].project == "apps/bot"
    assert [hook for hook in HOOKS if states[hook].installed] == ["pre-push"]


def test_a_link_out_of_the_repository_is_seen_through(root, tmp_path):
    (tmp_path / "shared").mkdir()
    (root / "hooks").symlink_to(tmp_path / "shared")
    git(root, "config", "core.hooksPath", "hooks")
    with pytest.raises(UserError, match="outside this repository"):
        install(root)
    assert list((tmp_path / "shared").iterdir()) == []


def test_one_hook_guards_one_project(root):
    install(root, project="apps/a")
    with pytest.raises(UserError, match="checks another project of this repository: apps/a"):
        install(root, "pre-commit", project="apps/b")


def test_a_linked_worktree_shares_the_hooks(root, tmp_path):
    git(root, "worktree", "add", "--quiet", str(tmp_path / "tree"))
    path = install(tmp_path / "tree")
    assert path == root / ".git/hooks/pre-push"


def test_updates_are_read_from_the_right():
    zero, one, two = "0" * 40, "1" * 40, "2" * 40
    said = (
        f"refs/heads/a {one} refs/heads/b {two}\n"
        f"HEAD^{{/fix the bug}} {one} refs/heads/new {zero}\n"
        f"(delete) {zero} refs/heads/gone {two}\n"
        "\n"
        f"refs/heads/\u2028odd {one} refs/heads/x {two}"
    )
    assert parse_updates(said) == [
        RefUpdate("refs/heads/a", one, "refs/heads/b", two),
        RefUpdate("HEAD^{/fix the bug}", one, "refs/heads/new", ""),
        RefUpdate("refs/heads/\u2028odd", one, "refs/heads/x", two),
    ]
