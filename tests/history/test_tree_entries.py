"""Modes and blobs of chosen paths, at a revision and in the working tree."""

import pytest

from loomgit.history.repository import MAX_PATHSPECS, Repository
from tests.repos import commit, git, make, write

PATHS = ["a.txt", "run.sh", "sub/b.txt", "link.txt", "gone.txt"]


@pytest.fixture
def folder(tmp_path):
    root = make(tmp_path / "work")
    write(root, {"run.sh": "#!/bin/sh\n"})
    (root / "run.sh").chmod(0o755)
    (root / "link.txt").symlink_to("sub/b.txt")
    commit(root, {"a.txt": "a\n", "sub/b.txt": "b\n"})
    return root


def blob(folder, name):
    return git(folder, "rev-parse", name)


def test_a_clean_tree_has_what_the_commit_has(folder):
    repository = Repository.open(folder)
    expected = {
        "a.txt": ("100644", blob(folder, "HEAD:a.txt")),
        "run.sh": ("100755", blob(folder, "HEAD:run.sh")),
        "sub/b.txt": ("100644", blob(folder, "HEAD:sub/b.txt")),
        "link.txt": ("120000", blob(folder, "HEAD:sub/b.txt")),
    }
    assert repository.tree_entries("HEAD", PATHS) == expected
    assert repository.tree_entries(None, PATHS) == expected


def test_the_working_tree_is_as_it_would_be_committed(folder):
    write(folder, {"a.txt": "changed\n", "new.txt": "new\n", "staged.txt": "staged\n"})
    git(folder, "add", "staged.txt")
    (folder / "run.sh").chmod(0o644)
    (folder / "sub/b.txt").unlink()
    found = Repository.open(folder).tree_entries(
        None, ["a.txt", "new.txt", "staged.txt", "run.sh", "sub/b.txt"]
    )
    git(folder, "add", "--all")
    tree = git(folder, "write-tree")
    assert found == {
        "a.txt": ("100644", blob(folder, f"{tree}:a.txt")),
        "new.txt": ("100644", blob(folder, f"{tree}:new.txt")),
        "staged.txt": ("100644", blob(folder, f"{tree}:staged.txt")),
        "run.sh": ("100644", blob(folder, f"{tree}:run.sh")),
    }


def test_a_change_of_what_a_link_leads_to_shows(folder):
    before = Repository.open(folder).tree_entries(None, ["link.txt"])
    write(folder, {"sub/b.txt": "changed\n"})
    after = Repository.open(folder).tree_entries(None, ["link.txt"])
    assert after["link.txt"].mode == "120000"
    assert after != before


def test_a_file_that_was_only_touched_is_unchanged(folder):
    (folder / "a.txt").write_text("a\n")
    entries = Repository.open(folder).tree_entries(None, ["a.txt"])
    assert entries == {"a.txt": ("100644", blob(folder, "HEAD:a.txt"))}


def test_the_index_gives_modes_where_the_disk_has_none(folder):
    git(folder, "config", "core.fileMode", "false")
    write(folder, {"run.sh": "#!/bin/sh\ntrue\n"})
    (folder / "run.sh").chmod(0o644)
    assert Repository.open(folder).tree_entries(None, ["run.sh"])["run.sh"].mode == "100755"


def test_a_conflict_has_the_file_as_it_lies_there(folder):
    git(folder, "checkout", "--quiet", "-b", "side")
    commit(folder, {"a.txt": "side\n"})
    git(folder, "checkout", "--quiet", "main")
    commit(folder, {"a.txt": "main\n"})
    with pytest.raises(Exception, match="merge"):
        git(folder, "merge", "side")
    found = Repository.open(folder).tree_entries(None, ["a.txt"])
    assert found == {"a.txt": ("100644", git(folder, "hash-object", "a.txt"))}


def test_before_the_first_commit_and_in_a_subfolder(tmp_path):
    root = make(tmp_path / "fresh")
    write(root, {"apps/bot/prompts/a.txt": "a\n", "prompts/a.txt": "other\n"})
    repository = Repository.open(root / "apps" / "bot")
    expected = {"prompts/a.txt": ("100644", git(root, "hash-object", "apps/bot/prompts/a.txt"))}
    assert repository.tree_entries(None, ["prompts/a.txt"]) == expected
    git(root, "add", "--all")
    assert repository.tree_entries(None, ["prompts/a.txt"]) == expected
    commit(root, {})
    assert repository.tree_entries("HEAD", ["prompts/a.txt"]) == expected
    assert repository.tree_files("HEAD") == {"prompts/a.txt": expected["prompts/a.txt"][1]}


def test_more_paths_than_a_command_line_takes(folder):
    paths = [f"many/{number}.txt" for number in range(MAX_PATHSPECS + 1)]
    commit(folder, dict.fromkeys(paths, "x\n"))
    repository = Repository.open(folder)
    assert repository.tree_entries("HEAD", paths) == repository.tree_entries(None, paths)
    assert list(repository.tree_entries("HEAD", paths)) == paths


def test_no_paths_no_entries(folder):
    repository = Repository.open(folder)
    assert repository.tree_entries("HEAD", []) == repository.tree_entries(None, []) == {}
