"""Incremental pipelines: each record of the source is loaded once, whenever it arrives."""

import json

import pytest

from tests.arrivals import DESTINATIONS, SOURCES, Arrivals
from tests.command import loom

DAY = "2026-03-01"
TYPES = {"duckdb": "TIMESTAMP", "parquet": "TIMESTAMP", "postgres": "timestamptz"}


@pytest.fixture
def arrivals(tmp_path, request):
    """Make a project; the database is only created for kinds that need it."""

    def make(source="sqlite", destination="sqlite", **settings):
        settings.setdefault("sql_type", TYPES.get(source, "text"))
        if "postgres" in (source, destination):
            settings["database"] = request.getfixturevalue("database")
        return Arrivals(tmp_path / "project", source, destination, **settings)

    return make


def at(clock, source="sqlite"):
    """A moment in the notation that is usual for the source."""
    return f"{DAY}T{clock}Z" if source in ("sqlite", "csv", "jsonl") else f"{DAY} {clock}"


@pytest.mark.parametrize("source", SOURCES)
def test_equal_cursors_at_the_watermark_are_neither_lost_nor_loaded_twice(arrivals, source):
    project = arrivals(source)
    project.arrive([("a", at("10:00:00", source)), ("b", at("11:00:00", source))])
    first = project.run()
    assert first.watermark.before is None
    assert first.watermark.after.startswith("2026-03-01 11:00:00")
    project.arrive([("c", at("11:00:00", source)), ("d", at("10:59:59", source))])
    assert project.run().results.inserted == 1
    assert sorted(project.loaded()) == ["a", "b", "c"]  # d is too late, because there is no lag
    nothing = project.run()
    assert (nothing.results.status, nothing.results.records_processed) == ("success", 0)
    assert nothing.watermark.before == nothing.watermark.after == first.watermark.after


@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("mode", ["append", "upsert"])
def test_late_records_within_the_lag_are_found_once(arrivals, destination, mode):
    project = arrivals(destination=destination, mode=mode, incremental="{cursor: made, lag: 1h}")
    project.arrive([("a", at("10:00:00")), ("b", at("11:00:00"))])
    project.run()
    project.arrive([("c", at("10:00:00")), ("d", at("09:59:59")), ("e", at("10:30:00"))])
    run = project.run()
    assert (run.results.records_processed, run.results.inserted) == (2, 2)
    assert project.run().results.records_processed == 0
    assert sorted(project.loaded()) == ["a", "b", "c", "e"]


def test_a_run_that_finds_nothing_says_so(arrivals):
    project = arrivals()
    project.arrive([("a", at("10:00:00"))])
    project.run()
    done = loom(project.folder, "run", "ev")
    assert done.returncode == 0, done.stderr
    assert "0 records, nothing new since 2026-03-01 10:00:00Z" in done.stdout
    assert "no records" not in done.stderr
    document = json.loads(loom(project.folder, "runs", "show", "latest", "--json").stdout)
    mark = "2026-03-01 10:00:00Z"
    assert document["watermark"] == {"cursor": "made", "before": mark, "after": mark}
    assert (
        f"Watermark: {mark} -> {mark} (made)"
        in loom(project.folder, "runs", "show", "latest").stdout
    )


def test_the_first_run_reads_from_initial(arrivals):
    project = arrivals(incremental="{cursor: made, lag: 2d, initial: 2026-03-01}")
    project.arrive([("a", "2026-02-28T23:59:59Z"), ("b", "2026-03-01T00:00:00Z")])
    project.run()
    assert project.loaded() == ["b"]


def test_a_full_refresh_reads_as_the_first_run_and_sets_the_watermark(arrivals):
    project = arrivals(mode="upsert", incremental="{cursor: made, initial: 2026-03-01}")
    project.arrive([("a", "2026-02-28T10:00:00Z"), ("b", at("10:00:00")), ("c", at("11:00:00"))])
    project.run()
    project.arrive([("late", at("09:00:00"))])
    assert project.run().results.records_processed == 0
    refreshed = project.run(full_refresh=True)
    assert refreshed.results.records_processed == 3
    assert refreshed.watermark.before is None
    assert sorted(project.loaded()) == ["b", "c", "late"]
    assert project.run().results.records_processed == 0


def test_a_full_refresh_warns_where_it_repeats_rows(arrivals):
    project = arrivals()
    project.arrive([("a", at("10:00:00"))])
    project.run()
    done = loom(project.folder, "run", "ev", "--full-refresh")
    assert done.returncode == 0
    assert "pipelines/ev.yaml:8:3: --full-refresh with mode: append" in done.stderr
    assert project.loaded() == ["a", "a"]


@pytest.mark.parametrize("source", ["sqlite", "csv", "postgres"])
def test_a_limit_takes_the_lowest_cursors_so_that_none_is_skipped(arrivals, source):
    project = arrivals(source, extract="  key: id\n  limit: 2\n")
    clocks = ["12:00:00", "10:00:00", "11:00:00", "10:00:00", "13:00:00"]
    project.arrive([(f"r{i}", at(clock, source)) for i, clock in enumerate(clocks)])
    found = []
    for _ in range(4):
        project.run()
        found.append(sorted(project.loaded()))
    assert found[0] == ["r1", "r3"]
    assert found[1] == ["r0", "r1", "r2", "r3"]
    assert found[2] == found[3] == ["r0", "r1", "r2", "r3", "r4"]


def test_a_limit_within_equal_cursors_loses_none(arrivals):
    project = arrivals(extract="  key: id\n  limit: 2\n")
    project.arrive([(f"r{i}", at("10:00:00")) for i in range(5)])
    for _ in range(4):
        project.run()
    assert sorted(project.loaded()) == [f"r{i}" for i in range(5)]


def test_a_record_that_changes_with_its_cursor_is_read_again(arrivals):
    project = arrivals(mode="upsert", incremental="{cursor: made, lag: 1h}")
    project.arrive([("a", at("10:00:00"))])
    project.run()
    project.arrive([("a", at("10:30:00"))])
    assert project.run().results.updated == 1


def test_equal_records_without_a_key_are_counted(arrivals):
    extract = "  query: SELECT made, id AS note FROM events\n"
    project = arrivals(extract=extract)
    project.arrive([("x", "5"), ("x", "5")])
    project.run()
    project.arrive([("x", "5"), ("x", "6")])
    assert project.run().results.inserted == 2
    assert project.run().results.records_processed == 0


def test_targets_and_pipelines_have_watermarks_of_their_own(arrivals):
    project = arrivals()
    project.arrive([("a", at("10:00:00"))])
    config = project.folder / ".loom/config.yaml"
    config.write_text(config.read_text() + "targets: {dev: {}, prod: {}}\n", "utf-8")
    other = (project.folder / "pipelines/ev.yaml").read_text().replace("name: ev", "name: other")
    (project.folder / "pipelines/other.yaml").write_text(other, "utf-8")
    for arguments in (["ev"], ["ev", "--target", "prod"], ["other"], ["ev"]):
        assert loom(project.folder, "run", *arguments, "-q").returncode == 0
    assert project.loaded() == ["a", "a", "a"]


def test_a_second_clone_continues_from_the_watermark_of_the_first(arrivals, tmp_path, request):
    project = arrivals(destination="postgres")
    project.arrive([("a", at("10:00:00")), ("b", at("11:00:00"))])
    project.run()
    clone = Arrivals(tmp_path / "clone", destination="postgres", database=project.database)
    clone.arrive([*project.rows, ("c", at("11:00:00"))])
    run = clone.run()
    assert run.watermark.before == "2026-03-01 11:00:00Z"
    assert sorted(project.loaded()) == ["a", "b", "c"]
    project.arrive([("c", at("11:00:00")), ("d", at("12:00:00"))])
    project.run()
    assert sorted(project.loaded()) == ["a", "b", "c", "d"]


def test_the_watermark_is_in_the_schema_for_the_tables_of_loom(arrivals, run_sql):
    project = arrivals(destination="postgres")
    config = project.folder / ".loom/config.yaml"
    old = f"world: {project.database}"
    new = f"world: {{url: '{project.database}', loom_schema: meta}}"
    config.write_text(config.read_text().replace(old, new), "utf-8")
    run_sql("CREATE SCHEMA meta")
    project.arrive([("a", at("10:00:00"))])
    project.run()
    (row,) = run_sql("SELECT pipeline, destination, run, watermark FROM meta._loom_state")
    assert row[:3] == ("ev", "public.loaded", "")
    assert json.loads(row[3])["value"] == "2026-03-01 10:00:00Z"


def test_a_query_gets_the_start_as_a_parameter(arrivals):
    query = (
        '  key: id\n  query: "SELECT id, made FROM events'
        '{% if watermark is not none %} WHERE made >= {{ watermark.date() }}{% endif %}"\n'
    )
    project = arrivals(extract=query, incremental="{cursor: made, lag: 1h}")
    project.arrive([("a", at("10:00:00")), ("b", at("11:00:00"))])
    project.run()
    project.arrive([("c", at("10:30:00")), ("d", at("08:00:00"))])
    project.run()
    assert sorted(project.loaded()) == ["a", "b", "c"]


@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet"])
def test_a_query_over_a_file_is_incremental(arrivals, source):
    query = "  key: id\n  query: SELECT id, made FROM data WHERE id <> 'x'\n"
    project = arrivals(source, extract=query)
    project.arrive([("a", at("10:00:00")), ("x", at("12:00:00")), ("b", at("11:00:00"))])
    project.run()
    project.arrive([("c", at("11:00:00")), ("d", at("10:00:00"))])
    project.run()
    assert sorted(project.loaded()) == ["a", "b", "c"]


def test_a_row_that_cannot_be_read_is_reported_once(arrivals):
    project = arrivals("jsonl")
    project.arrive([("a", at("10:00:00"))])
    path = project.folder / "data/events.jsonl"
    bad = '{"id": "x", "made": 1, "made": 2}\n'
    path.write_text(path.read_text("utf-8") + bad, "utf-8")
    assert project.run().results.records_rejected == 1
    for name in "bc":
        path.write_text(
            path.read_text("utf-8") + f'{{"id": "{name}", "made": "{at("12:00:00")}"}}\n', "utf-8"
        )
        run = project.run()
        assert (run.results.records_processed, run.results.records_rejected) == (1, 0)
    assert project.run().results.records_processed == 0


def test_gc_keeps_the_watermark(arrivals):
    project = arrivals(destination="jsonl")
    project.arrive([("a", at("10:00:00"))])
    project.run()
    assert loom(project.folder, "runs", "gc", "--days", "0", "--keep", "0").returncode == 0
    assert project.run().results.records_processed == 0


def test_cost_estimates_only_the_new_records(arrivals):
    project = arrivals()
    project.arrive([("a", at("10:00:00")), ("b", at("11:00:00"))])
    assert "Records: 2" in loom(project.folder, "cost", "ev", "--dry-run").stdout
    project.run()
    project.arrive([("c", at("12:00:00"))])
    assert "Records: 1" in loom(project.folder, "cost", "ev", "--dry-run").stdout


def test_a_destination_that_was_removed_is_reported(arrivals):
    project = arrivals(destination="csv")
    project.arrive([("a", at("10:00:00"))])
    project.run()
    (project.folder / "out/loaded.csv").unlink()
    project.arrive([("b", at("11:00:00"))])
    refused = loom(project.folder, "run", "ev")
    assert refused.returncode == 2
    assert "pipelines/ev.yaml:7:3: load.destination: out/loaded.csv was removed" in refused.stderr
    assert "--full-refresh" in refused.stderr
    assert loom(project.folder, "run", "ev", "--full-refresh").returncode == 0
    assert project.loaded() == ["a", "b"]
