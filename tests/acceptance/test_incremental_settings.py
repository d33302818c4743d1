"""Settings of incremental pipelines that do not fit, and what `loom validate` says about them."""

import json

import pytest

from loomgit.domain import watermarks
from loomgit.errors import UserError
from loomgit.workflows import increment
from tests.arrivals import Arrivals
from tests.command import loom

MORNING, NOON = "2026-03-01T10:00:00Z", "2026-03-01T12:00:00Z"


@pytest.fixture
def project(tmp_path):
    project = Arrivals(tmp_path / "project")
    project.arrive([("a", MORNING)])
    return project


def change(project, old, new):
    path = project.folder / "pipelines/ev.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mode: append", "mode: replace", "ev.yaml:5:3: extract.incremental: with mode: replace"),
        ("{cursor: made}", "{cursor: mode}", "ev.yaml:5:17: extract.incremental.cursor:"),
        ("{cursor: made}", "{cursor: made, lag: 0h}", "ev.yaml:5:31: extract.incremental.lag:"),
        ("{cursor: made}", "{cursor: made, lag: -5}", "a duration such as 1h, or a number above 0"),
        ("{cursor: made}", "{cursor: made, lag: 5, initial: 2026-03-01}", "does not fit initial"),
        ("{cursor: made}", "{cursor: made, initial: 2026-02-30}", "not a date or time that exists"),
        ("{cursor: made}", "{cursor: made, initial: true}", "a date, a timestamp, a number or"),
        (
            "{cursor: made}",
            "{cursor: made, lag: 5}",
            "ev.yaml:5:31: extract.incremental.lag: does not",
        ),
        ("{cursor: made}", "{cursor: made, initial: 5}", "5 does not fit the cursor 'made'"),
    ],
)
def test_run_and_validate_report_a_setting_that_does_not_fit(project, old, new, message):
    change(project, old, new)
    for command in ("run", "validate"):
        done = loom(project.folder, command, "ev")
        assert done.returncode == 2, done.stdout
        assert message in done.stdout + done.stderr
    assert project.loaded() == []


def test_a_record_without_a_cursor_ends_the_run_before_anything_is_loaded(project):
    project.arrive([("b", None)])
    for command in ("run", "validate"):
        done = loom(project.folder, command, "ev")
        assert done.returncode == 2
        assert (
            "pipelines/ev.yaml:5:17: extract.incremental.cursor: record 2 (id 'b') of "
            "data/source.db: 'made' has no value" in done.stdout + done.stderr
        )
    assert project.loaded() == []
    assert "interrupted" not in loom(project.folder, "runs", "list").stdout


def test_another_cursor_needs_a_full_refresh(project):
    project.run()
    change(project, "{cursor: made}", "{cursor: id}")
    refused = loom(project.folder, "run", "ev")
    assert refused.returncode == 2
    message = "extract.incremental.cursor: the watermark belongs to the cursor 'made'"
    assert f"ev.yaml:5:17: {message}" in refused.stderr
    assert loom(project.folder, "run", "ev", "--full-refresh").returncode == 0
    assert loom(project.folder, "run", "ev").returncode == 0
    assert project.loaded() == ["a", "a"]


@pytest.mark.parametrize("destination", ["sqlite", "jsonl"])
def test_another_source_warns_that_the_run_continues_from_the_watermark(tmp_path, destination):
    project = Arrivals(tmp_path / "project", "jsonl", destination)
    project.arrive([("a", MORNING)])
    assert "watermark" not in loom(project.folder, "run", "ev").stderr
    (project.folder / "data/events.jsonl").rename(project.folder / "data/others.jsonl")
    change(project, "data/events.jsonl", "data/others.jsonl")
    done = loom(project.folder, "run", "ev")
    assert done.returncode == 0, done.stderr
    assert (
        "ev.yaml:3:3: the watermark 2026-03-01 10:00:00Z is of the source data/events.jsonl; the "
        "run does not read records of data/others.jsonl below it" in done.stderr
    )
    assert "watermark" not in loom(project.folder, "run", "ev").stderr
    assert project.loaded() == ["a"]


def test_a_watermark_in_the_future_warns(project):
    project.arrive([("b", "2999-01-01T00:00:00Z")])
    assert project.run().results.inserted == 2
    project.arrive([("c", NOON)])
    done = loom(project.folder, "run", "ev")
    assert done.returncode == 0
    assert "ev.yaml:5:3: the watermark 2999-01-01 00:00:00Z is in the future" in done.stderr
    assert project.loaded() == ["a", "b"]


@pytest.mark.parametrize("destination", ["sqlite", "jsonl", "postgres"])
def test_a_renamed_pipeline_warns_that_it_has_no_watermark(tmp_path, request, destination):
    needs = {"database": request.getfixturevalue("database")} if destination == "postgres" else {}
    project = Arrivals(tmp_path / "project", destination=destination, **needs)
    project.arrive([("a", MORNING)])
    assert "watermark" not in loom(project.folder, "run", "ev").stderr
    change(project, "name: ev", "name: renamed")
    old = project.folder / "pipelines/ev.yaml"
    old.rename(old.with_name("renamed.yaml"))
    done = loom(project.folder, "run", "renamed")
    assert done.returncode == 0
    assert "renamed.yaml:3:3: renamed has no watermark in " in done.stderr
    assert "that ev has loaded into it" in done.stderr
    assert "watermark" not in loom(project.folder, "run", "renamed").stderr


def test_validate_shows_the_watermark(project):
    assert "Watermark: made none" in loom(project.folder, "validate", "ev").stdout
    project.run()
    shown = loom(project.folder, "validate", "ev")
    assert "Watermark: made 2026-03-01 10:00:00Z" in shown.stdout
    assert "(not checked)" in loom(project.folder, "validate", "ev", "--offline").stdout


def test_full_refresh_of_a_pipeline_that_reads_all_records_warns(project):
    change(project, "  incremental: {cursor: made}\n", "")
    done = loom(project.folder, "run", "ev", "--full-refresh")
    assert done.returncode == 0
    assert "--full-refresh has no effect without extract.incremental" in done.stderr


def test_a_role_that_cannot_store_the_watermark_is_reported(tmp_path, database, run_sql):
    project = Arrivals(tmp_path / "project", destination="postgres", database=database)
    project.arrive([("a", MORNING)])
    run_sql("CREATE ROLE incremental_reader LOGIN PASSWORD 'x'; "
            "CREATE TABLE loaded (id text, made text); "
            "GRANT SELECT, INSERT ON loaded TO incremental_reader; "
            "CREATE TABLE _loom_loads (run text, target text, part integer, inserted bigint, "
            "updated bigint, unchanged bigint, duplicates bigint, kept_out bigint, "
            "kept_rows bigint, deleted bigint, refused text); GRANT SELECT, INSERT ON _loom_loads "
            "TO incremental_reader; REVOKE CREATE ON SCHEMA public FROM PUBLIC")  # fmt: skip
    head, _, tail = database.rpartition("@")
    url = f"postgresql://incremental_reader:x@{tail or head}"
    config = project.folder / ".loom/config.yaml"
    config.write_text(config.read_text().replace(database, url), "utf-8")
    for command in ("run", "validate"):
        done = loom(project.folder, command, "ev")
        assert done.returncode == 2, done.stderr
        assert "cannot create the table '_loom_state'" in done.stdout + done.stderr
    assert project.loaded() == []


def test_a_damaged_watermark_is_reported(tmp_path):
    project = Arrivals(tmp_path / "project", destination="csv")
    project.arrive([("a", MORNING)])
    project.run()
    (path,) = (project.folder / ".loom/state/watermarks").glob("*.json")
    document = json.loads(path.read_text("utf-8"))
    for content in ("{", json.dumps({**document, "value": "x"}), json.dumps({"done": "AA=="})):
        path.write_text(content, "utf-8")
        done = loom(project.folder, "run", "ev")
        assert done.returncode == 2
        assert ".loom/state/watermarks/ev-" in done.stderr
        assert "the watermark is damaged" in done.stderr
    path.write_text(json.dumps({**document, "format": 2}), "utf-8")
    assert "newer version of Loom" in loom(project.folder, "run", "ev").stderr


@pytest.fixture
def remembers_two(monkeypatch):
    monkeypatch.setattr(watermarks, "MOST_REMEMBERED", 2)
    monkeypatch.setattr(increment, "MOST_REMEMBERED", 2)


def test_too_many_records_to_remember_end_an_append_before_anything_is_loaded(
    project, remembers_two
):
    project.arrive([("b", MORNING), ("c", MORNING)])
    with pytest.raises(UserError, match="remember more than 2 records"):
        project.run()
    assert project.loaded() == []
    project.arrive([("d", NOON)])  # only this record is at the watermark now
    project.run()
    assert project.run().results.records_processed == 0
    assert sorted(project.loaded()) == ["a", "b", "c", "d"]


def test_too_many_records_to_remember_are_upserted_again(tmp_path, remembers_two):
    project = Arrivals(tmp_path / "project", mode="upsert")
    project.arrive([(name, MORNING) for name in "abc"])
    assert project.run().results.inserted == 3
    again = project.run()
    assert (again.results.unchanged, again.results.inserted) == (3, 0)
