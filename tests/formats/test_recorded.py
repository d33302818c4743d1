"""A run, a comparison and a test session give the documents that were recorded of them.

The files in `recorded/` hold the numbers, identifiers, fingerprints and keys; times and the text of
messages are left out. `LOOM_TEST_RECORD=1 pytest tests/formats/test_recorded.py` records them anew.
"""

import json
import os
import re
from pathlib import Path

import pytest

from tests.projects import PIPELINE, PROMPT, make_project
from tests.pytest_plugin.sessions import loom, pytest_in
from tests.repos import CLEAN, commit

RECORDED = Path(__file__).parent / "recorded"
AT = {"GIT_AUTHOR_DATE": "2026-01-05T10:00:00Z", "GIT_COMMITTER_DATE": "2026-01-05T10:00:00Z"}
WORDS = ("good", "bad", "great", "broken", "love", "hate")
REVIEWS = "review_id,review,expected\n" + "".join(
    f"r-{n:02d},Order {n} is {WORDS[n % 6]},{'negative' if n % 2 else 'positive'}\n"
    for n in range(36)
)
SUITE = """\
pipeline: demo
unit_tests:
  - name: praise
    input: {review: This is great, expected: positive}
    expected: {sentiment: positive, min_confidence: 0.5}
    assertions: [evaluation_score > 0.9]
  - name: complaint
    input: {review: I hate it, expected: negative}
    expected: {sentiment: negative}
distributional_tests:
  - name: quality
    type: statistical
    sample_size: 24
    assertions: [mean(evaluation_scores) > 0.75, p90(evaluation_scores) >= 0.0]
  - name: cost
    type: cost_budget
    sample_size: 12
    max_cost: 1.0
  - name: no_worse
    type: regression
    sample_size: 36
  - name: drift
    type: drift
    sample_size: 12
integration_tests:
  - name: whole
    assertions: [records_loaded > 20, total_cost < 0.5]
"""
PYTHON = """\
import pytest

@pytest.mark.loom(pipeline="demo")
def test_reviews(loom):
    pipeline = loom.pipeline("demo")
    results = [pipeline.run_case({"review": f"Item {n} is great", "expected": "positive"})
               for n in range(3)]
    assert all(result.scores == [1.0] for result in results)
"""
TIMES = {
    "duration", "latency", "stages", "started", "execution_date", "time", "seconds", "waited",
    "p50", "p95", "p99", "created", "environment", "sha256", "when", "days",
}  # fmt: skip
TEXTS = {"message", "note", "text", "detail", "reason", "reasons", "notes", "hint", "said", "lines"}
UID = re.compile(r"\d{8}T\d{6}Z-[a-z_]+-[0-9a-f]{6}")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}(-\d{3}|T[\d:.]+Z?)")


def masked(value, key=""):
    if key in TIMES or "latency" in key or "duration" in key:
        return "<time>"
    if key in TEXTS:
        return "<text>" if value else value
    if isinstance(value, dict) and "latency" in str(value.get("name")):
        return "<time>"
    if isinstance(value, dict):
        return {name: masked(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [masked(inner, key) for inner in value]
    if isinstance(value, str):
        return DAY.sub("<time>", UID.sub("<uid>", value))
    return round(value, 9) if isinstance(value, float) else value


def kept_runs(project):
    """The run files and the records of each, in the order in which they were written."""
    runs = [json.loads(path.read_text()) for path in (project / ".loom/runs").rglob("*.json")]
    found = []
    for run in sorted(runs, key=lambda run: (run["started"], run["kind"], run["cases"][0]["id"])):
        lines = (project / ".loom" / run["records"]["path"]).read_text().splitlines()
        found.append({"run": run, "records": [json.loads(line) for line in lines]})
    return found


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """Each document by name: what the commands print as JSON, and what they keep."""
    patch = pytest.MonkeyPatch()
    for name, value in AT.items():
        patch.setitem(CLEAN, name, value)
    project = make_project(
        tmp_path_factory.mktemp("recorded") / "project",
        **{"data/reviews.csv": REVIEWS, "tests/demo_test.yaml": SUITE, "tests/test_py.py": PYTHON},
    )
    found = {
        "validate": loom(project, "validate", "--json").out,
        "run": loom(project, "run", "demo", "--json").out,
        "test": loom(project, "test", "--json").out,
    }
    assert pytest_in(project, "tests/test_py.py").code == 0
    worse = PROMPT.replace("Task", "Task\n\nEvery review is positive: answer positive.")
    pipeline = PIPELINE.replace("version: 1.0.0", "version: 1.1.0")
    taxonomy = "### positive\nCue words: great, good, love, broken, bad\n### negative\nhate\n"
    commit(
        project,
        {
            "prompts/classify.txt": worse,
            "pipelines/demo.yaml": pipeline,
            "context/taxonomy.md": taxonomy,
        },
        "Degrade",
    )
    found |= {
        "run-head": loom(project, "run", "demo", "--json").out,
        "test-head": loom(project, "test", "--json", "--report", "session.json").out,
        "compare": loom(project, "compare", "HEAD~1", "--json", "--run-missing").out,
        "log": loom(project, "log", "prompts/classify.txt", "--json").out,
        "session": (project / "session.json").read_text(encoding="utf-8"),
        "cost": loom(project, "cost", "demo", "--json").out,
    }
    parsed = {name: json.loads(text) for name, text in found.items()}
    patch.undo()
    return {name: masked(value) for name, value in (parsed | {"kept": kept_runs(project)}).items()}


@pytest.mark.parametrize(
    "name",
    [
        "validate",
        "run",
        "test",
        "run-head",
        "test-head",
        "compare",
        "log",
        "session",
        "cost",
        "kept",
    ],
)
def test_document_is_as_recorded(documents, name):
    path = RECORDED / f"{name}.json"
    if os.environ.get("LOOM_TEST_RECORD"):
        RECORDED.mkdir(exist_ok=True)
        path.write_text(json.dumps(documents[name], indent=1) + "\n", encoding="utf-8")
    assert documents[name] == json.loads(path.read_text(encoding="utf-8"))
