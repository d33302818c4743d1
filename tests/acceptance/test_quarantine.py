"""Rejected records: list, show, retry, resolve, and convert to tests."""

import json
import sqlite3

import orjson
import pytest

from tests.command import loom
from tests.projects import PIPELINE, REVIEWS, make_project
from tests.repos import commit, write

MIXED = REVIEWS.replace("bad,negative", "bad,positive").replace("love it,positive", "love it,nega")
FIXED = MIXED.replace("love it,nega\n", "love it,positive\n")  # r-3 passes
LENIENT = PIPELINE.replace("type: exact_match", "type: exact_match\n      threshold: 0")
TABLE = "load:\n  quarantine: {}\n".format


@pytest.fixture
def project(tmp_path):
    """A project whose run has rejected the records r-2 and r-3."""
    return rejecting(tmp_path / "project")


def rejecting(folder, **files):
    made = make_project(folder, **{"data/reviews.csv": MIXED, **files})
    assert loom(made, "run", "demo").returncode == 0
    return made


def listed(project, *arguments):
    """The key, stage and run of each entry that `loom quarantine` lists."""
    done = loom(project, "quarantine", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [entry["record_key"] for entry in json.loads(done.stdout)["entries"]]


def rows(project, statement="SELECT review_id FROM scores ORDER BY 1", file="out/demo.db"):
    with sqlite3.connect(project / file) as database:
        found = database.execute(statement).fetchall()
    database.close()
    return found


def pass_all(project, text=LENIENT):
    write(project, {"pipelines/demo.yaml": text})


# -- list and show


def test_rejected_records_are_listed_newest_first(project):
    assert listed(project) == ["r-3", "r-2"]
    done = loom(project, "quarantine", "list", "demo")
    heading, first, second = done.stdout.splitlines()
    assert heading.split() == ["KEY", "PIPELINE", "STAGE", "RUN", "TIME", "REASON"]
    assert first.split()[:3] == ["r-3", "demo", "gate"]
    assert second.endswith("label 0.00 < 0.70")


def test_the_filters_of_the_list(project):
    assert listed(project, "--stage", "transform") == []
    assert listed(project, "--stage", "gate") == ["r-3", "r-2"]
    assert listed(project, "--since", "2001-01-01") == ["r-3", "r-2"]
    assert listed(project, "--since", "2999-01-01") == []
    assert listed(project, "--limit", "1") == ["r-3"]
    assert "1 more; --limit 2 shows all" in loom(project, "quarantine", "--limit", "1").stdout
    document = json.loads(loom(project, "quarantine", "--limit", "1", "--json").stdout)
    assert document["count"] == 2


def test_a_record_that_is_rejected_again_is_listed_once(project):
    loom(project, "run", "demo")
    assert sorted(listed(project)) == ["r-2", "r-3"]
    assert len(listed(project, "--all")) == 4


def test_a_record_is_shown_with_its_output_scores_and_history(project):
    loom(project, "run", "demo")
    done = loom(project, "quarantine", "show", "r-2")
    for line in (
        "State:     open",
        "  label: 0.00 ('negative' ≠ 'positive')",
        "  review: It is broken and bad",
        "  sentiment: negative",
    ):
        assert line in done.stdout.splitlines()
    history = done.stdout.partition("History:")[2]
    assert history.count("gate: label 0.00 < 0.70") == 2
    document = json.loads(loom(project, "quarantine", "show", "r-2", "--json").stdout)
    assert document["entry"]["record"]["review_id"] == "r-2"
    assert len(document["history"]) == 2


def test_an_empty_quarantine_and_a_damaged_line(tmp_path):
    project = make_project(tmp_path / "project")
    done = loom(project, "quarantine")
    assert (done.returncode, done.stdout) == (0, "The quarantine has no open entries.\n")
    write(project, {".loom/state/quarantine/demo.jsonl": '{"run_id": \n'})
    done = loom(project, "quarantine")
    assert done.returncode == 0
    assert ".loom/state/quarantine/demo.jsonl: 1 damaged entry skipped" in done.stderr


# -- a later run


def test_a_run_that_loads_a_record_resolves_its_entry(project):
    path = project / ".loom/state/quarantine/demo.jsonl"
    before = path.read_bytes()
    write(project, {"data/reviews.csv": FIXED})
    done = json.loads(loom(project, "run", "demo", "--json").stdout)
    assert listed(project) == ["r-2"]
    lines = path.read_bytes()
    assert lines.startswith(before)
    rejected, resolved = sorted(map(orjson.loads, lines[len(before) :].splitlines()), key=len)[::-1]
    assert rejected["record_key"] == "r-2"
    assert (resolved["record_key"], resolved["resolved_by"], resolved["why"]) == (
        "r-3",
        done["run_id"],
        "loaded",
    )


def test_only_runs_that_publish_their_rows_resolve(tmp_path):
    text = PIPELINE.replace("sqlite://out/demo.db/scores", "out/scores.jsonl")
    project = rejecting(tmp_path / "project", **{"pipelines/demo.yaml": text})
    pass_all(project, LENIENT.replace("sqlite://out/demo.db/scores", "out/scores.jsonl"))
    (project / "out/scores.jsonl").chmod(0o444)
    folder = project / "out"
    folder.chmod(0o555)
    try:
        failed = loom(project, "run", "demo")
    finally:
        folder.chmod(0o755)
        (project / "out/scores.jsonl").chmod(0o644)
    if failed.returncode:  # root can write to read-only files
        assert listed(project) == ["r-3", "r-2"]
    assert loom(project, "run", "demo").returncode == 0
    assert listed(project) == []
    assert len((project / "out/scores.jsonl").read_text().splitlines()) == 4


def test_a_run_with_mode_replace_resolves_too(tmp_path):
    replacing = PIPELINE.replace("  destination", "  mode: replace\n  destination")
    project = rejecting(tmp_path / "project", **{"pipelines/demo.yaml": replacing})
    pass_all(project, LENIENT.replace("  destination", "  mode: replace\n  destination"))
    assert loom(project, "run", "demo").returncode == 0
    assert listed(project) == []


def test_on_failure_skip_resolves_what_it_loads_and_adds_nothing(project):
    skipping = PIPELINE.replace("  destination", "  on_failure: skip\n  destination")
    pass_all(project, skipping)
    write(project, {"data/reviews.csv": FIXED})
    assert loom(project, "run", "demo").returncode == 0
    assert listed(project) == ["r-2"]
    assert len(listed(project, "--all")) == 2


def test_a_record_that_is_also_rejected_in_the_run_stays_open(project):
    twice = FIXED + "r-3,I love it,negative\n"
    write(project, {"data/reviews.csv": twice})
    assert loom(project, "run", "demo").returncode == 0
    assert sorted(listed(project)) == ["r-2", "r-3"]


# -- retry


def test_a_retry_loads_the_records_that_pass_and_rejects_the_others_again(project):
    write(project, {"prompts/classify.txt": "Say that it is positive.\n"})
    done = loom(project, "quarantine", "retry", "--json")
    (run,) = json.loads(done.stdout)["runs"]
    assert run["source"] == ".loom/state/quarantine/demo.jsonl"
    assert (run["kind"], run["results"]["records_processed"]) == ("pipeline", 2)
    assert run["complete"] is False  # it cannot be a baseline
    assert loom(project, "runs", "show", run["run_id"]).returncode == 0
    rejected = run["results"]["records_rejected"]
    assert len(listed(project)) == rejected
    assert len(listed(project, "--all")) == 2 + rejected
    pass_all(project)
    done = loom(project, "quarantine", "retry", "demo")
    assert done.returncode == 0, done.stderr
    assert listed(project) == []
    assert rows(project) == [("r-1",), ("r-2",), ("r-3",), ("r-4",)]


def test_only_the_named_records_are_retried(project):
    pass_all(project)
    (run,) = json.loads(loom(project, "quarantine", "retry", "r-3", "--json").stdout)["runs"]
    assert run["results"]["inserted"] == 1
    assert listed(project) == ["r-2"]
    assert loom(project, "quarantine", "retry", "demo", "r-2").returncode == 0
    assert rows(project) == [("r-1",), ("r-2",), ("r-3",), ("r-4",)]
    done = loom(project, "quarantine", "retry", "r-3")
    assert done.returncode == 2
    assert "has no open entry" in done.stderr
    done = loom(project, "quarantine", "retry")
    assert (done.returncode, done.stdout) == (0, "The quarantine has no records to retry.\n")


def test_a_retry_has_the_exit_code_and_the_options_of_a_run(project):
    done = loom(project, "quarantine", "retry")
    assert done.returncode == 1
    assert "no record passed" in done.stderr
    pass_all(project, LENIENT + "vars: {tone: calm}\n")
    write(project, {"prompts/classify.txt": "{{ vars.tone }} {{ input.review }} {{ vars.other }}"})
    done = loom(project, "quarantine", "retry")
    assert done.returncode == 2
    assert "vars.other" in done.stderr
    done = loom(
        project, "quarantine", "retry", "--vars", "other=x", "--limit", "1", "--budget", "1",
        "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert (run["results"]["records_processed"], run["config"]["parameters"]["vars"]) == (
        1,
        {"tone": "calm", "other": "x"},
    )


def test_a_retry_with_mode_replace_is_refused(project):
    pass_all(project, LENIENT.replace("  destination", "  mode: replace\n  destination"))
    done = loom(project, "quarantine", "retry")
    assert done.returncode == 2
    assert "pipelines/demo.yaml:" in done.stderr
    assert "would replace all rows" in done.stderr
    assert rows(project) == [("r-1",), ("r-4",)]


def test_a_retry_whose_records_would_get_other_keys_is_refused(project):
    pass_all(project, LENIENT.replace("key: review_id", "key: review"))
    done = loom(project, "quarantine", "retry")
    assert done.returncode == 2
    assert "would now have the key" in done.stderr
    assert rows(project) == [("r-1",), ("r-4",)]


def test_records_without_a_key_are_retried(tmp_path):
    keyless = {"data/reviews.csv": MIXED.replace("review_id", "name")}
    text = PIPELINE.replace("  key: review_id\n", "")
    project = rejecting(tmp_path / "project", **keyless, **{"pipelines/demo.yaml": text})
    pass_all(project, LENIENT.replace("  key: review_id\n", ""))
    assert loom(project, "quarantine", "retry").returncode == 0
    assert listed(project) == []
    assert rows(project, "SELECT count(*) FROM scores") == [(4,)]


def test_a_record_that_could_not_be_read_is_not_retried(tmp_path):
    broken = MIXED + ",no key,positive\n"
    project = rejecting(tmp_path / "project", **{"data/reviews.csv": broken})
    (key,) = listed(project, "--stage", "extract")
    pass_all(project)
    done = loom(project, "quarantine", "retry", key)
    assert done.returncode == 2
    assert "could not be read from its source" in done.stderr
    done = loom(project, "quarantine", "retry")
    assert done.returncode == 0
    assert "1 record could not be read" in done.stderr
    assert listed(project) == [key]
    assert loom(project, "quarantine", "to-test", key).returncode == 2


# -- resolve


def test_a_record_is_resolved_with_a_reason(project):
    done = loom(project, "quarantine", "resolve", "r-2")
    assert done.returncode == 2
    assert "'--why'" in done.stderr
    assert loom(project, "quarantine", "resolve", "r-2", "--why", " ").returncode == 2
    done = loom(project, "quarantine", "resolve", "r-2", "--why", "a duplicate")
    assert (done.returncode, done.stdout) == (0, "r-2: resolved (demo)\n")
    assert listed(project) == ["r-3"]
    assert "by Ada: a duplicate" in loom(project, "quarantine", "show", "r-2").stdout
    done = loom(project, "quarantine", "resolve", "r-2", "--why", "again")
    assert done.returncode == 2
    assert "(a duplicate)" in done.stderr


def test_no_record_is_resolved_if_one_key_is_unknown(project):
    done = loom(project, "quarantine", "resolve", "r-2", "r-33", "--why", "x")
    assert done.returncode == 2
    assert "has no record 'r-33'" in done.stderr
    assert "did you mean 'r-3'?" in done.stderr
    assert listed(project) == ["r-3", "r-2"]


def test_a_key_of_two_pipelines_needs_the_pipeline(project):
    second = PIPELINE.replace("name: demo", "name: second").replace("/scores", "/other")
    commit(project, {"pipelines/second.yaml": second})
    loom(project, "run", "second")
    for arguments in (("show", "r-2"), ("resolve", "r-2", "--why", "x"), ("to-test", "r-2")):
        done = loom(project, "quarantine", *arguments)
        assert done.returncode == 2
        assert "demo, second" in done.stderr
        assert "--pipeline demo" in done.stderr
    done = loom(project, "quarantine", "resolve", "r-2", "--why", "x", "--pipeline", "second")
    assert done.returncode == 0
    assert sorted(listed(project)) == ["r-2", "r-3", "r-3"]
    # In the other pipeline, the record is resolved, so there is only one that can be resolved.
    assert loom(project, "quarantine", "resolve", "r-2", "--why", "x").returncode == 0
    (project / "pipelines/second.yaml").unlink()
    assert listed(project, "second") == ["r-3"]
    (project / "pipelines/demo.yaml").write_text("name: [")
    done = loom(project, "quarantine")
    assert done.returncode == 0
    assert "only its quarantine in .loom is read" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("shwo", "r-2"), "Did you mean 'show'?"),
        (("show", "x-99"), "loom quarantine list --all"),
        (("dmo",), "did you mean 'demo'?"),
        (("show", "r-2", "--pipeline", "dmo"), "did you mean 'demo'?"),
        (("retry", "demo", "r-22"), "did you mean 'r-2'?"),
        (("--since", "yesterday"), "Invalid value for '--since'"),
        (("--limit", "0"), "Invalid value for '--limit'"),
    ],
)
def test_a_mistake_has_a_suggestion(project, arguments, words):
    done = loom(project, "quarantine", *arguments)
    assert done.returncode == 2
    assert words in done.stderr


# -- to-test


def test_a_record_becomes_a_unit_test_that_runs(project):
    done = loom(project, "quarantine", "to-test", "r-2")
    assert done.returncode == 0, done.stderr
    assert "warning: tests/demo_test.yaml now contains production data" in done.stderr
    text = (project / "tests/demo_test.yaml").read_text()
    assert '#   sentiment: "negative"' in text
    assert loom(project, "quarantine", "to-test", "r-3").returncode == 0
    assert (project / "tests/demo_test.yaml").read_text().startswith(text)
    again = json.loads(loom(project, "quarantine", "to-test", "r-3", "--json").stdout)
    assert (again["file"], again["name"]) == ("tests/demo_test.yaml", "rejected_r-3_2")
    pass_all(project)
    done = loom(project, "test", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rejected_r-2" in done.stdout
    expecting = text.replace("# expected:  # the", "expected:  # the").replace(
        '#   sentiment: "negative"', '  sentiment: "positive"'
    )
    write(project, {"tests/demo_test.yaml": expecting})
    done = loom(project, "test", "demo")
    assert done.returncode == 1
    assert "sentiment == 'positive'" in done.stdout


def test_the_test_file_keeps_its_text(project):
    text = "# about\npipeline: demo\nunit_tests:\n  - {name: a, input: {review: good}}  # first\n"
    write(project, {"tests/own_test.yaml": text})
    assert loom(project, "quarantine", "to-test", "r-2").returncode == 0
    assert (project / "tests/own_test.yaml").read_text().startswith(text)
    done = loom(project, "quarantine", "to-test", "r-2", "--file", "tests/deep/new_test.yaml")
    assert done.returncode == 0, done.stderr
    assert "pipeline: demo" in (project / "tests/deep/new_test.yaml").read_text()


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("tests/x.yaml", None, "is not the path of a test file"),
        ("../x_test.yaml", None, "is not the path of a test file"),
        ("/tmp/x_test.yaml", None, "is not the path of a test file"),
        ("tests/x_test.yaml", "pipeline: other\nunit_tests: []\n", "tests the pipeline other"),
        ("tests/x_test.yaml", "pipeline: [", "tests/x_test.yaml:1"),
        ("tests/x_test.yaml", "", "tests/x_test.yaml:1"),
    ],
)
def test_a_file_that_cannot_have_the_test(project, file, content, words):
    if content is not None:
        write(project, {file: content})
    done = loom(project, "quarantine", "to-test", "r-2", "--file", file)
    assert done.returncode == 2
    assert words in done.stderr
    if content is not None:
        assert (project / file).read_text() == content


# -- load.quarantine


CONFIG = 'connections:\n  own: "${OWN_URL}"\n'


@pytest.fixture(params=["sqlite://out/q.db/rejected", "out/q.jsonl", "postgres://own/rejected"])
def elsewhere(request, tmp_path, monkeypatch):
    """A project whose quarantine is a table or another file."""
    if request.param.startswith("postgres"):
        monkeypatch.setenv("OWN_URL", request.getfixturevalue("database"))
    else:
        monkeypatch.setenv("OWN_URL", "")
    text = PIPELINE.replace("load:\n", TABLE(request.param))
    files = {"pipelines/demo.yaml": text, ".loom/config.yaml": CONFIG}
    return request.param, rejecting(tmp_path / "project", **files)


def test_the_quarantine_can_be_a_table_or_another_file(elsewhere):
    url, project = elsewhere
    assert not (project / ".loom/state/quarantine").exists()
    assert sorted(listed(project)) == ["r-2", "r-3"]
    assert "broken and bad" in loom(project, "quarantine", "show", "r-2").stdout
    assert loom(project, "quarantine", "resolve", "r-2", "--why", "x").returncode == 0
    pass_all(project, LENIENT.replace("load:\n", TABLE(url)))
    done = loom(project, "quarantine", "retry", "--json")
    assert done.returncode == 0, done.stderr
    (run,) = json.loads(done.stdout)["runs"]
    assert (run["source"], run["results"]["inserted"]) == (url, 1)
    assert listed(project) == []
    assert len(listed(project, "--all")) == 2
    done = loom(project, "validate", "demo")
    assert f"✅ Quarantine: {url} writable" in done.stdout
    assert (
        f"Quarantine: {url} writable (not checked)"
        in loom(project, "validate", "demo", "--offline").stdout
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("out/q.csv", "cannot be a csv file"),
        ("sqlite://out/q.db", "does not name a table"),
        ("postgres://ownn/q", "not configured"),
        ("sqlite://out/demo.db/scores", "this is also load.destination"),
        ("file://data/reviews.csv", "cannot be a csv file"),
        ("sqlite://data/reviews.csv/q", "is not a SQLite database"),
        ("data/reviews.csv/q.jsonl", "is a file, not a folder"),
    ],
)
def test_a_quarantine_that_is_not_writable_is_reported_before_the_run(tmp_path, url, words):
    text = PIPELINE.replace("load:\n", TABLE(url))
    project = make_project(tmp_path / "project", **{"pipelines/demo.yaml": text})
    for command in ("validate", "run"):
        done = loom(project, command, "demo")
        assert done.returncode == 2, done.stdout
        said = done.stdout + done.stderr
        assert words in said
        assert "pipelines/demo.yaml:17" in said
        assert "Extract:" not in said
    assert not (project / ".loom/runs").exists()


def test_an_integration_test_does_not_use_the_quarantine(tmp_path):
    text = PIPELINE.replace("load:\n", TABLE("sqlite://out/q.db/rejected"))
    suite = (
        "pipeline: demo\nintegration_tests:\n"
        "  - {name: all, steps: [{extract: 4 records}], assertions: [records_loaded >= 1]}\n"
    )
    files = {"pipelines/demo.yaml": text, "tests/demo_test.yaml": suite, "data/reviews.csv": MIXED}
    project = make_project(tmp_path / "project", **files)
    assert loom(project, "test", "demo").returncode == 0
    assert not (project / "out/q.db").exists()


# -- targets


def test_a_load_into_one_target_does_not_resolve_the_records_of_another(tmp_path):
    targets = (
        "targets:\n  dev: {connections: {out: sqlite://out/dev.db}}\n"
        "  prod: {connections: {out: sqlite://out/prod.db}}\n"
    )
    pipeline = PIPELINE.replace("sqlite://out/demo.db/scores", "sqlite://out/scores")
    files = {".loom/config.yaml": targets, "pipelines/demo.yaml": pipeline}
    project = rejecting(tmp_path / "project", **files)
    assert sorted(listed(project)) == ["r-2", "r-3"]
    assert "TARGET" in (shown := loom(project, "quarantine").stdout)
    assert "  dev  " in shown
    assert "Target:    dev" in loom(project, "quarantine", "show", "r-2").stdout
    pass_all(
        project, pipeline.replace("type: exact_match", "type: exact_match\n      threshold: 0")
    )
    assert loom(project, "run", "demo", "--target", "prod").returncode == 0
    assert len(rows(project, file="out/prod.db")) == 4
    assert sorted(listed(project)) == ["r-2", "r-3"]
    refused = loom(project, "quarantine", "resolve", "r-2", "--why", "x", "--target", "prod")
    assert refused.returncode == 2
    assert "has no entry of the target prod, only of dev" in refused.stderr
    assert "hint: use --target dev" in refused.stderr
    retried = loom(project, "quarantine", "retry", "--target", "prod", "--json")
    assert json.loads(retried.stdout)["runs"] == []
    assert loom(project, "quarantine", "resolve", "r-2", "--why", "x").returncode == 0
    assert loom(project, "quarantine", "retry", "demo").returncode == 0
    assert listed(project) == []
    assert [key for (key,) in rows(project, file="out/dev.db")] == ["r-1", "r-3", "r-4"]
