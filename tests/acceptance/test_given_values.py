"""Variables and the execution date of test files and of the command line, in each command."""

import json

import pytest

from loomgit.api import Project
from tests.command import loom
from tests.comparisons import reviews
from tests.guards import loom as guarded
from tests.guards import push
from tests.projects import PIPELINE, PROMPT, make_project
from tests.repos import commit, git, write

TYPED = PIPELINE.replace(
    "  source: data/reviews.csv\n",
    "  source: data/reviews.csv\n"
    "  query: SELECT * FROM data WHERE CAST(number AS INTEGER) < {{ vars.n }}\n",
).replace("name: demo\n", "name: demo\nvars: {lang: en, n: 4}\n")
DATED = TYPED.replace("{{ vars.n }}", "{{ execution_date.day }}")
SPOKEN = PROMPT + "\nReply in {{ vars.lang }} to {{ vars.who }}.\n"
CASES = """\
unit_tests:
  - name: plain
    input: {review: "I love it", expected: positive}
    expected: {sentiment: positive}
distributional_tests:
  - {name: quality, type: statistical, assertions: ["mean(evaluation_scores) > 0.1"]}
"""
GERMAN = "pipeline: demo\nvars: {lang: de, who: Ada, n: 6}\n" + CASES
FRENCH = "pipeline: demo\nvars: {lang: fr, who: Bob}\n" + CASES
WARNING = "extract.query uses execution_date, which is now; use --execution-date"


def numbered(count):
    head, *lines = reviews(count).splitlines()
    rows = [f"{line},{number}" for number, line in enumerate(lines)]
    return "\n".join([f"{head},number", *rows]) + "\n"


@pytest.fixture
def project(tmp_path):
    files = {
        "pipelines/demo.yaml": TYPED,
        "prompts/classify.txt": SPOKEN,
        "data/reviews.csv": numbered(30),
        "tests/demo_test.yaml": GERMAN,
    }
    return make_project(tmp_path / "work", **files)


def runs(project):
    """The stored runs, oldest first."""
    opened = Project(project)
    return [opened.get_run(row.uid) for row in opened.runs()]


def test_a_test_file_sets_variables_of_the_prompt_and_of_the_query(project):
    assert loom(project, "test").returncode == 0
    (run,) = runs(project)
    assert run.config.parameters["vars"] == {"lang": "de", "n": 6, "who": "Ada"}
    assert run.results.records_processed == 1 + 6


def test_the_command_line_replaces_the_test_file(project):
    assert loom(project, "test", "--vars", "n=3", "--vars", "lang=it").returncode == 0
    (run,) = runs(project)
    assert run.config.parameters["vars"] == {"lang": "it", "n": 3, "who": "Ada"}
    assert run.results.records_processed == 1 + 3


def test_each_test_file_of_a_pipeline_uses_its_own_variables(project):
    write(project, {"tests/french_test.yaml": FRENCH})
    assert loom(project, "test").returncode == 0
    found = {run.config.parameters["vars"]["lang"]: run for run in runs(project)}
    assert {lang: run.results.records_processed for lang, run in found.items()} == {
        "de": 1 + 6, "fr": 1 + 4,
    }  # fmt: skip
    assert all(run.complete for run in found.values())
    assert len({run.config.fingerprint for run in found.values()}) == 2


@pytest.mark.parametrize(
    ("text", "date", "records"),
    [
        ("execution_date: 2025-11-05\n", None, 5),
        ("execution_date: 2025-11-05\n", "2025-11-09", 9),
        ("", "2025-11-07T12:00:00+02:00", 7),
    ],
)
def test_the_execution_date_of_the_file_and_of_the_command_line(project, text, date, records):
    files = {"pipelines/demo.yaml": DATED, "tests/demo_test.yaml": text + GERMAN}
    write(project, files)
    done = loom(project, "test", *([] if date is None else ["--execution-date", date]))
    assert (done.returncode, WARNING in done.stderr) == (0, False)
    (run,) = runs(project)
    assert run.results.records_processed == 1 + records
    assert run.execution_date.startswith((date or "2025-11-05")[:10])


@pytest.mark.parametrize(
    ("arguments", "file", "message"),
    [
        (["--vars", "n=many"], GERMAN,
         "tests/demo_test.yaml:2:1: vars: in --vars, the variable 'n' must be a number"),
        (["--vars", "n=many"], GERMAN.replace(", n: 6", ""),
         "pipelines/demo.yaml:2:1: the variable 'n' must be a number, not 'many'"),
        ([], GERMAN.replace("n: 6", "n: many"),
         "tests/demo_test.yaml:2:28: vars.n: the variable 'n' must be a number, not 'many'"),
        (["--vars", "n"], GERMAN, "'n' is not of the form name=value"),
        (["--execution-date", "soon"], GERMAN, "'soon' does not match the formats"),
    ],
)  # fmt: skip
def test_a_value_of_a_wrong_type_ends_the_tests_before_the_first_call(
    project, arguments, file, message
):
    write(project, {"tests/demo_test.yaml": file})
    done = loom(project, "test", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert runs(project) == []


def test_validate_reports_a_value_of_a_wrong_type_in_a_test_file(project):
    write(project, {"tests/demo_test.yaml": GERMAN.replace("n: 6", "n: many")})
    done = loom(project, "validate", "--offline")
    assert done.returncode == 2
    assert "tests/demo_test.yaml:2:28: vars.n: the variable 'n' must be a number" in done.stdout


def test_a_variable_that_nobody_gives_is_an_error(project):
    write(project, {"tests/demo_test.yaml": GERMAN.replace(", who: Ada", "")})
    done = loom(project, "test")
    assert done.returncode == 1
    assert "unknown variable 'vars.who': not defined" in done.stdout


def test_a_query_without_a_date_warns_once_in_each_command(project, monkeypatch):
    other = DATED.replace("name: demo\n", "name: other\n").replace("/demo.db", "/other.db")
    files = {
        "pipelines/demo.yaml": DATED,
        "pipelines/other.yaml": other,
        "tests/two_test.yaml": FRENCH,
    }
    commit(project, files)
    commit(project, {"prompts/classify.txt": SPOKEN + "Be brief.\n"})
    commands = [
        ["test"],
        ["test", "--", "-k", "quality"],
        ["validate", "demo"],
        ["compare", "HEAD^", "--run-missing", "--pipeline", "demo"],
    ]
    for command in commands:
        _, output = guarded(project, *command)
        assert output.count(WARNING) == 1, command
    assert WARNING not in guarded(project, "validate", "demo", "--offline")[1]
    git(project, "switch", "--quiet", "--create", "change")
    git(project, "branch", "--force", "main", "HEAD^")
    date = ["--execution-date", "2025-11-09"]
    for command in (["ci", "--dry-run"], ["compare", "main", "--run-missing"]):
        assert WARNING not in guarded(project, *command, *date)[1]


def test_a_comparison_uses_the_variables_of_the_test_files_on_both_sides(project):
    commit(project, {"prompts/classify.txt": SPOKEN + "Be brief.\n"})
    done = loom(project, "compare", "HEAD^", "--run-missing", "--json")
    (compared,) = json.loads(done.stdout)["pipelines"]
    assert (compared["compared"], compared["vars"]) == (7, {})
    assert [run.config.parameters["vars"]["lang"] for run in runs(project)] == ["de", "de"]
    done = loom(
        project, "compare", "HEAD^", "--run-missing", "--json", "--vars", "n=2", "--vars", "lang=it"
    )
    (compared,) = json.loads(done.stdout)["pipelines"]
    assert compared["compared"] == 3
    assert {run.config.parameters["vars"]["lang"] for run in runs(project)} == {"de", "it"}


def test_a_comparison_separates_test_files_with_different_variables(project):
    commit(project, {"tests/french_test.yaml": FRENCH})
    worse = SPOKEN.replace("{{ context.taxonomy }}", "")
    commit(project, {"prompts/classify.txt": SPOKEN + "Be brief.\n"})
    done = loom(project, "compare", "HEAD^", "--run-missing")
    assert "demo (lang=de, who=Ada, n=6): " in done.stdout
    assert "demo (lang=fr, who=Bob): " in done.stdout
    assert "removed" not in done.stdout
    assert "new case" not in done.stdout
    commit(project, {"prompts/classify.txt": worse})
    done = loom(project, "compare", "HEAD^", "--run-missing", "--json")
    document = json.loads(done.stdout)
    assert [p["vars"].get("lang") for p in document["pipelines"]] == ["de", "fr"]
    assert [p["compared"] for p in document["pipelines"]] == [7, 5]


def test_files_with_equal_effective_variables_share_a_comparison(project):
    write(project, {"tests/demo_test.yaml": GERMAN.replace("lang: de", "lang: en")})
    same = "pipeline: demo\nvars: {who: Ada, n: 6}\n" + CASES.replace(
        "I love it", "I love all of it"
    )
    commit(project, {"tests/same_test.yaml": same})
    commit(project, {"prompts/classify.txt": SPOKEN + "Be brief.\n"})
    done = loom(project, "compare", "HEAD^", "--run-missing", "--json")
    (compared,) = json.loads(done.stdout)["pipelines"]
    assert (compared["vars"], compared["compared"]) == ({}, 8)


def test_results_with_other_variables_are_not_the_baseline(project):
    assert loom(project, "test").returncode == 0
    commit(project, {"prompts/classify.txt": SPOKEN + "Be brief.\n"})
    regression = GERMAN + "  - {name: drop, type: regression, baseline: HEAD^}\n"
    write(project, {"tests/demo_test.yaml": regression})
    _, first = guarded(project, "test", "--", "-k", "drop")
    assert "there are no results" not in first
    _, other = guarded(project, "test", "--vars", "lang=it", "--", "-k", "drop")
    assert "there are no results of merge base with HEAD^" in other


def test_a_push_takes_the_values_of_the_files(project, monkeypatch):
    commit(project, {"tests/french_test.yaml": FRENCH})
    git(project, "switch", "--quiet", "--create", "change")
    commit(project, {"prompts/classify.txt": SPOKEN + "Be brief.\n"})
    code, output = push(project, monkeypatch, strict=False)
    assert code == 0, output
    assert "demo (lang=fr, who=Bob): " in output
    assert {run.config.parameters["vars"]["lang"] for run in runs(project)} == {"de", "fr"}


def test_ci_and_hooks_take_values_of_the_command_line(project):
    git(project, "switch", "--quiet", "--create", "change")
    commit(project, {"prompts/classify.txt": SPOKEN + "Be brief.\n"})
    assert guarded(project, "ci", "--dry-run", "--vars", "lang=it")[0] == 0
    assert {run.config.parameters["vars"]["lang"] for run in runs(project)} == {"it"}
    write(project, {"prompts/classify.txt": SPOKEN + "Be kind.\n"})
    git(project, "add", "--all")
    code, output = guarded(project, "hooks", "run", "pre-commit", "--vars", "lang=es")
    assert code == 0, output
    assert {run.config.parameters["vars"]["lang"] for run in runs(project)} == {"it", "es"}


def test_an_integration_test_uses_the_values_of_its_file(project):
    text = """\
pipeline: demo
vars: {who: Ada, n: 6}
integration_tests:
  - {name: whole, assertions: ["records_processed == 6"]}
"""
    write(project, {"tests/demo_test.yaml": text})
    assert loom(project, "test").returncode == 0
    assert loom(project, "test", "--vars", "n=5").returncode == 1


def test_the_api_compares_with_variables_and_a_date(project):
    write(project, {"pipelines/demo.yaml": DATED})
    commit(project, {})
    commit(project, {"prompts/classify.txt": SPOKEN + "Be brief.\n"})
    from datetime import UTC, datetime

    comparison = Project(project).compare(
        expression="HEAD^",
        run_missing=True,
        variables={"lang": "it"},
        execution_date=datetime(2025, 11, 3, tzinfo=UTC),
    )
    assert comparison.pipelines[0].compared == 1 + 3
