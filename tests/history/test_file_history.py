"""Which commits brought which content of a file, across renames and merges."""

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loomgit.history.file_history import FileHistory
from loomgit.history.repository import Repository
from tests.repos import commit, git, make

PATH = "prompts/a.txt"


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "work")


def arrivals(folder, path=PATH):
    """(path, text, subject) of each arrival, newest first."""
    repository = Repository.open(folder)
    found = FileHistory(repository, path, git(folder, "rev-parse", "HEAD")).arrivals()
    return [
        (arrival.path, repository.read_blob(arrival.blob).decode().strip(), arrival.step.subject)
        for arrival in found
    ]


def move(folder, old, new, subject="Move", files=None):
    git(folder, "mv", old, new)
    commit(folder, files or {}, subject)


def test_commits_that_leave_the_content_bring_nothing(folder):
    commit(folder, {PATH: "one", "other.txt": "x"}, "First")
    commit(folder, {"other.txt": "y"}, "Elsewhere")
    (folder / PATH).chmod(0o755)
    commit(folder, {}, "Mode")
    commit(folder, {PATH: "two"}, "Second")
    commit(folder, {PATH: "one"}, "Back")
    assert arrivals(folder) == [(PATH, "one", "Back"), (PATH, "two", "Second"),
                                (PATH, "one", "First")]  # fmt: skip


def test_a_file_renamed_twice_is_followed_to_its_start(folder):
    commit(folder, {PATH: "one"}, "First")
    move(folder, PATH, "prompts/b.txt")
    commit(folder, {"prompts/b.txt": "two"}, "Second")
    move(folder, "prompts/b.txt", "c.md")
    commit(folder, {"c.md": "three"}, "Third")
    assert arrivals(folder, "c.md") == [
        ("c.md", "three", "Third"), ("prompts/b.txt", "two", "Second"), (PATH, "one", "First"),
    ]  # fmt: skip


def test_what_took_the_old_path_later_is_another_file(folder):
    commit(folder, {PATH: "one"}, "First")
    move(folder, PATH, "b.txt")
    commit(folder, {PATH: "stranger"}, "Another")
    commit(folder, {"b.txt": "two"}, "Second")
    assert [text for _, text, _ in arrivals(folder, "b.txt")] == ["two", "one"]
    assert [text for _, text, _ in arrivals(folder, PATH)] == ["stranger", "one"]


def test_a_file_renamed_there_and_back_is_followed(folder):
    commit(folder, {PATH: "one"}, "First")
    move(folder, PATH, "b.txt")
    commit(folder, {"b.txt": "two"}, "Second")
    move(folder, "b.txt", PATH)
    assert arrivals(folder) == [("b.txt", "two", "Second"), (PATH, "one", "First")]


def test_a_deleted_file_keeps_its_trail_and_a_new_life_adds_to_it(folder):
    commit(folder, {PATH: "one"}, "First")
    git(folder, "rm", "--quiet", PATH)
    commit(folder, {"x.txt": "x"}, "Away")
    assert arrivals(folder) == [(PATH, "one", "First")]
    commit(folder, {PATH: "two"}, "Again")
    assert arrivals(folder) == [(PATH, "two", "Again"), (PATH, "one", "First")]


def test_an_id_follows_a_file_that_was_moved_and_rewritten_at_once(folder):
    text = "---\nid: faq\n---\n"
    commit(folder, {PATH: text + "one", "0.txt": "---\nid: zzz\n---\nz"}, "First")
    git(folder, "rm", "--quiet", PATH, "0.txt")
    commit(folder, {"b.txt": text + "all other words"}, "Rewrite")
    assert [path for path, _, _ in arrivals(folder, "b.txt")] == ["b.txt", PATH]


def test_without_an_id_a_rewritten_file_is_not_guessed(folder):
    commit(folder, {PATH: "one\n" * 9}, "First")
    move(folder, PATH, "b.txt", "Rewrite", {"b.txt": "one\n" * 9 + "two"})
    assert [subject for _, _, subject in arrivals(folder, "b.txt")] == ["Rewrite"]


def test_a_merge_brings_only_what_no_side_has(folder):
    commit(folder, {PATH: "one"}, "First")
    git(folder, "checkout", "--quiet", "-b", "side")
    commit(folder, {PATH: "side"}, "Side")
    git(folder, "checkout", "--quiet", "main")
    commit(folder, {"x.txt": "x"}, "Elsewhere")
    git(folder, "merge", "--quiet", "--no-ff", "-m", "Take", "side")
    assert [subject for _, _, subject in arrivals(folder)] == ["Side", "First"]
    git(folder, "checkout", "--quiet", "-b", "more", "HEAD^1")
    commit(folder, {PATH: "more"}, "More")
    git(folder, "checkout", "--quiet", "main")
    git(folder, "merge", "--quiet", "--no-commit", "--strategy=ours", "more")
    commit(folder, {PATH: "solved"}, "Solve")
    found = arrivals(folder)
    assert found[0] == (PATH, "solved", "Solve")
    assert {subject for _, _, subject in found} == {"Solve", "More", "Side", "First"}


def test_a_side_that_has_not_moved_the_file_yet_is_followed_under_its_old_path(folder):
    commit(folder, {PATH: "one"}, "First")
    git(folder, "checkout", "--quiet", "-b", "side")
    commit(folder, {PATH: "side"}, "Side")
    git(folder, "checkout", "--quiet", "main")
    move(folder, PATH, "b.txt")
    git(folder, "merge", "--quiet", "--no-ff", "-m", "Take", "side")
    assert (folder / "b.txt").read_text() == "side"
    assert arrivals(folder, "b.txt") == [(PATH, "side", "Side"), (PATH, "one", "First")]


@pytest.mark.parametrize("path", ["prompts/grüße 日本.txt", '"a" b.txt', ":(top)x.txt", "-x.txt"])
def test_odd_names_and_words_are_read_as_they_are(folder, path):
    commit(folder, {"first ü.txt": "one"}, "Zwölf\x0b\u2028 Boxkämpfer")
    (folder / path).parent.mkdir(exist_ok=True)
    git(folder, "mv", "--", "first ü.txt", path)
    commit(folder, {}, "Move")
    git(folder, "config", "log.follow", "true")
    assert arrivals(folder, path) == [("first ü.txt", "one", "Zwölf\x0b\u2028 Boxkämpfer")]


NAMES = ["a", "b", "dir/c"]


@st.composite
def lives(draw):
    """A file's life on one line: what each commit does, and what must be found, newest first."""
    name, text, number = "a", "t0", 0
    commits = [f"M 100644 inline a\ndata 2\n{text}\n"]
    expected = [(name, text)]
    for _ in range(draw(st.integers(0, 8))):
        match draw(st.sampled_from(["edit", "back", "move", "other"])):
            case "edit":
                number += 1
                text = f"t{number}"
            case "back":
                text = draw(st.sampled_from([before for _, before in expected]))
            case "move":
                new = draw(st.sampled_from([other for other in NAMES if other != name]))
                commits.append(f"R {name} {new}\n")
                name = new
                continue
            case "other":
                commits.append(f"M 100644 inline other\ndata 2\n{number:02}\n")
                continue
        commits.append(f"M 100644 inline {name}\ndata {len(text)}\n{text}\n")
        if expected[0][1] != text:
            expected.insert(0, (name, text))
    return name, commits, expected


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return make(tmp_path_factory.mktemp("trail"))


@given(life=lives())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_life_of_a_file_on_one_line_is_found(shared, life):
    name, commits, expected = life
    lines = ["reset refs/heads/main\n"]
    for number, change in enumerate(commits):
        lines.append(f"commit refs/heads/main\nmark :{number + 1}\n")
        lines.append(f"committer A <a@example.org> {1_000_000 + number} +0000\ndata 1\nx\n")
        lines.append(f"from :{number}\n" if number else "deleteall\n")
        lines.append(change)
    subprocess.run(
        ["git", "fast-import", "--quiet", "--force", "--date-format=raw"],
        cwd=shared, input="".join(lines).encode(), check=True, capture_output=True,
    )  # fmt: skip
    assert [(path, text) for path, text, _ in arrivals(shared, name)] == expected
