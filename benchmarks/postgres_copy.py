"""Measures a pipeline without a transform from PostgreSQL to PostgreSQL.

It is compared with a hand-written program that reads with a server-side cursor, writes with COPY
into a temporary table, and merges with `INSERT … ON CONFLICT`. Both are whole processes.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from measure import PYTHON, ROOT, Sample, measured_rounds, median, parse, report, run

sys.path.insert(0, str(ROOT))

from tests.servers.postgres_server import PostgresServer, find_binaries

PIPELINE = """\
name: copy
extract: {source: postgres://source/reviews, key: id}
load: {destination: postgres://target/scores}
"""
CONFIG = "connections: {source: '${LOOM_BENCH_URL}', target: '${LOOM_BENCH_URL}'}\n"
COLUMNS = (
    "id bigint PRIMARY KEY, review text, label text, score float8, checked boolean, "
    "created_at timestamptz"
)
FILL = """
    INSERT INTO reviews SELECT n, 'The product number ' || n || ' is great, said the customer',
        CASE n % 2 WHEN 0 THEN 'positive' ELSE 'negative' END, n / 7.0, n % 3 = 0,
        timestamptz '2026-01-01' + n * interval '1 minute' FROM generate_series(1, %s) n
"""
PEER = """
import os, psycopg
url = os.environ["LOOM_BENCH_URL"]
names = ["id", "review", "label", "score", "checked", "created_at"]
with psycopg.connect(url) as source, psycopg.connect(url) as target:
    target.execute("CREATE TEMP TABLE incoming (LIKE scores) ON COMMIT DROP")
    with source.cursor("rows") as rows, target.cursor() as cursor:
        rows.itersize = 2000
        rows.execute("SELECT * FROM reviews")
        with cursor.copy("COPY incoming FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    changes = ", ".join(f"{name} = excluded.{name}" for name in names[1:])
    target.execute("INSERT INTO scores SELECT * FROM incoming ON CONFLICT (id) DO UPDATE SET "
                   + changes)
"""


def measure(server: PostgresServer, rows: int, command: list[str], cwd: Path) -> Sample:
    """Copy this number of rows into an empty table, and measure the process."""
    with server.connect() as connection:
        connection.execute("DROP TABLE IF EXISTS scores, _loom_loads")
        connection.execute(f"CREATE TABLE scores ({COLUMNS})")
        connection.execute("CHECKPOINT")
        sample = run(command, cwd=cwd, env={"LOOM_BENCH_URL": server.url()})
        (count,) = connection.execute("SELECT count(*) FROM scores").fetchone() or (0,)
    if count != rows:
        raise SystemExit(f"{command}: {count} of {rows} rows")
    return sample


def make(folder: Path) -> None:
    """Write the project and commit it."""
    for name, text in (("pipelines/copy.yaml", PIPELINE), (".loom/config.yaml", CONFIG)):
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)
    run(["git", "init", "-q"], cwd=folder)
    run(["git", "add", "-A"], cwd=folder)
    run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x"],
        cwd=folder,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs=2, default=[20_000, 200_000])
    parser.add_argument("--rounds", type=int, default=3)
    options = parse(parser, rows=[50, 500], rounds=1)
    binaries = find_binaries()
    if binaries is None:
        raise SystemExit("PostgreSQL is not installed")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH")]))
    commands = {
        "by hand": [PYTHON, "-c", PEER],
        "loom": [PYTHON, "-m", "loomgit", "run", "copy", "-q"],
    }
    samples: dict[str, list[Sample]] = {}
    server = PostgresServer(binaries)
    try:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder))
            for rows in options.rows:
                with server.connect() as connection:
                    connection.execute("DROP TABLE IF EXISTS reviews")
                    connection.execute(f"CREATE TABLE reviews ({COLUMNS})")
                    connection.execute(FILL.replace("% 2", "%% 2").replace("% 3", "%% 3"), (rows,))
                for measured in measured_rounds(options.rounds):
                    for name, command in commands.items():
                        sample = measure(server, rows, command, Path(folder))
                        if measured:
                            samples.setdefault(f"{name}, {rows:,} rows", []).append(sample)
    finally:
        server.stop()
    medians = {name: median(each) for name, each in samples.items()}
    small, large = options.rows
    loom, hand = medians[f"loom, {large:,} rows"], medians[f"by hand, {large:,} rows"]
    report(
        "postgres_copy",
        medians,
        {
            "speed of loom / by hand (limit 0.6)": hand.wall / loom.wall,
            "peak memory of the large / the small run (limit 1.3)": loom.peak
            / medians[f"loom, {small:,} rows"].peak,
            "rows per second of loom": large / loom.wall,
        },
    )


if __name__ == "__main__":
    main()
