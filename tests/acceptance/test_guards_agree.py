"""What the push hook, `loom ci`, `loom compare` and `pytest --loom` say of the same change."""

import json

import pytest

from tests.comparisons import NEUTRAL, make_comparable
from tests.guards import loom, push
from tests.pytest_plugin.sessions import pytest_in
from tests.repos import commit, git
from tests.ways import GUARDED, WAYS, Way, ignore_context


@pytest.fixture
def changed(request, tmp_path):
    """A project on the branch `change`, one commit after `main`."""
    return request.param.make(tmp_path / "project")


@pytest.mark.parametrize(
    "changed",
    [WAYS["prompt beside a context that Git ignores"], WAYS["submodule"]],
    ids=["ignored", "submodule"],
    indirect=True,
)
def test_what_cannot_be_read_is_named_and_unverified(changed, monkeypatch):
    code, said = push(changed, monkeypatch, strict=False)
    assert code == 0
    assert "warning: unverified: demo: pipelines/demo.yaml:" in said
    assert "context/taxonomy.md does not exist at" in said
    code, said = loom(changed, "ci", "--dry-run")
    assert (code, "## ⚠️ Loom: 1 pipeline cannot be read" in said) == (4, True), said
    code, said = loom(changed, "ci", "--json")
    document = said[said.index("{") : said.rindex("}") + 1]
    assert json.loads(document)["unread"][0].startswith("demo: ")


@pytest.mark.parametrize("changed", [WAYS["pipeline that is removed"]], indirect=True)
def test_a_pipeline_that_is_gone_is_named_until_somebody_accepts_it(changed, monkeypatch):
    assert "demo: the pipeline is gone" in push(changed, monkeypatch, strict=False)[1]
    assert loom(changed, "ci", "--dry-run")[0] == 4
    code, said = loom(changed, "compare", "--run-missing")
    assert (code, "pipeline demo is gone" in said, "✅" in said) == (0, True, False), said
    commit(changed, {}, "Accept\n\nLoom-Accept: demo: it moved to another repository")
    assert push(changed, monkeypatch, strict=True)[0] == 0
    assert loom(changed, "ci", "--dry-run", "--strict")[0] == 0
    assert loom(changed, "compare", "--run-missing", "--strict")[0] == 0


def test_data_that_cannot_be_read_makes_an_unchanged_prompt_inconclusive(tmp_path):
    project = make_comparable(tmp_path / "project", **{"tests/demo_test.yaml": GUARDED})
    git(project, "checkout", "--quiet", "-b", "change")
    commit(project, {"data/reviews.csv": b"review_id,review,expected\nr-1,\xff\xfe,positive\n"})
    code, said = loom(project, "compare", "--strict")
    assert (code, "the cases cannot be compared: " in said) == (1, True), said


def test_where_nothing_differs_a_pipeline_that_cannot_be_read_stops_nobody(tmp_path, monkeypatch):
    project = make_comparable(tmp_path / "project")
    ignore_context(project)
    git(project, "checkout", "--quiet", "-b", "change")
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Nothing")
    code, said = push(project, monkeypatch, strict=True)
    assert (code, said) == (0, "")


@pytest.mark.parametrize("changed", [Way("", NEUTRAL)], indirect=True)
def test_a_harmless_change_is_green_everywhere(changed, monkeypatch):
    assert push(changed, monkeypatch, strict=True)[0] == 0
    assert loom(changed, "ci", "--dry-run", "--strict")[0] == 0
    assert loom(changed, "compare", "--run-missing", "--strict")[0] == 0
    assert pytest_in(changed, "--loom-strict").code == 0
