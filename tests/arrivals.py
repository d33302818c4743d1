"""A project with an incremental pipeline, whose source and destination are of any kind."""

import csv
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import duckdb
import psycopg

from loomgit.api import Project
from tests.projects import make_project

SOURCES = {
    "sqlite": "sqlite://data/source.db/events",
    "csv": "data/events.csv",
    "jsonl": "data/events.jsonl",
    "json": "data/events.json",
    "parquet": "data/events.parquet",
    "duckdb": "duckdb://duck/events",
    "lite": "sqlite+pysqlite://lite/events",
    "postgres": "postgres://world/events",
}
DESTINATIONS = {
    "sqlite": "sqlite://out/loaded.db/events",
    "jsonl": "out/loaded.jsonl",
    "csv": "out/loaded.csv",
    "postgres": "postgres://world/loaded",
}
CONFIG = """\
connections:
  duck: duckdb:///{root}/data/duck.db
  lite: sqlite+pysqlite:///{root}/data/source.db
  world: {database}
"""


class Arrivals:
    """A project in `folder` that copies records with the fields `id` and `made`.

    `incremental` and `extract` are texts of the pipeline file. `sql_type` is the type of `made`.
    """

    def __init__(
        self,
        folder: Path,
        source="sqlite",
        destination="sqlite",
        *,
        incremental="{cursor: made}",
        extract="  key: id\n",
        mode="append",
        rest="",
        database="postgres://none/none",
        sql_type="text",
    ):
        self.folder, self.source, self.destination = folder, source, destination
        self.database, self.sql_type = database, sql_type
        text = (
            f"name: ev\nextract:\n  source: {SOURCES[source]}\n{extract}"
            f"  incremental: {incremental}\n"
            f"load:\n  destination: {DESTINATIONS[destination]}\n  mode: {mode}\n{rest}"
        )
        config = CONFIG.format(root=folder, database=database)
        make_project(folder, **{"pipelines/ev.yaml": text, ".loom/config.yaml": config})
        self.rows = []
        self.arrive([])

    def arrive(self, rows):
        """Add rows to the source. A row is a tuple (id, made)."""
        self.rows += rows
        getattr(self, f"_{self.source}")(rows)

    def _sqlite(self, rows):
        (self.folder / "data").mkdir(exist_ok=True)
        with closing(sqlite3.connect(self.folder / "data/source.db")) as connection, connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS events (id TEXT, made {self.sql_type})")
            connection.executemany("INSERT INTO events VALUES (?, ?)", rows)

    _lite = _sqlite

    def _postgres(self, rows):
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"CREATE TABLE IF NOT EXISTS events (id text, made {self.sql_type})")
            for row in rows:
                connection.execute("INSERT INTO events VALUES (%s, %s)", row)

    def _duckdb(self, rows):
        with duckdb.connect(str(self.folder / "data/duck.db")) as connection:
            connection.execute(f"CREATE TABLE IF NOT EXISTS events (id TEXT, made {self.sql_type})")
            for row in rows:
                connection.execute("INSERT INTO events VALUES (?, ?)", row)

    def _csv(self, rows):
        with (self.folder / "data/events.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerows([("id", "made"), *self.rows])

    def _objects(self):
        return [{"id": name, "made": made} for name, made in self.rows]

    def _jsonl(self, rows):
        text = "".join(json.dumps(row) + "\n" for row in self._objects())
        (self.folder / "data/events.jsonl").write_text(text, "utf-8")

    def _json(self, rows):
        (self.folder / "data/events.json").write_text(json.dumps(self._objects()), "utf-8")

    def _parquet(self, rows):
        path = self.folder / "data/events.parquet"
        with duckdb.connect() as connection:
            connection.execute(f"CREATE TABLE events (id TEXT, made {self.sql_type})")
            for row in self.rows:
                connection.execute("INSERT INTO events VALUES (?, ?)", row)
            connection.execute(f"COPY events TO '{path}' (FORMAT parquet)")

    def run(self, **options):
        """Run the pipeline in this process, and return its record."""
        self.last = Project(self.folder, warn=lambda _: None).run("ev", **options)
        return self.last

    def loaded(self, field="id"):
        """The ids at the destination. In a JSONL file, any field."""
        path = self.folder / "out"
        if self.destination == "postgres":
            with psycopg.connect(self.database) as connection:
                if connection.execute("SELECT to_regclass('loaded')").fetchone() == (None,):
                    return []
                return [row[0] for row in connection.execute("SELECT id FROM loaded")]
        if self.destination == "sqlite":
            if not (path / "loaded.db").exists():
                return []
            with closing(sqlite3.connect(path / "loaded.db")) as connection:
                return [row[0] for row in connection.execute("SELECT id FROM events")]
        if not (path / f"loaded.{self.destination}").exists():
            return []
        text = (path / f"loaded.{self.destination}").read_text("utf-8")
        if self.destination == "jsonl":
            return [json.loads(line)[field] for line in text.splitlines()]
        return [line.split(",")[0] for line in text.splitlines()[1:]]
