"""Versions of files that had another path."""

import pytest

from loomgit.errors import UserError
from loomgit.history.commit_counts import former_paths, load_renames
from loomgit.history.renames import find_id
from loomgit.history.repository import Repository
from loomgit.history.versions import Versions
from tests.repos import commit, git, make, write

TEXT = "---\nid: sentiment\n---\nSay {word}.\n"


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "work")


def versions(folder) -> Versions:
    return Versions(Repository.open(folder))


def move(folder, old, new, files=None):
    (folder / new).parent.mkdir(parents=True, exist_ok=True)
    git(folder, "mv", "--", old, new)
    return commit(folder, files or {}, f"Move {old}")


def with_id(word):
    return TEXT.replace("{word}", word)


@pytest.fixture
def twice(folder):
    """Renamed twice, edited between: each name has tags of its own."""
    commit(folder, {"prompts/first.txt": "one\n", "prompts/stays.txt": "stays\n"})
    git(folder, "tag", "prompts/first@v1")
    move(folder, "prompts/first.txt", "prompts/second.txt")
    commit(folder, {"prompts/second.txt": "two\n"})
    git(folder, "tag", "prompts/second/v2")
    git(folder, "tag", "r2")
    move(folder, "prompts/second.txt", "new/third.md")
    commit(folder, {"new/third.md": "three\n"})
    return folder


def test_a_prompt_renamed_twice_keeps_its_versions(twice):
    read = versions(twice).read
    assert (read("new/third.md", "v1").text, read("new/third.md", "v2").text) == ("one\n", "two\n")
    found = read("new/third.md", "v1")
    assert (found.path, found.former_path, found.name) == (
        "new/third.md", "prompts/first.txt", "v1",
    )  # fmt: skip
    assert found.revision == git(twice, "rev-parse", "prompts/first@v1")
    assert read("new/third.md", "prompts/first@v1").text == "one\n"


def test_a_tag_of_the_whole_and_a_revision_find_the_former_path(twice):
    read = versions(twice).read
    assert read("new/third.md", "r2").text == "two\n"
    at_start = read("new/third.md", git(twice, "rev-list", "--max-parents=0", "HEAD"))
    assert (at_start.text, at_start.former_path, at_start.name) == (
        "one\n", "prompts/first.txt", "v1",
    )  # fmt: skip


def test_a_renamed_prompt_is_named_by_its_former_tags(twice):
    found = versions(twice).read("new/third.md")
    assert found.name == f"v2+2.g{found.blob[:8]}"  # the move and the edit
    write(twice, {"new/third.md": "two\n"})
    assert versions(twice).read("new/third.md").name == "v2"
    write(twice, {"new/third.md": "one\n"})
    assert versions(twice).read("new/third.md").name == "v1"
    write(twice, {"new/third.md": "four\n"})
    found = versions(twice).read("new/third.md")
    assert found.name == f"v2+2.g{found.blob[:8]}.dirty"


def test_the_same_version_under_two_former_names_is_ambiguous(twice):
    git(twice, "tag", "prompts/second@v1", "r2")
    with pytest.raises(
        UserError, match=r"new/third.md at v1 could be prompts/first@v1, prompts/sec"
    ):
        versions(twice).read("new/third.md", "v1")


def test_another_prompts_tag_is_not_taken_for_a_former_one(twice):
    git(twice, "tag", "prompts/stays@v7")
    with pytest.raises(UserError, match="has no version v7"):
        versions(twice).read("new/third.md", "v7")


def test_a_copy_has_no_versions_of_what_it_was_copied_from(folder):
    commit(folder, {"prompts/a.txt": "one\n"})
    git(folder, "tag", "prompts/a@v1")
    commit(folder, {"prompts/b.txt": "one\n"})
    assert versions(folder).read("prompts/b.txt").name.startswith("g")
    with pytest.raises(UserError, match="has no version v1"):
        versions(folder).read("prompts/b.txt", "v1")


def test_an_id_finds_a_prompt_that_was_moved_and_rewritten_at_once(folder):
    commit(folder, {"prompts/old.txt": with_id("one"), "docs/x.txt": "id: sentiment\n"})
    git(folder, "tag", "prompts/old@v1")
    git(folder, "tag", "r1")
    move(folder, "prompts/old.txt", "prompts/new.txt",
         {"prompts/new.txt": "---\nid: sentiment\n---\nAll other words.\n"})  # fmt: skip
    for version in ("v1", "r1", "HEAD~1"):
        found = versions(folder).read("prompts/new.txt", version)
        assert (found.text, found.former_path) == (with_id("one"), "prompts/old.txt")


def test_without_an_id_a_prompt_that_was_rewritten_is_not_guessed(folder):
    commit(folder, {"prompts/old.txt": "one\n" * 9})
    git(folder, "tag", "prompts/old@v1")
    git(folder, "tag", "r1")
    move(folder, "prompts/old.txt", "prompts/new.txt", {"prompts/new.txt": "one\n" * 9 + "two\n"})
    with pytest.raises(UserError, match="has no version v1"):
        versions(folder).read("prompts/new.txt", "v1")
    with pytest.raises(UserError, match="does not exist at r1"):
        versions(folder).read("prompts/new.txt", "r1")


def test_two_files_with_the_id_are_ambiguous(folder):
    commit(folder, {"prompts/a.txt": with_id("one"), "prompts/b.txt": with_id("two")})
    git(folder, "tag", "r1")
    git(folder, "rm", "--quiet", "prompts/a.txt", "prompts/b.txt")
    commit(folder, {"prompts/new.txt": with_id("three")})
    with pytest.raises(UserError, match=r"could be prompts/a.txt, prompts/b.txt") as caught:
        versions(folder).read("prompts/new.txt", "r1")
    assert caught.value.hint == "add a unique `id:` to each file"


def test_two_files_with_the_content_are_ambiguous(folder):
    commit(folder, {"prompts/a.txt": "one\n", "prompts/b.txt": "one\n"})
    git(folder, "tag", "r1")
    git(folder, "rm", "--quiet", "prompts/a.txt", "prompts/b.txt")
    commit(folder, {"other.txt": "x"})
    write(folder, {"prompts/new.txt": "one\n"})
    with pytest.raises(UserError, match=r"could be prompts/a.txt, prompts/b.txt"):
        versions(folder).read("prompts/new.txt", "r1")


def test_a_path_that_belonged_to_another_file_is_that_file_then(folder):
    """`prompts/a.txt` went, and a new prompt took its path: at the old tag the path decides."""
    commit(folder, {"prompts/a.txt": "old a\n"})
    git(folder, "tag", "r1")
    move(folder, "prompts/a.txt", "prompts/b.txt")
    commit(folder, {"prompts/a.txt": "new a\n"})
    assert versions(folder).read("prompts/a.txt", "r1").text == "old a\n"
    assert versions(folder).read("prompts/b.txt", "r1").text == "old a\n"


def test_a_renaming_in_a_subfolder_of_a_monorepo_is_followed(folder):
    commit(folder, {"apps/bot/prompts/a.txt": "one\n"})
    project = folder / "apps" / "bot"
    versions(project).tag("prompts/a.txt", "v1")
    move(folder, "apps/bot/prompts/a.txt", "apps/bot/prompts/b.txt")
    assert versions(project).read("prompts/b.txt", "v1").former_path == "prompts/a.txt"
    assert versions(project).read("prompts/b.txt").name == "v1"
    commit(folder, {"apps/bot/prompts/b.txt": "two\n"})
    assert versions(project).read("prompts/b.txt").name.startswith("v1+2.g")


def test_a_renaming_that_is_not_committed_is_found_by_content(folder):
    commit(folder, {"prompts/a.txt": "one\n"})
    git(folder, "tag", "r1")
    git(folder, "mv", "prompts/a.txt", "prompts/b.txt")
    assert versions(folder).read("prompts/b.txt", "r1").former_path == "prompts/a.txt"


@pytest.mark.parametrize("quote", ["true", "false"])
def test_moves_are_read_with_odd_names(folder, quote):
    git(folder, "config", "core.quotePath", quote)
    commit(folder, {"prompts/a b ü.txt": "one\n"})
    move(folder, "prompts/a b ü.txt", 'prompts/"c".txt')
    repository = Repository.open(folder)
    moves = load_renames(repository, repository.head().id)
    assert moves == [("prompts/a b ü.txt", 'prompts/"c".txt')]


def test_former_paths_follow_the_moves_backwards_and_stop_where_a_path_was_reused():
    moves = [("b", "c"), ("x", "b2"), ("a", "b"), ("c", "a")]
    assert former_paths("c", moves) == ["b", "a", "c"]
    assert former_paths("b", moves) == ["a", "c"]
    assert former_paths("x", moves) == []


@pytest.mark.parametrize(
    ("content", "identity"),
    [
        (b"---\nid: a-b\n---\ntext", "a-b"),
        (b'\xef\xbb\xbf---\r\nmodel: x\r\nid: "a b"  # why\r\n---\r\n', "a b"),
        (b"---\nid: 'x#1'\n---\n", "x#1"),
        (b"---\nid: x # note\nmodel: y\n---\n", "x"),
        (b"---\nidx: a\n  id: b\n---\nid: c\n", ""),
        (b"id: a\n", ""),
        (b"text\n---\nid: a\n---\n", ""),
        (b"", ""),
    ],
)
def test_the_id_is_read_from_the_front_matter_alone(content, identity):
    assert find_id(content) == identity
