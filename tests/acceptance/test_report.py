"""`loom report` in a real project with real runs, and the pages made of a real comparison."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loomgit import cli
from loomgit.api import Project
from loomgit.report.html import render_comparison
from loomgit.workflows.report import gather_evidence
from tests.projects import TAXONOMY, make_project
from tests.repos import commit, git

SWAPPED = TAXONOMY.replace("love", "love, hate").replace("broken, hate", "broken")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A project that ran on main, and on a branch whose context is worse."""
    folder = make_project(tmp_path_factory.mktemp("report") / "desk")
    project = Project(folder, warn=pytest.fail)
    project.run("demo")
    git(folder, "switch", "-qc", "worse")
    commit(folder, {"context/taxonomy.md": SWAPPED}, "Swap cues\n\nReviewed-by: Grace <g@x>")
    project.run("demo")
    return folder


@pytest.fixture
def project(made, monkeypatch):
    monkeypatch.chdir(made)
    return made


def test_the_overview_is_a_text(project, capsys):
    assert cli._run(["report"]) == 0
    said = capsys.readouterr().out
    head = git(project, "rev-parse", "--short=8", "HEAD")
    assert said.startswith("demo (v1.0.0): 2 runs, $0.00 spent\n")
    assert "  pipeline runs: label 0.750 (-0.250 since " in said
    assert f"  {head}  pipeline success, 3/4 passed, $0.00\n" in said
    assert "worse against merge base with main: " in said


def test_the_overview_is_a_document(project, capsys):
    assert cli._run(["report", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (pipeline,) = document["pipelines"]
    assert document["schema_version"] == 1
    assert document["commit"] == git(project, "rev-parse", "HEAD")
    assert [len(run["scores"]) for run in pipeline["runs"]] == [1, 1]
    (trend,) = pipeline["trends"]
    assert [point["scores"]["label"] for point in trend["commits"]] == [1.0, 0.75]
    assert [version["runs"] for version in pipeline["versions"]] == [2]
    assert document["comparison"]["base"]["commit"] == git(project, "rev-parse", "main")


def test_the_page_is_one_file_and_the_same_at_the_same_second(project, tmp_path):
    pages = []
    for name in ("a.html", "b.html"):
        done = subprocess.run(
            [sys.executable, "-m", "loomgit", "report", "--html", str(tmp_path / name)],
            env={**os.environ, "SOURCE_DATE_EPOCH": "1795300000"},
            cwd=project, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"Wrote the report to {tmp_path / name}\n"
        pages.append((tmp_path / name).read_text(encoding="utf-8"))
    assert pages[0] == pages[1]
    assert "<h1>desk</h1>" in pages[0]
    assert "on 2026-11-21 22:26 UTC" in pages[0]
    assert "1 case got worse" in pages[0]
    assert "r-4" in pages[0]
    assert git(project, "status", "--porcelain") == ""


def test_a_comparison_shows_the_replies_of_both_sides(project):
    found = Project(project, warn=pytest.fail)
    comparison = found.compare()
    (pipeline,) = comparison.pipelines
    evidence = gather_evidence(found.wiring.store, comparison)["demo"]
    assert {change.id for change in pipeline.worse} == set(evidence.examples)
    assert evidence.spreads[0].base == (1.0,) * 4
    assert sorted(evidence.spreads[0].head) == [0.0, 1.0, 1.0, 1.0]
    worst = evidence.examples[pipeline.worse[0].id]
    assert worst.base.reasons[0].value == 1.0
    assert worst.head.reasons[0].value == 0.0
    assert worst.base.text != worst.head.text
    assert "got worse" in render_comparison(comparison, {"demo": evidence})


def test_records_that_are_elsewhere_are_left_out(project):
    found = Project(project, warn=pytest.fail)
    comparison = found.compare()
    records = Path(project, ".loom", "records")
    records.rename(records.with_name("gone"))
    try:
        evidence = gather_evidence(found.wiring.store, comparison)["demo"]
    finally:
        records.with_name("gone").rename(records)
    assert evidence.examples == {}
    assert len(evidence.spreads[0].base) == 4


def test_compliance_tells_who_changed_and_approved_what(project, capsys, tmp_path):
    assert cli._run(["report", "--compliance"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["DATE", "COMMIT", "AUTHOR", "FILE"]
    assert "context/taxonomy.md" in lines[1]
    assert "label 0.750" in lines[1]
    assert "Reviewed-by: Grace <g@x>" in lines[1]
    assert lines[-1] == "4 changes; 3 without approval by a person other than the author."
    assert cli._run(["report", "--compliance", "--json", "--since", "2100-01-01"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["changes"], document["since"]) == ([], "2100-01-01T00:00:00Z")
    page = tmp_path / "c.html"
    assert cli._run(["report", "--compliance", "--html", str(page)]) == 0
    assert "3 of 4 changes have no approval by another person" in page.read_text(encoding="utf-8")


def test_samples_of_prompt_tests_are_shown_too(tmp_path):
    suite = """\
pipeline: demo
unit_tests:
  - name: likes
    input: {review: I hate it, expected: negative}
    expected: {sentiment: negative}
"""
    folder = make_project(tmp_path / "work", **{"tests/demo_test.yaml": suite})
    for branch in ("main", "worse"):
        if branch == "worse":
            git(folder, "switch", "-qc", "worse")
            commit(folder, {"context/taxonomy.md": SWAPPED})
        subprocess.run(
            [sys.executable, "-m", "loomgit", "test"], cwd=folder, capture_output=True, check=False
        )
    found = Project(folder, warn=pytest.fail)
    comparison = found.compare()
    evidence = gather_evidence(found.wiring.store, comparison)["demo"]
    changes = (*comparison.pipelines[0].worse, *comparison.pipelines[0].better)
    assert changes
    assert set(evidence.examples) == {change.id for change in changes}


def test_a_broken_pipeline_is_a_note_and_a_bad_place_an_error(tmp_path, monkeypatch, capsys):
    folder = make_project(tmp_path / "work")
    commit(folder, {"pipelines/other.yaml": "name: [\n"}, "Break")
    monkeypatch.chdir(folder)
    assert cli._run(["report"]) == 0
    said = capsys.readouterr().out
    assert "other: 0 runs" in said
    assert "  note: pipelines/other.yaml:" in said
    assert "there is no comparison: " in said
    assert cli._run(["report", "--html", "no/such/a.html"]) == 4
    assert "a.html cannot be written" in capsys.readouterr().err
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    assert cli._run(["report", "--html", "a.html"]) == 2
    assert "SOURCE_DATE_EPOCH=soon is not a number of seconds" in capsys.readouterr().err


def test_a_project_without_anything_has_a_report(tmp_path, monkeypatch, capsys):
    (tmp_path / "pipelines").mkdir()
    git(tmp_path, "init", "-q")
    monkeypatch.chdir(tmp_path)
    assert cli._run(["report"]) == 0
    assert capsys.readouterr().out == "There are no pipelines yet.\n"
    assert cli._run(["report", "--html", "a.html"]) == 0
    assert "0 pipelines" in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_without_html_no_drawing_library_is_loaded(project):
    script = (
        "import sys; from loomgit import cli; cli._run(['report', '--compliance']); "
        "slow = {'matplotlib', 'litellm'} & set(sys.modules); "
        "sys.exit(str(slow) if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.stderr == b""
