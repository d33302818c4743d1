import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.globs import folder_of, matches

PATHS = [
    *("README.md", "docs/a.md", "docs/b.txt", "docs/deep/c.md", "docs/deep/er/d.md"),
    *("docs/.hidden.md", ".github/x.md", "docs/.git/y.md", "docs/[1].md"),
]


@pytest.mark.parametrize(
    ("glob", "expected"),
    [
        ("*.md", ["README.md"]),
        ("./*.md", ["README.md"]),
        ("docs/*.md", ["docs/a.md", "docs/[1].md"]),
        ("docs/**/*.md", ["docs/a.md", "docs/deep/c.md", "docs/deep/er/d.md", "docs/[1].md"]),
        ("docs/*/*.md", ["docs/deep/c.md"]),
        ("docs/deep/**", ["docs/deep/c.md", "docs/deep/er/d.md"]),
        ("**/c.md", ["docs/deep/c.md"]),
        ("docs/[ab].*", ["docs/a.md", "docs/b.txt"]),
        ("docs/[!a].*", ["docs/b.txt"]),
        ("docs/?.md", ["docs/a.md"]),
        (".github/*.md", [".github/x.md"]),
        ("docs", []),
        ("docs/[z-a].md", []),
        ("docs/[.md", []),
        ("", []),
    ],
)
def test_a_glob_matches_whole_paths(glob, expected):
    assert [path for path in PATHS if matches(glob, path)] == expected


@given(st.text(alphabet="ab*?[]!-^\\./{}|", max_size=12))
def test_any_text_is_a_glob(glob):
    assert matches(glob, "a/b.md") in (True, False)


@given(st.text(alphabet="ab.é -", min_size=1, max_size=8).filter(lambda t: not set(t) <= {"."}))
def test_a_name_without_wildcards_matches_itself_alone(name):
    assert matches(name, name)
    assert not matches(name, name + "x")


@pytest.mark.parametrize(
    ("glob", "folder"),
    [("*.md", "."), ("docs/a/*.md", "docs/a"), ("docs/*/b/c.md", "docs"), ("a.md", ".")],
)
def test_the_folder_of_a_glob_is_what_stands_before_its_wildcards(glob, folder):
    assert folder_of(glob) == folder


def test_many_wildcards_do_not_take_long():
    assert not matches("a*" * 8 + "b/" + "**/" * 6 + "b", "a" * 60 + "/" + "a/" * 20)
    assert matches("a*" * 8 + "/" + "**/" * 6 + "b", "a" * 60 + "/" + "a/" * 20 + "b")
