"""Versions of apps in Git: tags, `loom log`, `loom show`, clones and subfolders."""

import json

import pytest

from tests.command import loom
from tests.loop_apps import SPAM, V1, V2, make_repository
from tests.repos import commit, git

APP = f".loom/loop-apps/{SPAM}"


def ok(project, *arguments):
    done = loom(project, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(project, *arguments):
    done = loom(project, *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stderr


def make_versions(project):
    """v1 and v2, each committed, validated and tagged; v2 is active."""
    spec, examples = str(project / f"specs/{SPAM}.yaml"), str(project / "examples.csv")
    programs = [str(project / f"programs/{name}.py") for name in ("v1", "v2")]
    ok(project, "app", "create", SPAM, "--spec", spec, "--program", programs[0])
    for number in (1, 2):
        if number == 2:
            ok(project, "app", "add", SPAM, "--program", programs[1])
        name = f"v{number}"
        ok(project, "app", "validate", SPAM, "--version", name, "--examples", examples)
        assert "is not committed" in refused(project, "app", "promote", SPAM, name, "--tag")
        commit(project, {}, f"Add spam {name}")
        ok(project, "app", "promote", SPAM, name, "--tag")
        commit(project, {}, f"Promote spam {name}")
    return project


@pytest.fixture
def project(tmp_path, in_process):
    return make_versions(make_repository(tmp_path / "project"))


def test_tags_name_versions(project):
    assert git(project, "tag").split() == [f"loop-apps/{SPAM}/v1", f"loop-apps/{SPAM}/v2"]
    assert git(project, "cat-file", "-t", f"loop-apps/{SPAM}/v1") == "tag"
    ok(project, "app", "rollback", SPAM)
    ok(project, "app", "promote", SPAM, "v2", "--tag")  # the tag has the same content
    ok(project, "tag", APP, "v2")
    (project / APP / "artifacts/v1/program.py").write_text("changed", encoding="utf-8")
    assert "has uncommitted changes" in refused(project, "tag", APP, "v1")
    commit(project, {}, "Change v1")
    assert f"tag loop-apps/{SPAM}/v1 already exists" in refused(project, "tag", APP, "v1")


def test_the_log_of_an_app_lists_its_versions(project):
    head, *rows = ok(project, "log", APP).splitlines()
    assert head.split() == [
        *("VERSION", "STATE", "COMMIT", "DATE", "AUTHOR", "EXAMPLES", "ACCURACY", "SUBJECT")
    ]
    assert [row.split()[:2] for row in rows] == [["v2", "active"], ["v1", "validated"]]
    assert rows[0].endswith("Ada     4         1.000     Add spam v2")
    assert rows[1].endswith("Ada     4         0.750     Add spam v1")
    log = json.loads(ok(project, "log", APP, "--json"))
    assert [each["version"] for each in log["versions"]] == ["v2", "v1"]
    assert log["versions"][1]["scores"] == {"accuracy": {"mean": 0.75, "n": 4}}
    ok(project, "app", "add", SPAM, "--program", str(project / "programs/v3.py"))
    first = ok(project, "log", APP, "--limit", "1").splitlines()
    assert first[1].split()[:2] == ["v3", "draft"]
    assert first[1].endswith("(not committed)")
    assert first[-1] == "2 of 3 versions are not shown; `--limit 3` shows all."
    assert len(ok(project, "log", f"{APP}/artifacts/v1").splitlines()) == 2
    assert "Add spam v1" in ok(project, "log", f"{APP}/artifacts/v1/program.py")
    assert "there is no app spam-detector-002" in refused(project, "log", APP[:-1] + "2")


def test_the_program_of_each_version_is_shown(project):
    assert ok(project, "show", APP) == V2
    assert ok(project, "show", f"{APP}@v1") == V1
    assert ok(project, "show", f"{APP}/artifacts/v1") == V1
    assert ok(project, "show", f"{APP}@HEAD~2") == V1  # v1 was active there
    shown = json.loads(ok(project, "show", f"{APP}@v1", "--json"))
    assert (shown["version"], shown["path"]) == ("v1", f"{APP}/artifacts/v1/program.py")
    assert "has no version v7" in refused(project, "show", f"{APP}@v7")
    assert "has no version nowhere" in refused(project, "show", f"{APP}@nowhere")
    (project / APP / "artifacts/active").unlink()
    (project / APP / "artifacts/active").symlink_to("v1")
    commit(project, {}, "Make v1 active with a link")
    assert ok(project, "show", f"{APP}@HEAD") == V1
    assert ok(project, "show", f"{APP}@HEAD~1") == V2


def test_a_version_that_was_removed_is_read_from_its_tag(project):
    git(project, "rm", "-r", "--quiet", f"{APP}/artifacts/v1")
    commit(project, {}, "Remove v1")
    assert ok(project, "show", f"{APP}@v1") == V1
    assert "artifacts/v1 is missing" in refused(project, "app", "show", SPAM)
    assert "no earlier active version" in refused(project, "app", "rollback", SPAM)


def test_a_clone_has_the_same_versions(project, tmp_path):
    git(tmp_path, "clone", "--quiet", str(project), "clone")
    clone = tmp_path / "clone"
    shown = json.loads(ok(clone, "app", "show", SPAM, "--json"))
    assert (shown["active"], [each["faults"] for each in shown["versions"]]) == ("v2", [[], []])
    run = ("app", "run", SPAM, "--input", '{"text": "free"}')
    assert ok(clone, *run) == "spam\n"
    assert git(clone, "status", "--porcelain") == ""
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{project}", "shallow")
    assert "truncated" in ok(tmp_path / "shallow", "log", APP)


def test_a_project_in_a_subfolder_has_its_own_tags(tmp_path, in_process):
    outer = make_repository(tmp_path / "outer")
    (outer / "inner").mkdir()
    for name in ("specs", "programs", "examples.csv", ".loom"):
        git(outer, "mv", name, f"inner/{name}")
    commit(outer, {}, "Move")
    project = make_versions(outer / "inner")
    assert git(outer, "tag").split() == [
        f"inner/loop-apps/{SPAM}/v1",
        f"inner/loop-apps/{SPAM}/v2",
    ]
    assert ok(project, "show", f"{APP}@v1") == V1
    assert "Add spam v1" in ok(project, "log", APP)
