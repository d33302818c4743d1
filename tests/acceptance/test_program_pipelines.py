"""Pipelines with a program of a loop app in the place of a prompt and a model."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from loomgit.api import Project
from loomgit.errors import UserError
from tests.command import loom
from tests.projects import PIPELINE, make_project
from tests.repos import commit, git, write

APP = """\
id: sentiment-001
task: Classify reviews
input_schema:
  type: object
  required: [review]
  properties: {review: {type: string}}
output_schema: {type: string, enum: [positive, negative]}
"""
GOOD = """\
NEGATIVE = ("bad", "broken", "hate")

def execute(input_data):
    is_bad = any(word in input_data["review"] for word in NEGATIVE)
    return {
        "result": "negative" if is_bad else "positive",
        "confidence": 0.9,
        "reason": "a negative word" if is_bad else "no negative word",
    }
"""
BAD = "def execute(input_data):\n    return 'positive'\n"
FOLDER = ".loom/loop-apps/sentiment-001"
PROMPT = """\
transform:
  prompt: prompts/classify.txt
  context: [context/taxonomy.md]
  output: {sentiment: string, confidence: float}
"""
PROGRAM = """\
transform:
  type: program
  app: sentiment-001
  version: v1
  output: {sentiment: string, confidence: {type: number, optional: true}}
"""
assert PROMPT in PIPELINE


def pipeline(transform=PROGRAM):
    return PIPELINE.replace(PROMPT, transform)


@pytest.fixture
def project(tmp_path):
    return make_project(
        tmp_path / "project",
        **{
            f"{FOLDER}/config.yaml": APP,
            f"{FOLDER}/artifacts/v1/program.py": GOOD,
            f"{FOLDER}/artifacts/v2/program.py": BAD,
            f"{FOLDER}/artifacts/active": "v1\n",
        },
    )


def rows(project):
    with closing(sqlite3.connect(project / "out/demo.db")) as connection:
        return connection.execute(
            "SELECT review_id, sentiment, confidence FROM scores ORDER BY 1"
        ).fetchall()


def test_a_program_transforms_the_records(project):
    commit(project, {"pipelines/demo.yaml": pipeline()})
    checked = loom(project, "validate", "demo")
    assert checked.returncode == 0, checked.stdout
    assert "sentiment-001@v1 exists" in checked.stdout
    assert "Records match the input schema" in checked.stdout
    cost = loom(project, "cost", "demo", "--dry-run")
    assert cost.returncode == 0, cost.stderr
    done = loom(project, "run", "demo")
    assert done.returncode == 0, done.stderr
    assert "Transform: ✅ 4 processed" in done.stdout
    assert rows(project) == [
        ("r-1", "positive", 0.9),
        ("r-2", "negative", 0.9),
        ("r-3", "positive", 0.9),
        ("r-4", "negative", 0.9),
    ]
    run = Project(project).get_run("latest")
    assert (run.config.program, run.config.model) == ("sentiment-001@v1", "")
    assert (run.cost.total, run.cost.calls) == (0.0, 0)
    assert run.performance.latency["p50"] is not None
    assert "Program:   sentiment-001@v1" in loom(project, "runs", "show", "latest").stdout


def test_a_failed_execution_costs_only_its_record(project):
    program = (
        GOOD
        + "\n_execute = execute\n\ndef execute(input_data):\n"
        + (
            "    if 'love' in input_data['review']:\n"
            "        raise ValueError('no love')\n"
            "    return _execute(input_data)\n"
        )
    )
    commit(
        project,
        {f"{FOLDER}/artifacts/v3/program.py": program,
         "pipelines/demo.yaml": pipeline(PROGRAM.replace("v1", "v3"))},
    )  # fmt: skip
    done = loom(project, "run", "demo", "--json")
    results = json.loads(done.stdout)["results"]
    assert (results["records_validated"], results["records_failed"]) == (3, 1)
    (reason,) = results["reasons"]
    assert reason == "sentiment-001@v3: program.py:15: ValueError: no love"
    assert [row[0] for row in rows(project)] == ["r-1", "r-2", "r-4"]


def test_a_record_that_does_not_match_the_input_schema_fails(project):
    commit(project, {"pipelines/demo.yaml": pipeline()})
    write(project, {"data/reviews.csv": "review_id,text,expected\nr-1,This is great,positive\n"})
    checked = loom(project, "validate", "demo")
    assert checked.returncode == 2
    assert 'the records do not match input_schema: "review" is a required' in checked.stdout
    done = loom(project, "run", "demo", "--json")
    (reason,) = json.loads(done.stdout)["results"]["reasons"]
    assert 'the input does not match the input schema: "review" is a required property' in reason


def test_a_program_replaces_a_prompt_only_if_it_is_no_worse(project):
    git(project, "branch", "prompt")
    commit(project, {"pipelines/demo.yaml": pipeline()}, "Replace the prompt by a program")
    good = loom(project, "compare", "prompt..HEAD", "--run-missing")
    assert good.returncode == 0, good.stdout + good.stderr
    assert "program none -> sentiment-001@v1" in good.stdout
    assert "requests for" not in good.stdout  # the program is not a model that served others
    commit(project, {"pipelines/demo.yaml": pipeline(PROGRAM.replace("v1", "v2"))}, "Use v2")
    worse = loom(project, "compare", "prompt..HEAD", "--run-missing")
    assert "program none -> sentiment-001@v2" in worse.stdout
    assert worse.returncode == 1, worse.stdout + worse.stderr


def test_a_changed_file_of_a_version_is_not_run(project):
    commit(project, {"pipelines/demo.yaml": pipeline()})
    program = project / FOLDER / "artifacts/v1/program.py"
    added = loom(project, "app", "add", "sentiment-001", "--program", str(program))
    assert added.returncode == 0, added.stderr
    write(
        project,
        {"pipelines/demo.yaml": pipeline(PROGRAM.replace("v1", "v3")),
         f"{FOLDER}/artifacts/v3/program.py": BAD},
    )  # fmt: skip
    done = loom(project, "run", "demo")
    assert done.returncode == 2
    assert "artifacts/v3/program.py has changed" in done.stderr


def test_a_deprecated_version_causes_a_warning(project):
    commit(project, {"pipelines/demo.yaml": pipeline(PROGRAM.replace("v1", "v2"))})
    assert loom(project, "app", "deprecate", "sentiment-001", "v2").returncode == 0
    done = loom(project, "run", "demo")
    assert "warning: sentiment-001 v2 is deprecated" in done.stderr


@pytest.mark.parametrize("level", ["landlock", "none"])
@pytest.mark.parametrize("given", ["option", "variable"])
def test_the_isolation_can_be_demanded(project, level, given, monkeypatch):
    commit(project, {"pipelines/demo.yaml": pipeline()})
    if given == "variable":
        monkeypatch.setenv("LOOM_ISOLATION", level)
    options = ("--isolation", level) if given == "option" else ()
    done = loom(project, "run", "demo", *options)
    assert done.returncode == 0, done.stderr
    assert ("without isolation" in done.stderr) == (level == "none")


def test_an_unknown_isolation_is_an_error(project, monkeypatch):
    commit(project, {"pipelines/demo.yaml": pipeline()})
    done = loom(project, "run", "demo", "--isolation", "landlok")
    assert done.returncode == 2
    assert "'landlok' is not one of 'auto', 'bubblewrap', 'landlock', 'none'" in done.stderr
    monkeypatch.setenv("LOOM_ISOLATION", "landlok")
    with pytest.raises(UserError, match="LOOM_ISOLATION: there is no isolation 'landlok'"):
        Project(project).run("demo")


def test_a_program_as_the_fallback_fills_the_fields_of_the_pipeline(project):
    failing = "def execute(input_data):\n    raise ValueError('always')\n"
    fallback = (
        "  on_failure: fallback\n  fallback: {type: program, app: sentiment-001, version: v1}\n"
    )
    commit(
        project,
        {f"{FOLDER}/artifacts/v3/program.py": failing,
         "pipelines/demo.yaml": pipeline(PROGRAM.replace("v1", "v3")) + fallback},
    )  # fmt: skip
    done = loom(project, "run", "demo", "--json")
    results = json.loads(done.stdout)["results"]
    assert (results["records_fallback"], results["records_loaded"]) == (4, 4)
    assert [row[1:] for row in rows(project)] == [
        ("positive", 0.9), ("negative", 0.9), ("positive", 0.9), ("negative", 0.9)
    ]  # fmt: skip


def test_a_run_without_a_program_does_not_import_the_sandbox(project):
    code = (
        "import sys\nfrom loomgit import cli\n"
        "try: cli.main(['run', 'demo', '-q', *sys.argv[1:]])\nexcept SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith('loomgit.sandbox')])"
    )
    command = [sys.executable, "-c", code, "--project", str(project)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("level", ["none", "landlock"])
def test_a_program_of_an_untrusted_revision_does_not_run_without_isolation(project, level):
    git(project, "checkout", "--quiet", "-b", "theirs")
    commit(project, {"pipelines/demo.yaml": pipeline()}, "Replace the prompt by a program")
    git(project, "checkout", "--quiet", "main")
    done = loom(project, "compare", "main..theirs", "--run-missing", "--isolation", level)
    shown = done.stdout + done.stderr
    refusal = "it changes the program sentiment-001@v1, which would run without isolation"
    assert (refusal in shown) == (level == "none"), shown
    assert ("program none -> sentiment-001@v1" in shown) == (level == "landlock"), shown
