"""Real run files and records lines fit their JSON Schemas and docs/run-record.md, and nothing more.

After a field was added, `LOOM_TEST_RECORD=1 pytest tests/formats/test_run_record.py` writes the
tables of the page again, from the texts in `loomgit/domain/run_fields.py` and `record_lines.py`.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema_rs
import pytest

from loomgit.domain.record_lines import LINE_FIELDS
from loomgit.domain.run_fields import RUN_FIELDS
from loomgit.history import schema
from loomgit.history.file_schemas import records_schema, run_schema
from tests.command import loom as loom_here
from tests.projects import PIPELINE, make_project
from tests.pytest_plugin.sessions import loom
from tests.repos import commit
from tests.runs import make_run
from tests.servers.openai_server import OpenAiServer, Reply, error

PAGE = Path(__file__).parents[2] / "docs/run-record.md"
SUITE = """\
pipeline: demo
unit_tests:
  - name: praise
    input: {review: This is great, expected: positive}
    expected: {sentiment: positive}
  - name: wrong
    input: {review: This is great, expected: positive}
    expected: {sentiment: negative}
distributional_tests:
  - {name: quality, type: statistical, sample_size: 4, assertions: [mean(evaluation_scores) > 0.1]}
"""
WRONG = "review_id,review,expected\n" + "".join(f"r-{n},I hate it,positive\n" for n in range(3))
MIXED = "review_id,review,expected\nr-1,This is great,positive\nr-2,I hate it,positive\n"
GATE = "  quality_gate: all_pass\n"
LOAD = "  destination: sqlite://out/demo.db/scores\n"


def closed(part):
    """The schema without room for further fields, so that an undocumented field fails."""
    if isinstance(part, list):
        return [closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    part = {key: closed(value) for key, value in part.items()}
    return {**part, "additionalProperties": False} if "properties" in part else part


RUN = jsonschema_rs.validator_for(closed(run_schema()))
LINE = jsonschema_rs.validator_for(closed(records_schema()))


def run_files(project):
    return [json.loads(path.read_bytes()) for path in (project / ".loom/runs").rglob("*.json")]


def checked(project):
    """The only run of a project and its lines, after both were compared with the schemas."""
    (run,) = run_files(project)
    RUN.validate(run)
    text = (project / ".loom" / run["records"]["path"]).read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        LINE.validate(line)
    return run, lines


def run_demo(folder, code, pipeline=PIPELINE, arguments=(), **files):
    project = make_project(folder, **{"pipelines/demo.yaml": pipeline, **files})
    done = loom_here(project, "run", "demo", "--json", *arguments)
    assert done.returncode == code, done.stderr
    run, lines = checked(project)
    assert json.loads(done.stdout) == run
    return run, lines


def test_a_successful_run_fits(tmp_path):
    run, lines = run_demo(tmp_path / "work", 0)
    assert (run["results"]["status"], {line["status"] for line in lines}) == ("success", {"loaded"})


def test_a_failed_run_fits(tmp_path):
    run, lines = run_demo(tmp_path / "work", 1, **{"data/reviews.csv": WRONG})
    assert (run["results"]["status"], run["results"]["cause"]) == ("failed", "gate")
    assert {line["failure"]["stage"] for line in lines} == {"gate"}


def test_a_partial_run_fits(tmp_path):
    text = PIPELINE.replace(GATE, f"{GATE}  batch_threshold: 0.9\n")
    run, lines = run_demo(tmp_path / "work", 1, text, **{"data/reviews.csv": MIXED})
    assert run["results"]["status"] == "partial"
    assert [line["status"] for line in lines] == ["loaded", "quarantined"]


def test_a_run_with_refused_and_skipped_records_fits(tmp_path):
    text = PIPELINE.replace(LOAD, f"{LOAD}  on_failure: skip\n")
    rows = '{"review_id": 1, "review": "great", "expected": "positive"}\n{"review": "love"}\n'
    text = text.replace("reviews.csv", "reviews.jsonl")
    _, lines = run_demo(tmp_path / "work", 0, text, **{"data/reviews.jsonl": rows})
    assert lines[1]["status"] == "skipped"
    assert "output" not in lines[1]


def test_a_run_with_fallbacks_fits(tmp_path):
    fallback = "  on_failure: fallback\n  fallback: {value: {sentiment: none, confidence: 0.0}}\n"
    text = PIPELINE.replace(LOAD, LOAD + fallback)
    _, lines = run_demo(tmp_path / "work", 0, text, **{"data/reviews.csv": MIXED})
    assert [line.get("fallback") for line in lines] == [None, True]


def test_a_dirty_run_of_some_records_fits(tmp_path):
    project = make_project(tmp_path / "work")
    (project / "prompts/classify.txt").write_text("Positive? {{ input.review }}", encoding="utf-8")
    loom_here(project, "run", "demo", "--limit", "2")
    run, lines = checked(project)
    assert (run["limit"], run["commit"]["dirty"], len(lines)) == (2, True, 2)


def asking(server, project):
    text = PIPELINE.replace("  prompt:", "  model: local\n  concurrency: 1\n  prompt:")
    price = "input_price: 1000.0, output_price: 1000.0"
    settings = f"models:\n  local: {{base_url: '{server.url}', api_key: k, {price}}}\n"
    commit(project, {"pipelines/demo.yaml": text, ".loom/config.yaml": settings})


def respond(request):
    return '{"sentiment": "positive", "confidence": 0.9}'


def think(request):
    """A reply with thinking, and with half of a surrogate pair."""
    text = '<think>It is good.</think>{"sentiment": "positive\ud83d", "confidence": 0.9}'
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    return Reply(200, json.dumps({"model": "local", "choices": [choice], "usage": usage}).encode())


def test_a_run_over_its_budget_fits(tmp_path):
    project = make_project(tmp_path / "work")
    with OpenAiServer(respond) as server:
        asking(server, project)
        assert loom_here(project, "run", "demo", "--budget", "0.3").returncode == 1
    assert checked(project)[0]["results"]["status"] == "budget_exceeded"


def test_a_run_with_thinking_and_replaced_characters_fits(tmp_path):
    project = make_project(tmp_path / "work")
    with OpenAiServer(think) as server:
        asking(server, project)
        loom_here(project, "run", "demo")
    run, lines = checked(project)
    assert (run["cost"]["models"][0]["asked"], run["served"]) == ("local", ["local"])
    assert {(line["thinking"], line["replaced_characters"]) for line in lines} == {
        ("It is good.", 1)
    }


def refuse(request):
    return error(401, "wrong key")


def test_a_run_without_a_reply_fits(tmp_path):
    project = make_project(tmp_path / "work")
    with OpenAiServer(refuse) as server:
        asking(server, project)
        assert loom_here(project, "run", "demo").returncode == 2
    run, _ = checked(project)
    assert (run["results"]["status"], run["results"]["cause"]) == ("failed", "user")


def test_an_interrupted_run_fits(tmp_path):
    project = make_project(tmp_path / "work")
    with OpenAiServer(respond, latency=0.5) as server:
        asking(server, project)
        process = subprocess.Popen(
            [sys.executable, "-m", "loomgit", "run", "demo"],
            cwd=project,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while server.stats()["calls"] < 1 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    run, _ = checked(project)
    assert (run["results"]["cause"], run["complete"]) == ("stopped", False)


def test_a_test_run_and_one_that_fails_fit(tmp_path):
    project = make_project(tmp_path / "work", **{"tests/demo_test.yaml": SUITE})
    assert loom(project, "test").code == 1
    run, lines = checked(project)
    assert (run["kind"], run["results"]["status"]) == ("test", "partial")
    assert {test["verdict"] for test in run["tests"]} == {"pass", "fail"}
    assert {"id", "judgements", "trouble"} <= lines[0].keys()


def test_a_test_run_without_a_reply_fits(tmp_path):
    project = make_project(tmp_path / "work", **{"tests/demo_test.yaml": SUITE})
    with OpenAiServer(refuse) as server:
        asking(server, project)
        assert loom(project, "test").code == 2
    run, lines = checked(project)
    assert not run["complete"], lines


def test_a_run_with_everything_in_it_fits_and_an_unknown_field_does_not():
    document = schema.as_object(make_run())
    RUN.validate(document)
    for place in (document, document["commit"], document["cases"][0], document["cost"]):
        place["surprise"] = 1
        assert not RUN.is_valid(document)
        del place["surprise"]
    assert not RUN.is_valid({**document, "pipeline": None})
    assert not jsonschema_rs.is_valid(run_schema(), {**document, "cases": "none"})
    assert jsonschema_rs.is_valid(run_schema(), {**document, "added_later": 1})


def test_no_text_describes_a_field_that_does_not_exist():
    for cls, texts in {**RUN_FIELDS, **LINE_FIELDS}.items():
        assert texts.keys() == DEFINITIONS[cls.__name__]["properties"].keys(), cls


# The page. Each class of the schemas has a table below the heading with its name.

HEADINGS = {
    "Run": "The run file",
    "RecordLine": "A line of a pipeline run",
    "SampleLine": "A line of a test run",
}
NAMES = {"string": "text", "object": "map", "array": "list"}


def shown_type(part):
    """The type of a property, as the page shows it."""
    if "$ref" in part:
        return shown_link(part["$ref"].rpartition("/")[2])
    if "anyOf" in part:
        return " or ".join(shown_type(option) for option in part["anyOf"])
    if "enum" in part:
        return "text"
    kind = part.get("type", "any value")
    inner = part.get("items", part.get("additionalProperties"))
    if isinstance(inner, dict) and kind in ("array", "object"):
        return f"{NAMES[kind]} of {shown_type(inner)}"
    return NAMES.get(kind, kind)


def shown_link(name):
    heading = HEADINGS.get(name, name)
    return f"[{name}](#{heading.lower().replace(' ', '-')})"


def table(definition):
    lines = ["| name | type | meaning |", "|---|---|---|"]
    for name, part in definition["properties"].items():
        meaning = part["description"].replace("|", "\\|")
        lines.append(f"| `{name}` | {shown_type(part)} | {meaning} |")
    return "\n".join(lines)


DEFINITIONS = {**run_schema()["$defs"], **records_schema()["$defs"]}
TABLE = re.compile(r"^\| name \| type \| meaning \|\n(\|.*\n)+", re.MULTILINE)


def test_every_class_has_a_heading_on_the_page_and_no_table_has_no_class():
    page = PAGE.read_text(encoding="utf-8")
    assert len(TABLE.findall(page)) == len(DEFINITIONS)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_page_has_the_fields_of_a_class_with_their_types_and_meanings(name):
    page = PAGE.read_text(encoding="utf-8")
    before, heading, section = page.partition(f"# {HEADINGS.get(name, name)}\n")
    assert heading, f"docs/run-record.md has no heading '{HEADINGS.get(name, name)}'"
    expected = table(DEFINITIONS[name]) + "\n"
    if os.environ.get("LOOM_TEST_RECORD"):
        section = TABLE.sub(lambda _: expected, section, count=1)
        PAGE.write_text(before + heading + section, encoding="utf-8")
    assert TABLE.search(section)[0] == expected


def test_the_example_of_the_page_is_part_of_a_run_file_and_a_line():
    blocks = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    run, line = (json.loads(block) for block in blocks)
    RUN.validate(run)
    LINE.validate(line)
