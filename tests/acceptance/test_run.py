"""`loom run` as users meet it: real repositories, real files, a real server on loopback."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest

from loomgit.api import Project
from tests import processes
from tests.projects import PIPELINE, make_project
from tests.repos import commit, git, make, write
from tests.servers.openai_server import OpenAiServer

ROOT = Path(__file__).parents[2]
RESTAURANTS = ROOT.parent / "shared" / "data" / "restaurant_reviews.csv"
EXAMPLE = ("pipelines", "prompts", "context", "data", ".loom/config.yaml", ".loom/.gitignore")


def loom(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return processes.run("loomgit", *arguments, cwd=folder, env={**os.environ, **environment})


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "project")


@pytest.fixture
def example(tmp_path):
    """The repository's own example, as a fresh clone has it."""
    folder = make(tmp_path / "example")
    for name in EXAMPLE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("out"))
        else:
            (folder / name).parent.mkdir(exist_ok=True)
            shutil.copy(source, folder / name)
    write(folder, {".gitignore": "/data/out/\n"})
    commit(folder, {}, "Begin")
    return folder


def table(path: Path, query: str):
    with sqlite3.connect(path) as database:
        rows = database.execute(query).fetchall()
    database.close()
    return rows


# -- the main job


def test_the_example_runs_and_leaves_the_work_tree_clean(example):
    done = loom(example, "run", "customer_sentiment")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    starts = ["Pipeline: customer_sentiment (v2.1.0)", "Status: Running...", "", "Extract:   ✅ 1"]
    assert all(line.startswith(start) for line, start in zip(lines, starts, strict=False))
    headings = [
        "Transform:",
        "Evaluate:",
        "Load:",
        "Results:",
        "Evaluation Scores:",
        "Cost:",
        "Performance:",
    ]
    places = [next(i for i, line in enumerate(lines) if line.startswith(h)) for h in headings]
    assert places == sorted(places)
    assert lines[-1] == "✅ Pipeline completed successfully"
    assert git(example, "status", "--porcelain") == ""


def test_the_example_gets_most_labels_right_and_fails_the_hard_ones_honestly(example):
    run = Project(example).run("customer_sentiment")
    assert run.results.records_processed >= 150
    assert 0.7 <= run.evaluation["label"].mean <= 0.95


def test_the_same_run_twice_changes_nothing_and_says_so(example):
    loom(example, "run", "customer_sentiment")
    rows = table(example / "data/out/analytics.db", "SELECT * FROM sentiment_scores ORDER BY 1")
    done = loom(example, "run", "customer_sentiment")
    assert f"Changed:   nothing ({len(rows)} rows unchanged)" in done.stdout
    assert rows == table(
        example / "data/out/analytics.db", "SELECT * FROM sentiment_scores ORDER BY 1"
    )


def test_the_run_file_holds_what_the_mission_says(example):
    head = git(example, "rev-parse", "HEAD")
    done = loom(example, "run", "customer_sentiment", "--json")
    document = json.loads(done.stdout)
    (path,) = (example / ".loom/runs" / head).glob("*.json")
    assert json.loads(path.read_text()) == document
    prompt = git(example, "rev-parse", "HEAD:prompts/classify_sentiment.txt")
    assert document["config"]["prompt_version"] == f"g{prompt[:8]}"
    assert document["config"]["prompt_blob"] == prompt
    assert set(document["config"]["context_versions"]) == {"customer_domain", "sentiment_taxonomy"}
    assert document["commit"]["id"] == head
    assert document["commit"]["dirty"] is False
    assert document["complete"] is True
    results = document["results"]
    assert (
        results["records_validated"] + results["records_rejected"] == results["records_processed"]
    )
    records = (example / ".loom" / document["records"]["path"]).read_bytes().splitlines()
    assert len(records) == document["records"]["count"] == results["records_processed"]
    scores = [orjson.loads(line)["scores"]["label"] for line in records]
    assert document["evaluation"]["label"]["mean"] == pytest.approx(sum(scores) / len(scores))
    assert document["performance"]["latency"]["p95"] > 0


def test_a_run_without_judges_loads_no_model_library(example):
    code = (
        "import sys; from loomgit import cli;"
        "code = cli._run(['run', 'customer_sentiment', '-q']);"
        "slow = {'litellm', 'arbiter_ai', 'openai', 'pydantic_ai', 'scipy', 'duckdb', 'aiohttp'};"
        "assert not slow & set(sys.modules), slow & set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=example, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not RESTAURANTS.exists(), reason=f"no {RESTAURANTS.name} beside the checkout")
class TestRestaurantReviews:
    """1,000 real reviews through a copy of the example's pipeline."""

    def right(self, example: Path) -> float:
        text = (example / "pipelines/customer_sentiment.yaml").read_text()
        text = text.replace("name: customer_sentiment", "name: restaurants")
        text = text.replace("data/reviews.csv", str(RESTAURANTS))
        text = text.replace("sentiment_scores", "restaurants")
        prompt = (example / "prompts/classify_sentiment.txt").read_text()
        two = prompt.replace("positive, negative, neutral", "positive, negative")
        two = two.replace("positive|negative|neutral", "positive|negative")
        write(
            example,
            {
                "pipelines/restaurants.yaml": text.replace("classify_sentiment", "classify_two"),
                "prompts/classify_two.txt": two,
            },
        )
        run = Project(example).run("restaurants")
        assert run.results.records_processed == 1000
        return run.evaluation["label"].mean

    def test_a_good_taxonomy_gets_at_least_70_percent_right(self, example):
        assert self.right(example) >= 0.70

    def test_without_definitions_and_examples_the_model_knows_nothing(self, example):
        write(example, {"context/sentiment_taxonomy.md": "positive, negative\n"})
        assert self.right(example) < 0.60


# -- versions


def test_a_pinned_prompt_ignores_the_working_tree(project):
    tag = loom(project, "tag", "prompts/classify.txt", "v1.0.0")
    assert tag.stdout == "Tagged prompts/classify@v1.0.0\n"
    text = PIPELINE.replace("  context:", "  prompt_version: v1.0.0\n  context:")
    commit(project, {"pipelines/demo.yaml": text})
    write(project, {"prompts/classify.txt": "broken {{"})
    run = Project(project).run("demo")
    assert run.config.prompt_version == "v1.0.0"
    assert run.results.records_validated == 4
    assert run.commit.dirty
    shown = loom(project, "show", "prompts/classify.txt@v1.0.0")
    assert shown.stdout.startswith("## Taxonomy")
    assert loom(project, "show", "prompts/classify.txt").stdout == "broken {{\n"


def test_a_project_in_a_subfolder_runs_from_anywhere_inside(tmp_path):
    root = make(tmp_path / "mono")
    make_project(root / "apps" / "bot")
    shutil.rmtree(root / "apps" / "bot" / ".git")
    head = commit(root, {"README.md": "monorepo"})
    done = loom(root / "apps/bot/prompts", "run", "demo", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["commit"]["id"] == head
    assert (root / "apps/bot/.loom/runs" / head).is_dir()


def test_before_the_first_commit_results_are_unborn(tmp_path):
    project = make_project(tmp_path / "project")
    shutil.rmtree(project / ".git")
    make(project)
    run = Project(project).run("demo")
    assert run.commit.id == "unborn"
    assert run.config.prompt_version.endswith(".dirty")
    assert len(list((project / ".loom/runs/unborn").glob("*.json"))) == 1


# -- sources, destinations


@pytest.mark.parametrize("end", ["jsonl", "json", "csv", "parquet"])
def test_results_load_into_files_and_stay_as_they_are(project, end):
    text = PIPELINE.replace("sqlite://out/demo.db/scores", f"out/scores.{end}")
    commit(project, {"pipelines/demo.yaml": text})
    first = loom(project, "run", "demo")
    assert "4 new" in first.stdout, first.stderr
    path = project / "out" / f"scores.{end}"
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    assert "nothing (4 rows unchanged)" in loom(project, "run", "demo").stdout
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    # and what one pipeline wrote, another reads
    again = text.replace("name: demo", "name: again").replace(
        "data/reviews.csv", f"out/scores.{end}"
    )
    again = again.replace(f"destination: out/scores.{end}", "destination: out/again.jsonl")
    again = again.replace("[context/taxonomy.md]", "[context/taxonomy.md]").replace(
        "expected", "sentiment"
    )
    write(
        project,
        {
            "pipelines/again.yaml": again,
            "prompts/classify.txt": (project / "prompts/classify.txt")
            .read_text()
            .replace("input.review", "input.sentiment"),
        },
    )
    run = Project(project).run("again")
    assert run.results.records_processed == 4


def test_a_query_binds_its_values(project):
    text = PIPELINE.replace(
        "  key:", "  query: SELECT * FROM data WHERE expected = {{ vars.label }} ORDER BY 1\n  key:"
    )
    commit(project, {"pipelines/demo.yaml": text})
    run = Project(project).run("demo", variables={"label": "negative"})
    assert run.results.records_processed == 2
    evil = "negative' OR '1'='1"
    assert Project(project).run("demo", variables={"label": evil}).results.records_processed == 0


def test_limit_takes_the_first_records(project):
    assert Project(project).run("demo", limit=3).results.records_processed == 3


# -- models and judges over HTTP

JUDGED = """\
evaluate:
  evaluators:
    - name: meaning
      type: semantic
      config: {field: sentiment, reference_field: expected, threshold: 0.8}
    - {name: quality, type: custom_criteria, criteria: "Accurate sentiment", threshold: 0.75}
  quality_gate: all_pass
load:
"""


def served(project: Path, server: OpenAiServer, evaluate: str = "") -> None:
    text = PIPELINE.replace("  prompt:", "  model: gpt-4o-mini\n  temperature: 0\n  prompt:")
    if evaluate:
        before, _, rest = text.partition("evaluate:\n")
        text = before + evaluate + rest.partition("load:\n")[2]
    config = (
        f"models: {{gpt-4o-mini: {{base_url: '{server.url}', api_key: '${{LOOM_TEST_KEY}}'}}}}\n"
    )
    commit(project, {"pipelines/demo.yaml": text, ".loom/config.yaml": config})


def respond(request):
    """A model that classifies, and a judge that is sure of itself."""
    text = " ".join(str(turn["content"]) for turn in request["messages"])
    if "Review:" in text and "Taxonomy" in text:
        review = text.partition("Review:")[2].partition("Classify")[0]
        label = "positive" if "great" in review or "love" in review else "negative"
        return json.dumps({"sentiment": label, "confidence": 0.9})
    from tests.servers.openai_server import answer

    return answer(request)


def test_a_run_against_a_server_is_judged_through_the_same_gateway(project, monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-very-secret-value")
    with OpenAiServer(respond) as server:
        served(project, server, JUDGED)
        run = Project(project).run("demo")
        stats = server.stats()
    assert run.results.records_validated + run.results.records_rejected == 4
    assert run.results.cause == "", run.results.message
    assert run.evaluation["meaning"].n == 4
    assert run.evaluation["quality"].n == 4
    # 4 transforms and 8 judgements; equal requests at one time are one call.
    assert stats["calls"] == run.cost.calls
    assert run.cost.calls + run.cost.cached == 12
    assert run.cost.total is not None
    assert run.cost.total > 0
    assert run.cost.breakdown["evaluate"] > 0
    for path in (project / ".loom").rglob("*"):
        if path.is_file():
            assert b"sk-very-secret-value" not in path.read_bytes(), path


def test_a_missing_key_is_one_line_that_names_the_variable(project):
    text = PIPELINE.replace("  prompt:", "  model: gpt-4o-mini\n  prompt:")
    commit(project, {"pipelines/demo.yaml": text})
    clean = {name: "" for name in os.environ if name.endswith("_API_KEY")}
    done = loom(project, "run", "demo", **clean, OPENAI_API_KEY="")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "OPENAI_API_KEY" in errors[0]


def interrupted(project, signals, *, latency, after):
    """Run over a slow server, send the signals one after the other; (exit code, out, err)."""
    rows = "".join(f"r-{i},great number {i},positive\n" for i in range(400))
    with OpenAiServer(respond, latency=latency) as server:
        write(project, {"data/reviews.csv": "review_id,review,expected\n" + rows})
        served(project, server)
        text = (project / "pipelines/demo.yaml").read_text()
        few = "  temperature: 0\n  batch_size: 10\n  concurrency: 4\n"
        write(project, {"pipelines/demo.yaml": text.replace("  temperature: 0\n", few)})
        process = subprocess.Popen(
            [sys.executable, "-m", "loomgit", "run", "demo"],
            cwd=project,
            env={**os.environ, "LOOM_TEST_KEY": "sk-test"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while server.stats()["calls"] < after and time.monotonic() < deadline:
            time.sleep(0.02)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.3)
        out, err = process.communicate(timeout=30)
    assert "Traceback" not in out + err
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_is_done(project, number):
    code, _, err = interrupted(project, [number], latency=0.1, after=20)
    assert code == 130, err
    assert "stopped after" in err
    run = Project(project).get_run("latest")
    assert (run.results.status, run.complete) == ("partial", False)
    loaded = table(project / "out/demo.db", "SELECT count(*) FROM scores")[0][0]
    assert 10 <= loaded == run.results.records_loaded < 400


def test_a_second_ctrl_c_waits_for_no_call_and_still_leaves_a_record(project):
    started = time.monotonic()
    code, _, err = interrupted(project, [signal.SIGINT, signal.SIGINT], latency=20.0, after=4)
    assert code == 130, err
    assert time.monotonic() - started < 20  # the calls in flight would have taken longer
    run = Project(project).get_run("latest")
    assert (run.results.status, run.results.cause) == ("partial", "stopped")
    assert (project / ".loom" / run.records.path).exists()


def test_the_python_api_tells_what_happens(project):
    from loomgit.domain.stage_progress import StageProgressed
    from loomgit.pipeline.events import BatchLoaded, Extracted, RunFinished, RunStarted

    events = []
    run = Project.find(project / "prompts").run("demo", on_event=events.append)
    events = [event for event in events if not isinstance(event, StageProgressed)]
    assert [type(event) for event in events] == [RunStarted, Extracted, BatchLoaded, RunFinished]
    assert run.results.status == "success"
    assert Project(project).get_run(run.run_id) == run
    assert [row.uid for row in Project(project).runs("demo")] == [run.uid]


def test_data_that_is_hard_to_read_is_read_whole(project):
    rows = [
        ["r-1", 'great, "really"\nit is', "positive"],
        ["r-2", "bad 😞 naïve — Zoë", "negative"],
        ["r-3", "{{ evil }} {% raw %} great", "positive"],
        ["=1+1", "I love it", "positive"],
    ]
    with (project / "data/reviews.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, lineterminator="\r\n")
        writer.writerows([["review_id", "review", "expected"], *rows])
    run = Project(project).run("demo")
    assert run.results.records_validated == 4
    keys = table(project / "out/demo.db", "SELECT review_id FROM scores")
    assert {key for (key,) in keys} == {row[0] for row in rows}


def test_a_pinned_prompt_that_was_moved_takes_its_includes_from_where_it_was(project):
    prompt = (project / "prompts/classify.txt").read_text()
    commit(
        project,
        {"prompts/classify.txt": "{% include 'tone.txt' %}\n" + prompt, "prompts/tone.txt": "Dry."},
    )
    loom(project, "tag", "prompts/classify.txt", "v1")
    (project / "prompts/new").mkdir()
    git(project, "mv", "prompts/classify.txt", "prompts/new/classify.txt")
    git(project, "rm", "--quiet", "prompts/tone.txt")
    text = PIPELINE.replace("prompts/classify.txt", "prompts/new/classify.txt")
    text = text.replace("  context:", "  prompt_version: v1\n  context:")
    commit(project, {"pipelines/demo.yaml": text})
    run = Project(project).run("demo")
    assert run.results.records_validated == 4
    assert "prompts/tone.txt" in run.files


def test_what_has_no_effect_yet_is_told_and_verbose_tells_the_versions(project):
    config = "channels: {ops: {type: slack}}\n"
    text = PIPELINE + "monitoring: {latency_sla: {p95: 5s}}\n"
    commit(project, {".loom/config.yaml": config, "pipelines/demo.yaml": text})
    done = loom(project, "run", "demo", "-v")
    assert done.returncode == 0, done.stderr
    for key in ("monitoring.latency_sla", "channels"):
        assert f"{key} has no effect" in done.stderr
    assert "Prompt:    g" in done.stdout
    assert "Model:     embedded/icl" in done.stdout


@pytest.mark.parametrize("given", [True, False])
def test_a_query_that_uses_an_execution_date_that_nobody_gives_warns(project, given):
    query = 'query: "SELECT * FROM data WHERE review_id > {{ execution_date.strftime(' r') }}"'
    text = PIPELINE.replace("  key: review_id", f"  {query}\n  key: review_id")
    commit(project, {"pipelines/demo.yaml": text})
    flags = ["--execution-date", "2026-01-01"] if given else []
    done = loom(project, "run", "demo", *flags)
    warning = "warning: pipelines/demo.yaml:5:3: extract.query uses execution_date, which is now"
    assert (warning in done.stderr) == (not given), done.stderr


WITH_VARIABLES = PIPELINE.replace(
    "extract:\n", "vars: {lowest: 2, word: great}\nextract:\n"
).replace(
    "  key: review_id",
    """\
  query: >-
    SELECT * FROM data WHERE CAST(substr(review_id, 3) AS INTEGER) >= {{ vars.lowest }}
  key: review_id""",
)


@pytest.mark.parametrize(
    ("flags", "records"), [((), 3), (("--vars", "lowest=4"), 1), (("--vars", "word=x"), 3)]
)
def test_the_pipeline_has_defaults_for_its_variables(project, flags, records):
    prompt = (project / "prompts/classify.txt").read_text("utf-8") + "\nLook for {{ vars.word }}.\n"
    commit(project, {"pipelines/demo.yaml": WITH_VARIABLES, "prompts/classify.txt": prompt})
    checked = loom(project, "validate", "demo", *flags)
    assert checked.returncode == 0, checked.stdout
    done = loom(project, "run", "demo", "--json", *flags)
    run = json.loads(done.stdout)
    assert run["results"]["records_processed"] == records
    expected = {
        "lowest": 4 if "lowest=4" in flags else 2,
        "word": "x" if "word=x" in flags else "great",
    }
    assert run["config"]["parameters"]["vars"] == expected


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("lowest=x", "the variable 'lowest' must be a number, not 'x'"),
        ("x", "not of the form name=value"),
    ],
)
def test_a_variable_of_another_type_is_an_error_with_the_line(project, value, words):
    commit(project, {"pipelines/demo.yaml": WITH_VARIABLES})
    for command in ("run", "validate"):
        done = loom(project, command, "demo", "--vars", value)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
    if value != "x":
        assert "pipelines/demo.yaml:3:" in loom(project, "run", "demo", "--vars", value).stderr
