import pytest

from loomgit.errors import UserError
from loomgit.history.repository import Repository
from loomgit.history.versions import Versions, decode, split_version
from tests.repos import commit, git, make, write

PATH = "prompts/classify.txt"


@pytest.fixture
def folder(tmp_path):
    root = make(tmp_path / "work")
    commit(root, {PATH: "one\n"})
    return root


def versions(folder) -> Versions:
    return Versions(Repository.open(folder))


def test_without_a_tag_the_content_is_the_name(folder):
    found = versions(folder).read(PATH)
    assert found.text == "one\n"
    assert found.revision is None
    assert found.name == f"g{found.blob[:8]}"


@pytest.mark.parametrize("tag", ["prompts/classify@v1.0", "prompts/classify/v1.0", "v1.0"])
def test_a_tag_of_the_same_content_names_it(folder, tag):
    git(folder, "tag", "-a", tag, "-m", "x")
    assert versions(folder).read(PATH).name == "v1.0"


def test_a_version_is_read_at_its_tag_whatever_the_working_tree_holds(folder):
    git(folder, "tag", "prompts/classify@v1.0")
    commit(folder, {PATH: "two\n"})
    write(folder, {PATH: "three\n"})
    found = versions(folder).read(PATH, "v1.0")
    assert (found.text, found.name) == ("one\n", "v1.0")
    assert found.revision == git(folder, "rev-parse", "prompts/classify@v1.0^{commit}")


def test_a_scoped_tag_wins_over_a_tag_of_the_whole(folder):
    git(folder, "tag", "v1.0")
    commit(folder, {PATH: "two\n"})
    git(folder, "tag", "prompts/classify@v1.0")
    assert versions(folder).read(PATH, "v1.0").text == "two\n"


def test_any_revision_is_a_version(folder):
    first = git(folder, "rev-parse", "HEAD")
    commit(folder, {PATH: "two\n"})
    for revision in (first, first[:10], "HEAD~1", "main~1"):
        assert versions(folder).read(PATH, revision).text == "one\n"


def test_changes_since_the_newest_tag_are_counted(folder):
    git(folder, "tag", "prompts/classify@v1.0")
    commit(folder, {PATH: "two\n"})
    commit(folder, {"other.txt": "x"})
    commit(folder, {PATH: "three\n"})
    found = versions(folder).read(PATH)
    assert found.name == f"v1.0+2.g{found.blob[:8]}"


def test_v10_is_newer_than_v9(folder):
    git(folder, "tag", "prompts/classify@v9")
    git(folder, "tag", "prompts/classify@v10")
    commit(folder, {PATH: "two\n"})
    assert versions(folder).read(PATH).name.startswith("v10+1.g")


def test_what_is_not_committed_is_dirty(folder):
    git(folder, "tag", "prompts/classify@v1.0")
    write(folder, {PATH: "mine\n", "prompts/new.txt": "x"})
    found = versions(folder).read(PATH)
    assert found.name == f"v1.0+0.g{found.blob[:8]}.dirty"
    assert versions(folder).read("prompts/new.txt").name.endswith(".dirty")


def test_a_tag_on_a_branch_that_is_not_merged_names_no_change_count(folder):
    git(folder, "checkout", "--quiet", "-b", "side")
    commit(folder, {PATH: "side\n"})
    git(folder, "tag", "prompts/classify@v9")
    git(folder, "checkout", "--quiet", "main")
    assert versions(folder).read(PATH).name.startswith("g")


def test_a_shallow_clone_counts_nothing(folder, tmp_path):
    git(folder, "tag", "prompts/classify@v1.0")
    commit(folder, {PATH: "two\n"})
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{folder}", "shallow")
    git(
        tmp_path / "shallow",
        "fetch",
        "--quiet",
        "--depth=1",
        "origin",
        "tag",
        "prompts/classify@v1.0",
    )
    found = versions(tmp_path / "shallow").read(PATH)
    assert found.name == f"g{found.blob[:8]}"  # the tag cannot be seen to be behind this commit


def test_an_unknown_version_lists_those_that_exist(folder):
    git(folder, "tag", "prompts/classify@v1.0")
    git(folder, "tag", "prompts/classify@v1.1")
    with pytest.raises(UserError, match="has no version v2") as caught:
        versions(folder).read(PATH, "v2")
    assert caught.value.hint == "its versions: v1.1, v1.0"


def test_a_file_without_versions_says_how_to_make_one(folder):
    with pytest.raises(UserError) as caught:
        versions(folder).read(PATH, "v2")
    assert caught.value.hint == (
        f"it has no tagged version; run `loom tag {PATH} v2` to create one"
    )


def test_a_version_before_the_file_existed_says_so(folder):
    git(folder, "tag", "v0.1")
    commit(folder, {"prompts/later.txt": "x"})
    with pytest.raises(UserError, match="does not exist at v0.1"):
        versions(folder).read("prompts/later.txt", "v0.1")


@pytest.mark.parametrize("version", ["--all", "-x", "HEAD\nHEAD", "", "@{u}", "v1.0:other"])
def test_strange_versions_are_unknown_and_never_options(folder, version):
    with pytest.raises(UserError):
        versions(folder).read(PATH, version)


def test_a_missing_file_is_named(folder):
    with pytest.raises(UserError, match="prompts/none.txt does not exist"):
        versions(folder).read("prompts/none.txt")


def test_tag_names_the_committed_content(folder):
    assert versions(folder).tag(PATH, "v1.0") == "prompts/classify@v1.0"
    assert versions(folder).read(PATH, "v1.0").text == "one\n"


def test_tag_refuses_what_is_not_committed(folder):
    write(folder, {PATH: "mine\n", "prompts/new.txt": "x"})
    with pytest.raises(UserError, match="has uncommitted changes"):
        versions(folder).tag(PATH, "v1.0")
    with pytest.raises(UserError, match="is not committed"):
        versions(folder).tag("prompts/new.txt", "v1.0")


def test_versions_hold_before_the_first_commit(tmp_path):
    root = make(tmp_path / "fresh")
    write(root, {PATH: "draft\n"})
    found = versions(root).read(PATH)
    assert found.name == f"g{found.blob[:8]}.dirty"


def test_line_ends_do_not_change_the_text():
    assert decode(b"\xef\xbb\xbfone\r\ntwo\n", "p") == "one\ntwo\n"


def test_a_file_that_is_not_utf8_says_where():
    with pytest.raises(UserError, match=r"p.txt:2: not UTF-8 \(byte 0xe9\)"):
        decode(b"one\ncaf\xe9\n", "p.txt")


@pytest.mark.parametrize(
    ("argument", "parts"),
    [
        ("a.txt", ("a.txt", None)),
        ("a.txt@v1", ("a.txt", "v1")),
        ("a@b.txt@v1", ("a@b.txt", "v1")),
        ("@v1", ("@v1", None)),
        ("a.txt@", ("a.txt@", None)),
    ],
)
def test_the_last_at_parts_path_and_version(argument, parts):
    assert split_version(argument) == parts
