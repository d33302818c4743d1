"""Ways to make a bad prompt look good: none passes unnoticed, none is green under `--strict`."""

from pathlib import Path

import pytest

from tests.comparisons import reviews
from tests.guards import loom, push
from tests.pytest_plugin.sessions import pytest_in
from tests.repos import CLEAN, commit, git
from tests.ways import WAYS, WORSE, Way

PAGE = Path(__file__).parents[2] / "docs/what-cannot-pass.md"
# Of all four guards, the others by two. What is pinned to a branch is the same for who compares.
ASKED_ALL = [name for name in list(WAYS)[:34] if "pinned to a branch" not in name]


@pytest.mark.parametrize("name", WAYS)
def test_no_way_passes_unnoticed_and_none_is_green_under_strict(name, tmp_path, monkeypatch):
    way = WAYS[name]
    project = way.make(tmp_path / "project")
    _, said = push(project, monkeypatch, strict=False)
    assert way.said in said
    answers = {"ci": loom(project, "ci", "--dry-run", "--strict")}
    if name in ASKED_ALL:
        answers["push"] = push(project, monkeypatch, strict=True)
        answers["compare"] = loom(project, "compare", "--run-missing", "--strict")
        done = pytest_in(project, "--loom-strict", "--loom-modified")
        answers["pytest"] = done.code, done.out
    assert not {guard: said for guard, (code, said) in answers.items() if code == 0}


def test_the_page_lists_every_way_and_what_is_said():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    listed = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in rows[2:]]
    assert listed == [(name, f"`` {way.said} ``") for name, way in WAYS.items()]


@pytest.mark.parametrize("accepted", ["demo.evaluators", "evaluators"])
@pytest.mark.parametrize("name", ["evaluator", "module of an evaluator"])
def test_changed_evaluators_that_are_accepted_pass(name, accepted, tmp_path, monkeypatch):
    way = WAYS[name]
    files = {path: text for path, text in way.change.items() if path not in WORSE}
    project = Way("", files, way.base).make(tmp_path / "project")
    assert push(project, monkeypatch, strict=True)[0] == 1
    commit(project, {}, f"Say why\n\nLoom-Accept: {accepted}: the rules were too strict\n")
    for code, said in (
        push(project, monkeypatch, strict=True),
        loom(project, "compare", "--run-missing", "--strict"),
    ):
        assert code == 0, said
        assert f"accepted: {accepted}: the rules were too strict" in said


def test_cases_that_are_removed_and_accepted_pass(tmp_path, monkeypatch):
    data = "\n".join(reviews().splitlines()[:-3]) + "\n"
    project = Way("", {"data/reviews.csv": data}).make(tmp_path / "project")
    code, said = push(project, monkeypatch, strict=True)
    assert (code, "tests or cases are removed" in said) == (1, True)
    assert loom(project, "compare", "--strict")[0] == 1
    commit(project, {}, "Say why\n\nLoom-Accept: demo.cases: they were spam\n")
    code, said = push(project, monkeypatch, strict=True)
    assert (code, "accepted: demo: 3 cases removed: " in said) == (0, True), said
    assert loom(project, "compare", "--strict")[0] == 0


OTHERS = {".loom/config.yaml": "accept_from: others\n"}


def accept(project, author):
    git(project, "config", "user.email", author)
    own = {"GIT_AUTHOR_EMAIL": author}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in own.items():
            patch.setitem(CLEAN, name, value)
        git(
            project,
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            "Yes\n\nLoom-Accept: demo: it is fine",
        )


def test_an_author_cannot_accept_the_own_change_if_others_have_to(tmp_path, monkeypatch):
    project = Way("", WORSE, OTHERS).make(tmp_path / "project")
    accept(project, "ada@example.org")
    code, said = push(project, monkeypatch, strict=False)
    assert code == 1
    assert "`Loom-Accept: demo: it is fine` is ignored: with `accept_from: others`" in said
    assert loom(project, "compare", "--run-missing")[0] == 1
    accept(project, "grace@example.org")
    code, said = push(project, monkeypatch, strict=False)
    assert (code, "accepted: demo: it is fine" in said) == (0, True), said
    assert loom(project, "compare", "--run-missing")[0] == 0


def test_a_change_cannot_switch_that_off(tmp_path, monkeypatch):
    files = {".loom/config.yaml": "accept_from: anyone\n", **WORSE}
    project = Way("", files, OTHERS).make(tmp_path / "project")
    accept(project, "ada@example.org")
    assert push(project, monkeypatch, strict=False)[0] == 1
