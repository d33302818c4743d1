"""Whatever is wrong with a project: one clear line, the right exit code, nothing half written."""

import json
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from loomgit import cli
from tests.projects import PIPELINE, PROMPT, REVIEWS, make_project


class Broken(NamedTuple):
    name: str
    files: dict[str, str | bytes | Callable[[Path], object] | None]
    code: int
    said: str  # stands in what was said on stderr
    arguments: tuple[str, ...] = ("run", "demo")


def replaced(old: str, new: str, text: str = PIPELINE) -> str:
    assert old in text
    return text.replace(old, new)


def source(path: str) -> str:
    return replaced("data/reviews.csv", path)


def destination(url: str) -> str:
    return replaced("sqlite://out/demo.db/scores", url)


def folder(path: Path) -> None:
    path.mkdir(parents=True)


def other_table(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE other (x)")
    database.close()


def narrow_table(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE scores (review_id TEXT PRIMARY KEY, sentiment TEXT)")
    database.close()


P, D = "pipelines/demo.yaml", "data/reviews.csv"
JSONL = {P: source("data/r.jsonl")}

CASES = [
    # the pipeline file
    Broken("no such pipeline", {}, 2, "there is no pipeline demp", ("run", "demp")),
    Broken("near name", {}, 2, "did you mean 'demo'?", ("run", "demp")),
    Broken("pipeline is a folder", {P: folder}, 2, P),
    Broken("pipeline is empty", {P: ""}, 2, f"{P}:1:1"),
    Broken("pipeline is a list", {P: "- a\n- b\n"}, 2, f"{P}:1:1"),
    Broken("pipeline is not UTF-8", {P: b"name: caf\xe9\n"}, 2, f"{P}:1"),
    Broken("pipeline is not YAML", {P: "name: demo\n\tversion: 1\n"}, 2, f"{P}:2"),
    Broken("unclosed quote", {P: replaced("name: demo", 'name: "demo')}, 2, P),
    Broken("key twice", {P: PIPELINE + "name: again\n"}, 2, f"{P}:18:1: name: duplicate key"),
    Broken("unknown key", {P: replaced("prompt:", "promt:")}, 2, "did you mean 'prompt'?"),
    Broken("unknown gate", {P: replaced("all_pass", "all_pas")}, 2, "did you mean 'all_pass'?"),
    Broken("unknown type", {P: replaced("exact_match", "exact_mach")}, 2, "'exact_match'"),
    Broken("threshold of 3", {P: replaced("config:", "threshold: 3\n      config:")}, 2, f"{P}:14"),
    Broken("name missing", {P: replaced("name: demo\n", "")}, 2, "name"),
    Broken("source missing", {P: replaced("  source: data/reviews.csv\n", "")}, 2, "source"),
    Broken(
        "duration is no duration",
        {P: replaced("  output:", "  cache: {ttl: soon}\n  output:")},
        2,
        f"{P}:9",
    ),
    # prompt and context
    Broken("no prompt", {"prompts/classify.txt": None}, 2, f"{P}:7:"),
    Broken("prompt is a folder", {"prompts/classify.txt": folder}, 2, f"{P}:7:"),
    Broken(
        "prompt is not UTF-8", {"prompts/classify.txt": b"a\ncaf\xe9"}, 2, "prompts/classify.txt:2"
    ),
    Broken(
        "prompt is no template",
        {"prompts/classify.txt": PROMPT + "{{ input."},
        2,
        "prompts/classify.txt:14",
    ),
    Broken(
        "unknown root",
        {"prompts/classify.txt": PROMPT + "{{ inputs.review }}"},
        2,
        "did you mean 'input'?",
    ),
    Broken(
        "unknown field",
        {"prompts/classify.txt": PROMPT + "{{ input.reviews }}"},
        2,
        "did you mean 'input.review'?",
    ),
    Broken(
        "unknown context",
        {"prompts/classify.txt": PROMPT + "{{ context.domain }}"},
        2,
        "context.domain",
    ),
    Broken(
        "unknown variable",
        {"prompts/classify.txt": PROMPT + "{{ vars.tone }}"},
        2,
        "--vars tone=VALUE",
    ),
    Broken("no context", {"context/taxonomy.md": None}, 2, f"{P}:8:13"),
    Broken(
        "no such version",
        {P: replaced("  context:", "  prompt_version: v9\n  context:")},
        2,
        "no version v9",
    ),
    Broken(
        "prompt outside", {P: replaced("prompts/classify.txt", "../../etc/passwd")}, 2, f"{P}:7:"
    ),
    Broken(
        "context twice",
        {P: replaced("taxonomy.md]", "taxonomy.md, other/taxonomy.md]"), "other/taxonomy.md": "x"},
        2,
        "two files have the name 'taxonomy'",
    ),
    # the source
    Broken("no source", {D: None}, 2, "data/reviews.csv"),
    Broken("source is a folder", {D: folder}, 2, "data/reviews.csv"),
    Broken("source is empty", {D: ""}, 2, "data/reviews.csv"),
    Broken("only a header", {D: "review_id,review,expected\n"}, 0, "the source has no records"),
    Broken("ragged row", {D: REVIEWS + "r-5,too,many,fields\n"}, 2, "data/reviews.csv:6"),
    Broken("not UTF-8", {D: REVIEWS.encode() + b"r-5,caf\xe9,positive\n"}, 2, "data/reviews.csv:6"),
    Broken("NUL byte", {D: REVIEWS.encode() + b"r-5,a\0b,positive\n"}, 2, "data/reviews.csv:6"),
    Broken("header twice", {D: "review_id,review,review\nr-1,a,b\n"}, 2, "data/reviews.csv:1"),
    Broken(
        "broken JSON line",
        {**JSONL, "data/r.jsonl": '{"review_id": "1"}\n{oops\n'},
        2,
        "data/r.jsonl:2",
    ),
    Broken("line is no object", {**JSONL, "data/r.jsonl": "[1, 2]\n"}, 2, "data/r.jsonl:1"),
    Broken(
        "null key",
        {**JSONL, "data/r.jsonl": '{"review_id": null, "review": "a", "expected": "b"}\n'},
        1,
        "review_id",
    ),
    Broken("no key field", {P: replaced("key: review_id", "key: reviewid")}, 2, "reviewid"),
    Broken("unknown scheme", {P: source("htp://x/y")}, 2, f"{P}:4:"),
    Broken("scheme to come", {P: source("s3://bucket/reviews")}, 2, f"{P}:4:"),
    Broken("no database", {P: source("sqlite://data/none.db/t")}, 2, "data/none.db"),
    Broken(
        "not a database", {P: source("sqlite://data/reviews.csv/t")}, 2, "is not a SQLite database"
    ),
    Broken(
        "no such table", {P: source("sqlite://data/x.db/t"), "data/x.db": other_table}, 2, "other"
    ),
    Broken("broken SQL", {P: replaced("  key:", "  query: SELEC * FROM data\n  key:")}, 2, "SELEC"),
    Broken(
        "unknown SQL variable",
        {
            P: replaced(
                "  key:", '  query: "SELECT * FROM data WHERE review = {{ vars.x }}"\n  key:'
            )
        },
        2,
        "vars.x",
    ),
    Broken(
        "included field missing",
        {P: PIPELINE + "  include: [revew]\n"},
        2,
        "did you mean 'review'?",
    ),
    # the destination
    Broken(
        "replacing the source",
        {P: destination("data/reviews.csv") + "  mode: replace\n"},
        2,
        "mode: replace would destroy it",
    ),
    Broken(
        "replace with a limit",
        {P: PIPELINE + "  mode: replace\n"},
        2,
        "would leave no more than 1 rows",
        ("run", "demo", "--limit", "1"),
    ),
    Broken("another name", {P: replaced("name: demo", "name: other")}, 2, f"{P}:1:1: name:"),
    Broken(
        "no such function",
        {P: replaced("exact_match", "checks.py:nothing"), "checks.py": "x = 1\n"},
        2,
        f"{P}:12",
    ),
    Broken(
        "destination in a file",
        {P: destination("out/x/y.jsonl"), "out/x": "a file"},
        2,
        "out/x is a file",
    ),
    Broken(
        "destination is a folder",
        {P: destination("out/y.jsonl"), "out/y.jsonl": folder},
        2,
        "out/y.jsonl",
    ),
    Broken(
        "destination is not writable",
        {P: destination("sqlite:///proc/loom/demo.db/t")},
        4,
        "/proc/loom",
    ),
    Broken(
        "destination is no database",
        {"out/demo.db": "no database, far from it " * 40},
        2,
        "is not a SQLite database",
    ),
    Broken("column missing", {"out/demo.db": narrow_table}, 2, "confidence"),
    Broken(
        "broken lines in the way",
        {P: destination("out/y.jsonl"), "out/y.jsonl": "{oops\n"},
        2,
        "out/y.jsonl:1",
    ),
    # configuration and command line
    Broken(
        "broken configuration",
        {".loom/config.yaml": "defaults: {modle: x}\n"},
        2,
        "did you mean 'model'?",
    ),
    Broken(
        "no such variable",
        {
            P: source("sqlite://db/t"),
            ".loom/config.yaml": "connections: {db: 'sqlite://${LOOM_TEST_NO_SUCH}'}\n",
        },
        2,
        "LOOM_TEST_NO_SUCH",
    ),
    Broken(
        "secret connection",
        {
            P: source("sqlite://db/t"),
            ".loom/config.yaml": "connections: {db: 'sqlite://hunter2/${HOME:-x}.db'}\n",
        },
        2,
        "connection 'db'",
    ),
    Broken("--vars without a value", {}, 2, "name=value", ("run", "demo", "--vars", "x")),
    Broken("--limit of zero", {}, 2, "--limit", ("run", "demo", "--limit", "0")),
    Broken("no date", {}, 2, "--execution-date", ("run", "demo", "--execution-date", "soon")),
    Broken("no pipeline named", {}, 2, "PIPELINE", ("run",)),
    Broken("no such command", {}, 2, "Did you mean 'validate'?", ("validat",)),
    Broken("no such option", {}, 2, "--limt", ("run", "demo", "--limt", "1")),
    Broken("no such run", {}, 2, "no run 2020-01-01-001", ("runs", "show", "2020-01-01-001")),
    Broken("no such file to show", {}, 2, "prompts/none.txt", ("show", "prompts/none.txt")),
    Broken("no such version to show", {}, 2, "no version v9", ("show", "prompts/classify.txt@v9")),
    Broken(
        "no such project", {}, 2, "no-such-folder", ("run", "demo", "--project", "no-such-folder")
    ),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("template") / "project")


def apply(root: Path, files) -> None:
    for name, content in files.items():
        path = root / name
        if path.is_dir():
            shutil.rmtree(path)
        elif path.exists():
            path.unlink()
        if content is None:
            continue
        if callable(content):
            content(path)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def snapshot(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and not {".git", ".loom", "__pycache__"} & set(path.relative_to(root).parts)
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_a_broken_input_ends_in_words(case, template, tmp_path, monkeypatch, capsys):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    apply(root, case.files)
    before = snapshot(root)
    monkeypatch.chdir(root)

    code = cli._run(list(case.arguments))

    out, err = capsys.readouterr()
    assert case.said in err, err
    assert code == case.code, err
    assert "Traceback" not in out + err
    assert "hunter2" not in out + err
    assert len(err.strip().splitlines()) <= 4, err
    assert snapshot(root) == before or code == 0
    assert not list(root.rglob("*.tmp"))


def test_all_faults_of_a_file_are_said_at_once(template, tmp_path, monkeypatch, capsys):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    text = PIPELINE.replace("promt", "x").replace("prompt:", "promt:").replace("all_pass", "none")
    (root / P).write_text(text.replace("version: 1.0.0", "versoin: 1.0.0"))
    monkeypatch.chdir(root)
    assert cli._run(["run", "demo"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) >= 3
    assert all(line.startswith(f"error: {P}:") for line in errors)


def test_keys_that_come_twice_are_counted_and_the_last_wins(
    template, tmp_path, monkeypatch, capsys
):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    (root / D).write_text(REVIEWS + "r-1,Now it is bad,negative\n")
    monkeypatch.chdir(root)
    assert cli._run(["run", "demo"]) == 0
    assert "1 superseded by a later record of the same key" in capsys.readouterr().out
    with sqlite3.connect(root / "out/demo.db") as database:
        rows = dict(database.execute("SELECT review_id, sentiment FROM scores"))
    database.close()
    assert rows["r-1"] == "negative"
    assert len(rows) == 4


def test_a_record_that_lacks_a_field_fails_alone(template, tmp_path, monkeypatch, capsys):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    apply(
        root,
        {
            **JSONL,
            "data/r.jsonl": '{"review_id": "a", "review": "great", "expected": "positive"}\n'
            '{"review_id": "b", "text": "bad"}\n',
        },
    )
    monkeypatch.chdir(root)
    assert cli._run(["run", "demo"]) == 0
    assert "1 passed, 1 rejected" in capsys.readouterr().out
    quarantine = (root / ".loom/state/quarantine/demo.jsonl").read_text()
    assert "prompts/classify.txt:7: the record has no field 'review'" in quarantine


def test_outside_of_a_repository_and_of_a_project(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli._run(["run", "demo"]) == 2
    assert "is not in a Loom project" in capsys.readouterr().err
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "demo.yaml").write_text(PIPELINE)
    assert cli._run(["run", "demo"]) == 2
    assert "hint: run `git init`" in capsys.readouterr().err


def test_a_run_in_which_nothing_passes_answers_no(template, tmp_path, monkeypatch, capsys):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    (root / D).write_text(REVIEWS.replace("positive", "x").replace("negative", "x"))
    monkeypatch.chdir(root)
    assert cli._run(["run", "demo"]) == 1
    out, err = capsys.readouterr()
    assert "error: no record passed: label 0.00 < 0.70" in err
    assert "    4 x label 0.00 < 0.70" in out.splitlines()


def test_a_missed_batch_threshold_answers_no_and_loads_what_passed(
    template, tmp_path, monkeypatch, capsys
):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    (root / P).write_text(replaced("  quality_gate", "  batch_threshold: 0.9\n  quality_gate"))
    (root / D).write_text(REVIEWS.replace("love it,positive", "love it,negative"))
    monkeypatch.chdir(root)
    assert cli._run(["run", "demo", "--json"]) == 1
    results = json.loads(capsys.readouterr().out)["results"]
    assert results["status"] == "partial"
    assert results["message"] == "batch threshold not met: 75.0% < 90.0%"
    assert results["records_loaded"] == 3


def test_an_error_is_a_document_too(template, tmp_path, monkeypatch, capsys):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    (root / P).write_text(replaced("all_pass", "all_pas"))
    monkeypatch.chdir(root)
    assert cli._run(["run", "demo", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == 2
    (problem,) = error["problems"]
    assert (problem["file"], problem["hint"]) == (P, "did you mean 'all_pass'?")


def test_no_pipeline_runs_when_one_of_them_is_broken(template, tmp_path, monkeypatch, capsys):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    monkeypatch.chdir(root)
    assert cli._run(["run", "demo", "missing"]) == 2
    capsys.readouterr()
    assert not (root / "out").exists()


def test_what_a_users_evaluator_prints_does_not_spoil_the_document(
    template, tmp_path, monkeypatch, capsys
):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    (root / "checks.py").write_text("def loud(output, record):\n    print('hello')\n    return 1\n")
    text = PIPELINE.replace("type: exact_match", "type: checks.py:loud")
    text = text.replace("      config: {field: sentiment, reference_field: expected}\n", "")
    (root / P).write_text(text)
    monkeypatch.chdir(root)
    assert cli._run(["run", "demo", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["results"]["records_validated"] == 4
    assert "hello" in err


def test_whoever_stops_reading_does_not_stop_the_run(template, tmp_path):
    root = tmp_path / "project"
    shutil.copytree(template, root)
    command = f"{shlex.quote(sys.executable)} -m loomgit run demo | head -1"
    done = subprocess.run(command, shell=True, cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "Pipeline: demo (v1.0.0)\n"
    assert "Traceback" not in done.stderr
    assert (root / "out/demo.db").exists()
    assert len(list(root.glob(".loom/runs/*/*.json"))) == 1
    assert len(list(root.glob(".loom/records/*.jsonl"))) == 1
