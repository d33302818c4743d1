"""Finds the program of a pipeline: the app, the version and the files of the version."""

import os
from datetime import UTC, datetime

import pytest

from loomgit.errors import ProblemsFound
from loomgit.wiring.planning import Planning
from loomgit.wiring.project import Wiring
from tests.projects import PIPELINE, make_project
from tests.repos import commit, write

APP = """\
id: sentiment-001
task: Classify reviews
input_schema: {type: object, required: [review]}
output_schema: {type: string, enum: [positive, negative]}
"""
PROGRAM = "def execute(input_data):\n    return {'result': 'positive'}\n"
FOLDER = ".loom/loop-apps/sentiment-001"
TRANSFORM = """\
transform:
  prompt: prompts/classify.txt
  context: [context/taxonomy.md]
  output: {sentiment: string, confidence: float}
"""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pipeline(program, output="\n  output: {sentiment: string}"):
    assert TRANSFORM in PIPELINE
    return PIPELINE.replace(TRANSFORM, f"transform:\n  type: program\n  {program}{output}\n")


@pytest.fixture
def project(tmp_path):
    files = {
        f"{FOLDER}/config.yaml": APP,
        f"{FOLDER}/artifacts/v1/program.py": PROGRAM,
        f"{FOLDER}/artifacts/v2/program.py": PROGRAM + "# second\n",
        f"{FOLDER}/artifacts/v2/words.json": "{}",
        f"{FOLDER}/artifacts/active": "v2\n",
        "pipelines/demo.yaml": pipeline("app: sentiment-001"),
    }
    return make_project(tmp_path / "project", **files)


def plan(project, revision=None):
    wiring = Wiring(project, os.environ, print)
    wiring = wiring if revision is None else wiring.at(revision)
    plan, _ = Planning(wiring).draft(wiring.catalog.pipeline("demo"), {}, NOW)
    return plan


def test_without_a_version_the_active_version_is_used(project):
    found = plan(project)
    assert found.program.title == "sentiment-001@v2"
    assert sorted(found.program.files) == [
        f"{FOLDER}/artifacts/v2/program.py",
        f"{FOLDER}/artifacts/v2/words.json",
    ]
    assert (found.model, found.judge, found.prompt.path) == ("", None, "")
    assert f"{FOLDER}/artifacts/v2/program.py" in found.dependencies()
    assert f"{FOLDER}/artifacts/v2/program.py" in found.input_paths()
    assert found.config().program == "sentiment-001@v2"


def test_a_version_is_found_in_the_tree_of_its_revision(project):
    first = commit(project, {})
    write(
        project,
        {
            "pipelines/demo.yaml": pipeline("app: sentiment-001\n  version: v1"),
            f"{FOLDER}/artifacts/active": "v1\n",
        },
    )
    assert plan(project).program.title == "sentiment-001@v1"
    assert plan(project, first).program.title == "sentiment-001@v2"


@pytest.mark.parametrize("target", ["v1", "v1/", "../artifacts/v1"])
def test_the_active_version_can_be_a_symbolic_link(project, target):
    active = project / f"{FOLDER}/artifacts/active"
    active.unlink()
    active.symlink_to(target)
    assert plan(project).program.title == "sentiment-001@v1"
    first = commit(project, {})
    active.unlink()
    assert plan(project, first).program.title == "sentiment-001@v1"


def test_the_fingerprint_has_the_contents_the_schemas_and_the_limits(project):
    before = plan(project).fingerprint()
    write(project, {f"{FOLDER}/config.yaml": APP + "name: Another title\nprivacy: permissive\n"})
    assert plan(project).fingerprint() == before
    changes = {
        f"{FOLDER}/artifacts/v2/words.json": "[]",
        f"{FOLDER}/config.yaml": APP + "limits: {wall: 1s}\n",
        f"{FOLDER}/artifacts/v2/new.txt": "new",
    }
    seen = {before}
    for path, text in changes.items():
        write(project, {path: text})
        seen.add(plan(project).fingerprint())
    assert len(seen) == 4
    write(project, {f"{FOLDER}/artifacts/v1/program.py": "# other"})
    assert plan(project).fingerprint() in seen


def test_bytecode_is_not_a_part_of_a_version(project):
    before = plan(project).fingerprint()
    write(project, {f"{FOLDER}/artifacts/v2/__pycache__/program.cpython-311.pyc": "x"})
    assert plan(project).fingerprint() == before
    write(project, {f"{FOLDER}/artifacts/v2/__pycache__/rules.json": "{}"})
    assert plan(project).fingerprint() != before


@pytest.mark.parametrize(
    ("output", "schema"),
    [
        ("\n  output: {sentiment: string}", ["sentiment"]),
        ("", ["output"]),
    ],
)
def test_the_output_is_that_of_the_pipeline_or_of_the_app(project, output, schema):
    write(project, {"pipelines/demo.yaml": pipeline("app: sentiment-001", output)})
    assert list(plan(project).output["properties"]) == schema


@pytest.mark.parametrize(
    ("program", "files", "message", "hint"),
    [
        ("app: ../x", {}, "8:3: transform.app: '../x' is not the id of an app", "lower-case"),
        (
            "app: sentimant-001",
            {},
            "8:3: transform.app: there is no app 'sentimant-001'",
            "did you mean 'sentiment-001'?",
        ),
        (
            "app: sentiment-001\n  version: v9",
            {},
            "9:3: transform: the app 'sentiment-001' has no version 'v9'",
            "there are: v1, v2",
        ),
        (
            "app: sentiment-001\n  version: ../artifacts/v1",
            {},
            "9:3: transform: the app 'sentiment-001' has no version '../artifacts/v1'",
            "there are: v1, v2",
        ),
        (
            "app: sentiment-001",
            {f"{FOLDER}/artifacts/active": "\n"},
            "8:3: transform.app: the app 'sentiment-001' has no active version",
            "add `version:`",
        ),
        (
            "app: sentiment-001",
            {f"{FOLDER}/config.yaml": APP + "lifecycle: paused\n"},
            "8:3: transform.app: the app 'sentiment-001' is paused",
            "`loom app resume sentiment-001`",
        ),
    ],
)
def test_a_missing_program_is_reported_at_its_line(project, program, files, message, hint):
    write(project, {"pipelines/demo.yaml": pipeline(program), **files})
    with pytest.raises(ProblemsFound) as error:
        plan(project)
    (problem,) = error.value.problems
    assert f"{problem.place}: {problem.message}" == f"pipelines/demo.yaml:{message}"
    assert hint in problem.hint


def test_the_settings_of_an_app_are_checked(project):
    write(project, {f"{FOLDER}/config.yaml": APP + "accuracy: 0.9\n"})
    with pytest.raises(ProblemsFound, match=r"config.yaml:5:1: accuracy: unknown key"):
        plan(project)
