"""Runs that are killed or stopped, and then resumed: each record is loaded once and paid once."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from loomgit.api import Project
from loomgit.domain.records import Record
from loomgit.rows.journal import Journal
from tests.command import loom
from tests.projects import PIPELINE, make_project
from tests.repos import commit, write
from tests.servers.openai_server import OpenAiServer, Reply
from tests.soak import sized

RECORDS = sized(400, 5000)
KILLS = sized(2, 20)
REVIEW = re.compile(r"Review: (\S+) is")
DESTINATIONS = {
    "sqlite": "sqlite://out/demo.db/scores",
    "jsonl": "out/scores.jsonl",
    "parquet": "out/scores.parquet",
    "postgres": "postgres://analytics/scores",
}


class CountingServer(OpenAiServer):
    """A model that counts the calls for each review. Each fifth reply is of no use."""

    def __init__(self, **options):
        super().__init__(self.reply, keep=False, **options)
        self.asked = Counter()

    def reply(self, request):
        name = REVIEW.search(str(request["messages"][0]["content"])).group(1)
        self.asked[name] += 1
        label = "negative" if name.endswith("3") else "positive"
        return json.dumps({"sentiment": label, "confidence": 0.9})


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-test")
    with CountingServer(latency=0.005) as running:
        yield running


def make(folder, server, destination, mode="upsert", *, records=RECORDS, **settings):
    rows = "".join(f"r-{i},n{i} is great,positive\n" for i in range(records))
    text = PIPELINE.replace("sqlite://out/demo.db/scores", f"{destination}\n  mode: {mode}")
    options = {"model": "gpt-4o-mini", "concurrency": 8, "cache": "{enabled: false}", **settings}
    lines = "".join(f"  {name}: {value}\n" for name, value in options.items())
    text = text.replace("transform:\n", f"transform:\n{lines}")
    config = (
        f"models: {{gpt-4o-mini: {{base_url: '{server.url}', api_key: '${{LOOM_TEST_KEY}}'}}}}\n"
        "connections: {analytics: '${ANALYTICS_URL:-postgres://none/none}'}\n"
    )
    files = {
        "data/reviews.csv": "review_id,review,expected\n" + rows,
        "pipelines/demo.yaml": text,
        ".loom/config.yaml": config,
    }
    return make_project(folder, **files)


def start(project, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "loomgit", "run", "demo", "-q", *arguments],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def journaled(project):
    """The names of the reviews whose outcomes are in the journal of an unfinished run."""
    names = set()
    for path in (project / ".loom/state").glob("*/journal"):
        copy = project / "copy-of-journal"
        shutil.copy(path, copy)
        journal = Journal(copy)
        for index in range(RECORDS):
            if journal.find(Record(index, "", {})) is not None:
                names.add(f"n{index}")
        journal.close()
        copy.unlink()
    return names


def loaded(project, kind, run_sql=None):
    """The keys of the rows at the destination."""
    if kind == "postgres":
        return [row[0] for row in run_sql("SELECT review_id FROM scores")]
    if kind == "sqlite":
        import sqlite3
        from contextlib import closing

        with closing(sqlite3.connect(project / "out/demo.db")) as connection:
            return [row[0] for row in connection.execute("SELECT review_id FROM scores")]
    if kind == "jsonl":
        lines = (project / "out/scores.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line)["review_id"] for line in lines]
    import duckdb

    path = project / "out/scores.parquet"
    return [row[0] for row in duckdb.sql(f"SELECT review_id FROM '{path}'").fetchall()]


EXPECTED = [f"r-{i}" for i in range(RECORDS) if not str(i).endswith("3")]


@pytest.mark.parametrize("mode", ["upsert", "append"])
@pytest.mark.parametrize("kind", DESTINATIONS)
def test_a_killed_run_is_resumed_with_each_record_once(
    tmp_path, server, kind, mode, monkeypatch, request
):
    run_sql = None
    if kind == "postgres":
        monkeypatch.setenv("ANALYTICS_URL", request.getfixturevalue("database"))
        run_sql = request.getfixturevalue("run_sql")
    project = make(tmp_path / "project", server, DESTINATIONS[kind], mode)
    moments = random.Random(f"{kind} {mode}")
    paid, counts = set(), {}
    for kill in range(KILLS):
        remaining = RECORDS - len(paid)
        until = server.calls + moments.randint(1, 2 * remaining // (KILLS - kill + 2) + 1)
        process = start(project, "--resume", "latest")
        deadline = time.monotonic() + 60
        while server.calls < until and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        if process.returncode == 0:
            break  # the run was faster than the signal
        paid = journaled(project)
        counts = {name: server.asked[name] for name in paid}
        assert Project(project).runs()[-1].status == "interrupted"
    else:
        process = start(project, "--resume", "latest")
        out, err = process.communicate(timeout=sized(120, 600))
        assert process.returncode == 0, out + err
    assert sorted(loaded(project, kind, run_sql)) == sorted(EXPECTED)
    assert {name: server.asked[name] for name in paid} == counts
    run = Project(project).get_run("latest")
    assert run.results.records_processed == RECORDS
    assert run.results.inserted == run.results.records_validated == len(EXPECTED)
    assert (run.complete, run.results.duplicates) == (True, 0)
    assert run.resumes
    records = (project / ".loom" / run.records.path).read_text("utf-8").splitlines()
    assert [json.loads(line)["index"] for line in records] == list(range(RECORDS))
    assert not [*(project / ".loom/state").glob("*/run.json")]
    quarantined = (project / ".loom/state/quarantine/demo.jsonl").read_text("utf-8").splitlines()
    keys = Counter(json.loads(line)["record_key"] for line in quarantined)
    assert keys.keys() == {f"r-{i}" for i in range(RECORDS)} - set(EXPECTED)
    # Two entries for a record are possible only if a batch was reported twice: one per kill.
    assert sum(keys.values()) - len(keys) <= KILLS * 5


def killed(project, server, calls=100):
    """Kill a run after some calls; return the id of the run."""
    process = start(project)
    while server.calls < calls and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    process.communicate(timeout=60)
    return Project(project).runs()[-1].run_id


def test_an_interrupted_run_is_listed_and_says_how_to_continue(tmp_path, server):
    project = make(tmp_path / "project", server, DESTINATIONS["sqlite"])
    run_id = killed(project, server)
    listed = loom(project, "runs", "list", "--status", "interrupted")
    assert re.search(rf"{run_id}.*demo.*interrupted", listed.stdout), listed.stdout
    assert "interrupted" not in loom(project, "runs", "list", "--status", "success").stdout
    shown = loom(project, "runs", "show", run_id)
    assert shown.returncode == 2
    assert f"loom run demo --resume {run_id}" in shown.stderr
    done = loom(project, "run", "demo", "--resume", run_id, "--json")
    assert done.returncode == 0, done.stderr
    assert Project(project).runs(status="interrupted") == []
    again = loom(project, "run", "demo", "--resume", run_id)
    assert (again.returncode, again.stderr.splitlines()) == (
        2,
        [f"error: there is no unfinished run {run_id}", "hint: all runs are complete"],
    )


def test_the_cost_is_that_of_the_attempt_and_the_sum_is_shown(tmp_path, server):
    project = make(tmp_path / "project", server, DESTINATIONS["sqlite"])
    run_id = killed(project, server)
    made = len(journaled(project))
    done = json.loads(loom(project, "run", "demo", "--resume", run_id, "--json").stdout)
    cost = done["cost"]
    assert cost["calls"] == RECORDS - made
    assert cost["all_attempts"] == pytest.approx(cost["total"] / cost["calls"] * RECORDS, rel=0.01)
    shown = loom(project, "runs", "show", "latest").stdout
    assert "All attempts:" in shown
    assert done["resumes"] in shown


def test_a_stopped_run_says_how_to_continue_and_continues(tmp_path, server):
    project = make(tmp_path / "project", server, DESTINATIONS["jsonl"], "append")
    process = start(project)
    while server.calls < 130:
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    first = Project(project).get_run("latest")
    assert f"hint: `loom run demo --resume {first.run_id}` continues the run" in err
    assert 0 < first.results.records_loaded < len(EXPECTED)
    assert len(loaded(project, "jsonl")) == first.results.records_loaded
    paid = server.calls
    done = loom(project, "run", "demo", "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert sorted(loaded(project, "jsonl")) == sorted(EXPECTED)
    assert server.calls - paid == RECORDS - first.cost.calls
    run = Project(project).get_run("latest")
    assert (run.results.inserted, run.resumes) == (len(EXPECTED), first.uid)


def test_records_that_an_outage_lost_are_processed_again(tmp_path, server):
    project = make(
        tmp_path / "project", server, DESTINATIONS["sqlite"], "append", batch_size=10, records=100
    )
    answer = server.respond
    server.respond = lambda request: (
        Reply(400, b'{"error": {"message": "quota", "code": "insufficient_quota"}}')
        if server.calls > 40
        else answer(request)
    )
    first = loom(project, "run", "demo")
    assert first.returncode in (2, 4), first.stderr
    assert "--resume" in first.stderr
    server.respond = answer
    done = loom(project, "run", "demo", "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert len(loaded(project, "sqlite")) == len(set(loaded(project, "sqlite"))) == 90


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"prompts/classify.txt": "{{ input.review }}"}, (), "prompts/classify.txt changed"),
        ({"pipelines/demo.yaml": ("mode: append", "mode: upsert")}, (), "load changed"),
        ({"pipelines/demo.yaml": ("threshold: 0.7", "threshold: 0.8")}, (), "the thresholds"),
        ({"pipelines/demo.yaml": ("gpt-4o-mini", "gpt-4o")}, (), "the model"),
        ({"context/taxonomy.md": "other"}, (), "context/taxonomy.md changed"),
        ({}, ("--limit", "7"), "--limit differs"),
        ({}, ("--vars", "a=b"), "--vars differs"),
        ({}, ("--execution-date", "2026-01-01"), "--execution-date differs"),
    ],
)
def test_a_changed_input_is_named_and_nothing_runs(tmp_path, server, change, arguments, message):
    project = make(tmp_path / "project", server, DESTINATIONS["sqlite"], "append", records=60)
    text = (project / "pipelines/demo.yaml").read_text("utf-8")
    text = text.replace("type: exact_match\n", "type: exact_match\n      threshold: 0.7\n")
    commit(project, {"pipelines/demo.yaml": text})
    run_id = killed(project, server, 20)
    for path, content in change.items():
        write(project, {path: content if isinstance(content, str) else text.replace(*content)})
    before = server.calls
    done = loom(project, "run", "demo", "--resume", run_id, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert server.calls == before
    assert Project(project).runs()[-1].status == "interrupted"


def test_a_setting_that_changes_no_record_may_change(tmp_path, server):
    project = make(tmp_path / "project", server, DESTINATIONS["sqlite"], "append", records=60)
    killed(project, server, 20)
    text = (project / "pipelines/demo.yaml").read_text("utf-8")
    write(project, {"pipelines/demo.yaml": "max_failure_rate: 0.9\n" + text})
    assert loom(project, "run", "demo", "--resume", "latest").returncode == 0


def test_a_run_that_is_running_cannot_be_resumed(tmp_path, server):
    server.latency = 0.5
    project = make(tmp_path / "project", server, DESTINATIONS["sqlite"])
    process = start(project)
    while server.calls < 1:
        time.sleep(0.01)
    run_id = max(p.name for p in (project / ".loom/state/run_ids").iterdir())
    done = loom(project, "run", "demo", "--resume", run_id)
    assert done.returncode == 4
    assert re.search(
        rf"run {run_id} of demo is still running \(process {process.pid} on ", done.stderr
    )
    assert Project(project).runs() == []
    process.kill()
    process.communicate(timeout=60)


def test_only_a_run_of_the_same_pipeline_is_resumed(tmp_path, server):
    project = make(tmp_path / "project", server, DESTINATIONS["sqlite"], records=60)
    run_id = killed(project, server, 20)
    text = (project / "pipelines/demo.yaml").read_text("utf-8").replace("name: demo", "name: other")
    commit(project, {"pipelines/other.yaml": text.replace("out/demo.db", "out/other.db")})
    done = loom(project, "run", "other", "--resume", run_id)
    assert (done.returncode, f"run {run_id} is a run of demo, not of other" in done.stderr) == (
        2,
        True,
    )
    for arguments in (("run", "demo", "other", "--resume", run_id), ("run", "--resume", run_id)):
        assert loom(project, *arguments).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_retry_is_not_resumed_but_retried(tmp_path, server, number):
    project = make(tmp_path / "work", server, DESTINATIONS["sqlite"], records=100)
    pipeline = project / "pipelines/demo.yaml"
    right = pipeline.read_text()
    pipeline.write_text(right.replace("reference_field: expected", "reference: none"))
    assert loom(project, "run", "demo").returncode == 1
    pipeline.write_text(right)
    server.latency = 0.1
    arguments = [sys.executable, "-m", "loomgit", "quarantine", "retry"]
    process = subprocess.Popen(arguments, cwd=project, stderr=subprocess.PIPE, text=True)
    before = server.asked.total()
    while server.asked.total() < before + 10:
        time.sleep(0.01)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    latest, *_ = json.loads(loom(project, "runs", "list", "--json").stdout)["runs"]
    assert not latest["complete"]
    if number == signal.SIGINT:
        assert "hint: `loom quarantine retry demo` continues the run" in error
    else:
        done = loom(project, "run", "demo", "--resume", latest["run_id"])
        assert done.returncode == 2
        assert f"run {latest['run_id']} retried rejected records" in done.stderr
        assert "`loom quarantine retry demo`" in done.stderr
    server.latency = 0
    assert loom(project, "quarantine", "retry").returncode == 0
    done = loom(project, "run", "demo", "--resume", "latest", "--json")
    run = json.loads(done.stdout)
    assert (run["resumes"], run["results"]["records_processed"]) == ("", 100)
    assert run["results"]["unchanged"] == 90  # the retries have loaded all rows


def test_gc_removes_old_unfinished_runs(tmp_path, server):
    project = make(tmp_path / "project", server, DESTINATIONS["sqlite"], records=60)
    run_id = killed(project, server, 20)
    kept = loom(project, "runs", "gc")
    assert Project(project).runs()[-1].run_id == run_id, kept.stdout
    (header,) = (project / ".loom/state").glob("*/run.json")
    header.write_text(re.sub(r'"started":"\d{4}', '"started":"2020', header.read_text("utf-8")))
    assert run_id in loom(project, "runs", "gc", "--dry-run").stdout
    assert header.exists()
    loom(project, "runs", "gc")
    assert not header.parent.exists()


@pytest.mark.parametrize("kind", DESTINATIONS)
def test_a_second_run_from_another_clone_is_refused_while_the_first_one_runs(
    tmp_path, server, kind, monkeypatch, request
):
    run_sql = None
    if kind == "postgres":
        monkeypatch.setenv("ANALYTICS_URL", request.getfixturevalue("database"))
        run_sql = request.getfixturevalue("run_sql")
    target = DESTINATIONS[kind].replace("out/", f"{tmp_path}/first/out/")
    first = make(tmp_path / "first", server, target, "append", records=100, concurrency=1)
    second = make(tmp_path / "second", server, target, "append", records=100)
    server.latency = 0.3
    process = start(first)
    while server.calls < 1:
        time.sleep(0.01)
    refused = loom(second, "run", "demo")
    assert refused.returncode == 4, refused.stderr
    assert re.search(
        rf"another run of demo is loading into .*\(process {process.pid} on .*, since 20",
        refused.stderr,
    )
    server.latency = 0.0
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert len(loaded(first, kind, run_sql)) == 90
    assert loom(second, "run", "demo").returncode == 0
    assert len(loaded(first, kind, run_sql)) == 180
    if kind != "postgres":
        names = {path.name for path in (first / "out").iterdir()}
        assert len(names) == 1, names


def test_the_lock_of_a_killed_run_is_free(tmp_path, server):
    project = make(tmp_path / "project", server, "deep/er/scores.jsonl", records=60)
    killed(project, server, 20)
    assert [path.suffix for path in (project / "deep/er").iterdir()] == [".lock"]
    assert loom(project, "run", "demo", "--resume", "latest").returncode == 0
    assert [path.name for path in (project / "deep/er").iterdir()] == ["scores.jsonl"]
