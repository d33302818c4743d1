import ast
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from loomgit import cli
from tests.projects import make_project

PACKAGE = Path(cli.__file__).parent
SLOW = {"litellm", "arbiter_ai", "scipy", "git", "numpy", "pydantic", "jinja2", "duckdb", "yaml"}


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport sys; print('\\n'.join(sys.modules), file=sys.stderr)",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    return {name.split(".")[0] for name in done.stderr.splitlines()}


@pytest.mark.parametrize(
    "code",
    [
        "import loomgit",
        "from loomgit import cli; cli._run(['--help'])",
        "from loomgit import cli; cli._run(['run', '--help'])",
        "from loomgit import cli; cli._run(['no-such'])",
    ],
)
def test_saying_hello_loads_nothing_slow(code):
    assert not SLOW & loaded_by(code)


def test_the_table_of_commands_is_what_there_is():
    modules = {path.stem for path in (PACKAGE / "commands").glob("*.py")} - {
        "__init__",
        "app_create",
        "app_execute",
        "app_lifecycle",
        "app_overview",
        "default_group",
        "error_document",
        "hook_document",
        "options",
        "last_error",
        "pytest_start",
        "hook_runs",
        "new_project",
        "numbers",
        "pull_request_check",
        "screen",
        "verdict_document",
    }
    assert {module for module, _ in cli.COMMANDS.values()} == modules


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_command_takes_the_common_options(name):
    command = cli.group.get_command(click.Context(cli.group), name)
    for leaf in command.commands.values() if isinstance(command, click.Group) else [command]:
        options = {option for parameter in leaf.params for option in parameter.opts}
        assert {"--project", "--json", "--quiet", "--verbose", "--no-color"} <= options


def test_a_bug_of_ours_is_one_line_and_a_file(tmp_path, monkeypatch, capsys):
    (tmp_path / ".loom").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(cli.COMMANDS, "broken", ("broken", "A command that is not there."))
    assert cli._run(["broken"]) == 3
    err = capsys.readouterr().err
    assert err.startswith("error: this is a bug in Loom: ModuleNotFoundError: ")
    assert "hint: the details are in .loom/last-error.txt" in err
    assert "Traceback" in (tmp_path / ".loom/last-error.txt").read_text()


def test_flags_have_variables(tmp_path, monkeypatch, capsys):
    project = make_project(tmp_path / "project")
    monkeypatch.setenv("LOOM_PROJECT", str(project))
    monkeypatch.setenv("LOOM_RUN_LIMIT", "2")
    monkeypatch.setenv("LOOM_JSON", "1")
    monkeypatch.chdir(tmp_path)
    assert cli._run(["run", "demo"]) == 0
    assert json.loads(capsys.readouterr().out)["results"]["records_processed"] == 2


def test_several_pipelines_are_one_document(tmp_path, monkeypatch, capsys):
    project = make_project(tmp_path / "project")
    text = (project / "pipelines/demo.yaml").read_text()
    (project / "pipelines/other.yaml").write_text(text.replace("name: demo", "name: other"))
    monkeypatch.chdir(project)
    assert cli._run(["run", "demo", "other", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [run["pipeline"] for run in document["runs"]] == ["demo", "other"]
    assert cli._run(["runs", "list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2


def test_validate_prints_the_missions_checklist(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(make_project(tmp_path / "project"))
    assert cli._run(["validate", "demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Validating: demo (v1.0.0)"
    for line in (
        "Pipeline Definition:",
        "  ✅ YAML syntax valid",
        "  ✅ Required fields present",
        "  ✅ Evaluator configs valid",
        "Prompts:",
        "  ✅ Context variables resolved",
        "  ✅ Output format specified",
        "Context:",
        "Connections:",
        "  ✅ Source: data/reviews.csv reachable",
        "  ✅ Destination: sqlite://out/demo.db/scores writable",
    ):
        assert line in lines
    assert lines[-1] == "Pipeline is valid ✅"
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        ("pipelines/demo.yaml", "all_pass", "all_pas", "  ❌ Evaluator configs valid"),
        ("pipelines/demo.yaml", "prompt:", "promt:", "  ❌ Required fields present"),
        ("pipelines/demo.yaml", "name: demo", "name: [", "  ❌ YAML syntax valid"),
        (
            "pipelines/demo.yaml",
            "data/reviews.csv",
            "data/none.csv",
            "  ❌ Source: data/none.csv reachable",
        ),
        ("pipelines/demo.yaml", "classify.txt", "none.txt", "  ❌ none.txt exists"),
        ("pipelines/demo.yaml", "taxonomy.md", "none.md", "  ❌ none.md exists"),
        ("prompts/classify.txt", "input.review", "input.text", "  ❌ Context variables resolved"),
    ],
)
def test_validate_marks_what_is_wrong(file, old, new, line, tmp_path, monkeypatch, capsys):
    project = make_project(tmp_path / "project")
    path = project / file
    path.write_text(path.read_text().replace(old, new))
    monkeypatch.chdir(project)
    assert cli._run(["validate"]) == 2
    out = capsys.readouterr().out
    assert line in out.splitlines()
    assert out.splitlines()[-1] == "Pipeline is not valid ❌"


def test_validate_offline_looks_at_no_connection(tmp_path, monkeypatch, capsys):
    project = make_project(tmp_path / "project")
    (project / "data/reviews.csv").unlink()
    monkeypatch.chdir(project)
    assert cli._run(["validate", "--offline"]) == 0
    assert "⚠️ Source: data/reviews.csv reachable (not checked)" in capsys.readouterr().out


def test_schema_is_json(capsys):
    for kind in ("pipeline", "test", "config", "run", "records"):
        assert cli._run(["schema", kind]) == 0
        assert json.loads(capsys.readouterr().out)["$schema"].endswith("2020-12/schema")


def test_no_module_prints_but_the_console():
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print" or path.name == "api.py", path
