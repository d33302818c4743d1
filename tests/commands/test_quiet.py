"""`-q` prints only problems, and the requested result of commands that only read."""

import pytest

from tests.command import loom
from tests.projects import PIPELINE, REVIEWS, make_project
from tests.repos import write

SUITE = """\
pipeline: demo
unit_tests:
  - {name: good, input: {review: I love it, expected: positive}, expected: {sentiment: positive}}
  - {name: bad, input: {review: I love it, expected: negative}, expected: {sentiment: negative}}
"""
GOOD = SUITE.rpartition("  - ")[0]


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "project", **{"tests/demo_test.yaml": GOOD})


def test_a_successful_run_prints_nothing(project):
    done = loom(project, "run", "demo", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_failed_gate_prints_only_the_error(project):
    write(
        project, {"data/reviews.csv": REVIEWS.replace(",positive", ",no").replace("negative", "no")}
    )
    done = loom(project, "run", "demo", "-q")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no record passed: ")


def test_a_warning_is_a_problem(project):
    write(project, {"data/reviews.csv": "review_id,review,expected\n"})
    done = loom(project, "run", "demo", "-q")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "warning: the source has no records\n"


def test_an_empty_selection_prints_nothing(project):
    selection = ("run", "--select", "tag:no-such", "-q")
    assert loom(project, *selection).stdout == ""
    assert loom(project, *selection, "--dry-run").stdout == "No pipeline is selected\n"


def test_checks_print_only_what_failed(project):
    for command in (["validate", "-q"], ["test", "-q"]):
        done = loom(project, *command)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    write(project, {"tests/demo_test.yaml": SUITE})
    done = loom(project, "test", "-q")
    assert done.returncode == 1
    assert "bad" in done.stdout
    assert "good" not in done.stdout
    assert done.stdout.endswith("\n1 of 2 tests failed (1/2 passed)\n")
    write(project, {"pipelines/demo.yaml": PIPELINE.replace("data/reviews.csv", "data/none.csv")})
    done = loom(project, "validate", "-q")
    assert done.returncode != 0
    assert "❌" in done.stdout
    assert "✅" not in done.stdout
    assert done.stdout.startswith("Validating: demo (v1.0.0)\n\n")
    assert done.stdout.endswith("\n\nPipeline is not valid ❌\n")


def test_a_failed_python_test_is_a_problem(project):
    write(project, {"tests/test_more.py": "def test_more():\n    assert False\n"})
    done = loom(project, "test", "demo", str(project / "tests/test_more.py"), "-q")
    assert done.returncode == 1
    assert "failed: tests/test_more.py::test_more" in done.stdout


def test_requested_results_are_printed(project):
    loom(project, "run", "demo")
    for command in (
        ["runs", "list"], ["runs", "show", "latest"], ["log", "prompts/classify.txt"],
        ["show", "prompts/classify.txt"], ["cost", "demo"], ["cost", "demo", "--dry-run"],
        ["compare"], ["hooks", "status"], ["cache", "stats"], ["runs", "gc", "--dry-run"],
        ["run", "demo", "--dry-run"],
    ):  # fmt: skip
        assert loom(project, *command, "-q").stdout == loom(project, *command).stdout != ""


def test_changes_are_not_announced(project):
    for command in (
        ["hooks", "install"], ["hooks", "uninstall"], ["cache", "clear"], ["cache", "prune"],
        ["cassette", "prune"], ["runs", "gc"], ["tag", "prompts/classify.txt", "v1.0"],
    ):  # fmt: skip
        done = loom(project, *command, "-q")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), command
