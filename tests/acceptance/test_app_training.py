"""`loom app create --strategy ml`: a program that is trained on labelled examples."""

import csv
import json

import pytest

from tests.command import loom
from tests.repos import make
from tests.training.generated import messages

SPEC = """\
task: Classify messages
input_schema: {type: object, required: [text], properties: {text: {type: string}}}
output_schema: {type: string, enum: [spam, ham]}
accuracy_target: 0.9
"""
APP = "spam-detector-sms"
MESSAGES = [(example.input["text"], example.label) for example in messages(200)]


@pytest.fixture
def project(tmp_path):
    folder = make(tmp_path / "project")
    (folder / ".loom").mkdir()
    (folder / "spec.yaml").write_text(SPEC)
    write_examples(folder / "examples.csv", "label", MESSAGES)
    return folder


def write_examples(path, label, rows):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", label])
        writer.writerows(rows)


def create(project, *options):
    spec = str(project / "spec.yaml")
    return loom(project, "app", "create", APP, "--spec", spec, "--strategy", "ml", *options)


def test_a_trained_program_is_created_validated_and_run(project):
    examples = str(project / "examples.csv")
    made = create(project, "--examples", examples)
    assert made.returncode == 0, made.stderr
    assert "Measured on:" in made.stdout
    assert "spam" in made.stdout
    done = loom(project, "app", "validate", APP, "--version", "v1", "--examples", examples)
    assert done.returncode == 0, done.stdout + done.stderr
    assert loom(project, "app", "promote", APP, "v1").returncode == 0
    text = next(text for text, label in MESSAGES if label == "spam")
    run = loom(project, "app", "run", APP, "--input", json.dumps({"text": text}), "--json")
    (execution,) = json.loads(run.stdout)["executions"]
    assert execution["output"] == "spam"
    assert 0.5 < execution["details"]["confidence"] <= 1


def test_the_report_is_stored_with_the_version(project):
    write_examples(project / "other.csv", "kind", MESSAGES)
    other = str(project / "other.csv")
    made = create(project, "--examples", other, "--label", "kind", "--json")
    report = json.loads(made.stdout)["report"]
    metadata = project / f".loom/loop-apps/{APP}/artifacts/v1/metadata.json"
    stored = json.loads(metadata.read_text())
    assert (stored["strategy"], stored["report"]) == ("ml", report)
    assert report["training"] + report["held_out"] == report["examples"] == 200
    assert report["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (None, (), "the strategy ml needs labelled examples"),
        ([("a", "spam"), ("b", "eggs")], (), "example 2: the label does not match output_schema"),
        ([("a", "spam")] * 3, (), "label"),
        ([("a", "spam"), ("b", "ham")], ("--label", "kind"), "has no field 'kind'"),
    ],
)
def test_examples_that_are_not_sufficient_are_an_error(project, rows, options, message):
    if rows is not None:
        write_examples(project / "few.csv", "label", rows)
        options = ("--examples", str(project / "few.csv"), *options)
    made = create(project, *options)
    assert made.returncode == 2, made.stdout
    assert message in made.stderr
    assert not (project / f".loom/loop-apps/{APP}").exists()


def test_examples_without_labels_are_an_error(project):
    write_examples(project / "few.csv", "kind", [("a", "spam"), ("b", "ham")])
    made = create(project, "--examples", str(project / "few.csv"))
    assert made.returncode == 2
    assert "example 1 has no label" in made.stderr


def test_examples_need_a_strategy(project):
    spec, examples = str(project / "spec.yaml"), str(project / "examples.csv")
    made = loom(
        project, "app", "create", APP, "--spec", spec, "--program", spec, "--examples", examples
    )
    assert made.returncode == 2
    assert "--examples needs --strategy" in made.stderr
