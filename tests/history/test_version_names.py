"""Naming: how many processes it takes, and what is remembered."""

import json

import pytest

from loomgit.errors import UserError
from loomgit.history.repository import Repository
from loomgit.history.versions import Versions
from tests.repos import commit, git, make, write

PATHS = [f"prompts/p{number}.txt" for number in range(30)]


@pytest.fixture
def folder(tmp_path):
    root = make(tmp_path / "work")
    commit(root, {path: f"{path}\n" for path in PATHS})
    for path in PATHS[:10]:
        git(root, "tag", f"{path.removesuffix('.txt')}@v1")
    git(root, "tag", "-a", "v0.5", "-m", "x")
    return root


def versions(folder) -> Versions:
    return Versions(Repository.open(folder))


@pytest.fixture
def processes(tmp_path, monkeypatch):
    """The git commands since it was last asked, as Git itself tells."""
    log = tmp_path / "trace.json"

    def started() -> list[str]:
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        events = [json.loads(line) for line in lines]
        names = {e["sid"]: e["name"] for e in events if e["event"] == "cmd_name"}
        return [name for sid, name in names.items() if "/" not in sid]

    monkeypatch.delenv("GIT_TRACE2_PARENT_SID", raising=False)
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(log))
    return started


def test_any_number_of_tagged_files_is_read_in_four_processes_and_in_three_again(folder, processes):
    repository = Repository.open(folder)
    for asked in (PATHS[:1], PATHS):
        (folder / ".git" / "loom" / "versions.json").unlink(missing_ok=True)
        processes()
        read = Versions(repository).read_all([(path, None) for path in asked])
        assert {file.name for file in read} == ({"v1", "v0.5"} if len(asked) > 1 else {"v1"})
        assert processes() == ["hash-object", "for-each-ref", "cat-file", "cat-file"]
    Versions(repository).read_all([(path, None) for path in PATHS])
    assert processes() == ["hash-object", "for-each-ref", "cat-file"]


def test_any_number_of_tagged_versions_is_read_in_one_process(folder, processes):
    repository = Repository.open(folder)
    processes()
    read = Versions(repository).read_all([(path, "v1") for path in PATHS[:10]])
    assert [file.text for file in read] == [f"{path}\n" for path in PATHS[:10]]
    assert processes() == ["cat-file"]


def test_changes_of_any_number_of_files_are_counted_in_three_processes_more(folder, processes):
    for number in range(3):
        commit(folder, dict.fromkeys(PATHS[number:], f"{number}\n"))
    write(folder, {PATHS[5]: "mine\n"})
    repository = Repository.open(folder)
    processes()
    names = [f.name for f in Versions(repository).read_all([(path, None) for path in PATHS])]
    assert [name.partition("g")[0] for name in names[:4]] == ["v1+1.", "v1+2.", "v1+3.", "v1+3."]
    assert names[10].startswith("v0.5+3.g")
    assert names[5].endswith(".dirty")
    assert (
        processes()[4:] == ["rev-parse", "rev-list", "diff-tree"] or sorted(processes()) == []
    )  # the order of the walk's processes is free


def test_an_edit_that_is_not_committed_needs_no_second_walk(folder, processes):
    commit(folder, {PATHS[0]: "two\n"})
    versions(folder).read(PATHS[0])
    write(folder, {PATHS[0]: "three\n"})
    processes()
    assert versions(folder).read(PATHS[0]).name.startswith("v1+1.g")
    assert "rev-list" not in processes()


def test_what_was_remembered_is_forgotten_with_the_tags(folder):
    commit(folder, {PATHS[0]: "two\n"})
    assert versions(folder).read(PATHS[0]).name.startswith("v1+1.g")
    git(folder, "tag", "prompts/p0@v2")
    assert versions(folder).read(PATHS[0]).name == "v2"
    git(folder, "tag", "-d", "prompts/p0@v2")
    assert versions(folder).read(PATHS[0]).name.startswith("v1+1.g")
    git(folder, "tag", "-f", "prompts/p0@v1", "HEAD")
    assert versions(folder).read(PATHS[0]).name == "v1"


def test_a_new_commit_counts(folder):
    for number in range(1, 4):
        commit(folder, {PATHS[0]: f"{number}\n"})
        assert versions(folder).read(PATHS[0]).name.startswith(f"v1+{number}.g")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"format": 1}', b"\xff\xfe", b'{"format": 9, "names": {}}'],
)
def test_a_damaged_cache_is_as_none(folder, content):
    versions(folder).read(PATHS[0])
    cache = folder / ".git" / "loom" / "versions.json"
    cache.write_bytes(content)
    assert versions(folder).read(PATHS[0]).name == "v1"
    assert json.loads(cache.read_bytes())["names"]


def test_a_cached_name_of_no_text_is_found_again(folder):
    versions(folder).read(PATHS[0])
    cache = folder / ".git" / "loom" / "versions.json"
    document = json.loads(cache.read_bytes())
    document["names"] = dict.fromkeys(document["names"], 7)
    cache.write_text(json.dumps(document))
    assert versions(folder).read(PATHS[0]).name == "v1"


def test_where_nothing_can_be_kept_names_are_found_all_the_same(folder):
    (folder / ".git" / "loom").write_text("in the way of the folder")
    assert versions(folder).read(PATHS[0]).name == "v1"


def test_a_cache_is_left_without_rests(folder):
    versions(folder).read(PATHS[0])
    versions(folder).read(PATHS[1])
    assert [path.name for path in (folder / ".git" / "loom").iterdir()] == ["versions.json"]
    names = json.loads((folder / ".git" / "loom" / "versions.json").read_text())["names"]
    assert len(names) == 2


def test_faults_stand_in_their_places(folder):
    write(folder, {"bad.txt": b"\xff"})
    asked = [(PATHS[0], None), ("none.txt", None), (PATHS[1], "v9"), ("bad.txt", None),
             (PATHS[1], "HEAD"), (PATHS[0], None)]  # fmt: skip
    read = versions(folder).read_all(asked)
    assert [isinstance(each, UserError) for each in read] == [False, True, True, True, False, False]
    assert read[0] == read[5]
    assert (read[4].text, read[4].name) == (f"{PATHS[1]}\n", "v1")
    assert "bad.txt:1: not UTF-8" in read[3].message


def test_a_revision_is_named_as_seen_from_there(folder):
    commit(folder, {PATHS[0]: "two\n"})
    second = git(folder, "rev-parse", "HEAD")
    commit(folder, {PATHS[0]: "three\n"})
    git(folder, "tag", "prompts/p0@v2")
    commit(folder, {PATHS[0]: "four\n"})
    assert versions(folder).read(PATHS[0], second).name.startswith("v1+1.g")
    assert versions(folder).read(PATHS[0], "HEAD").name.startswith("v2+1.g")


def test_the_newest_version_counts_only_if_it_is_behind(folder):
    git(folder, "checkout", "--quiet", "-b", "side")
    commit(folder, {PATHS[0]: "side\n"})
    git(folder, "tag", "prompts/p0@v9")
    git(folder, "checkout", "--quiet", "main")
    commit(folder, {PATHS[0]: "two\n"})
    assert versions(folder).read(PATHS[0]).name.startswith("v1+1.g")


def test_nothing_asked_asks_nothing(folder, processes):
    repository = Repository.open(folder)
    processes()
    assert Versions(repository).read_all([]) == []
    assert processes() == []
