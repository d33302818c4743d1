"""Batches whose keys are not in the table: COPY writes them, and a merge if that is impossible.

The column `written_by` contains the first word of the statement that inserted the row.
"""

import threading
import time

import psycopg
import pytest

from loomgit.domain.ports import LoadReceipt
from loomgit.domain.records import RowBatch
from loomgit.domain.settings import Connection
from loomgit.rows.postgres_columns import Column

URL = "postgres://analytics/scores"
COLUMNS = "id bigint PRIMARY KEY, label text, written_by text DEFAULT left(current_query(), 4)"
SECONDS = 60


@pytest.fixture
def connections(database):
    return {"analytics": Connection(database)}


@pytest.fixture
def table(run_sql):
    def make(columns=COLUMNS, suffix=""):
        run_sql(f"CREATE TABLE scores ({columns}) {suffix}")

    return make


def batch(keys, label="new"):
    return RowBatch(("id", "label"), [[key, label] for key in keys])


def effect(sink, *batches, run="run-1", **options):
    opened = sink(URL, run=run, **options)
    for part, rows in enumerate(batches):
        assert opened.load_batch(part, rows)
    return opened.commit()


def test_new_keys_are_copied_and_known_keys_are_merged(sink, table, run_sql):
    table()
    assert effect(sink, batch(range(500)), batch(range(500, 900))) == LoadReceipt(inserted=900)
    mixed = batch(range(850, 950), "other")
    receipt = effect(sink, mixed, batch(range(950, 1000)), batch(range(10)), run="run-2")
    assert receipt == LoadReceipt(inserted=100, updated=50, unchanged=10)
    assert run_sql(
        "SELECT written_by, label, count(*) FROM scores GROUP BY 1, 2 ORDER BY 1, 2"
    ) == [("COPY", "new", 900), ("COPY", "other", 50), ("WITH", "other", 50)]  # fmt: skip


@pytest.mark.parametrize("first", [range(100), range(50, 150)])
def test_keys_that_occur_again_in_later_batches_are_duplicates(sink, table, run_sql, first):
    table()
    run_sql("INSERT INTO scores SELECT n, 'old' FROM generate_series(50, 53) n")
    parts = batch(first), batch(range(200, 300)), batch(range(295, 305), "last")
    receipt = effect(sink, *parts, batch([290, *range(400, 600), 290], "again"))
    known = len({50, 51, 52, 53} & {*first})
    assert receipt == LoadReceipt(inserted=405 - known, updated=known, duplicates=7)
    assert run_sql("SELECT id, label FROM scores WHERE id IN (290, 295, 304) ORDER BY 1") == [
        (290, "again"), (295, "last"), (304, "last"),
    ]  # fmt: skip
    assert run_sql("SELECT count(*) FROM scores") == [(405 + 4 - known,)]


def test_after_a_copy_that_failed_the_run_merges(sink, table, run_sql):
    table()
    twice = batch([*range(1000), 7])  # not in the sample of the keys
    receipt = effect(sink, batch([-1]), twice, batch(range(2000, 2010)))
    assert receipt == LoadReceipt(inserted=1011, duplicates=1)
    assert run_sql("SELECT written_by, count(*) FROM scores GROUP BY 1 ORDER BY 1") == [
        ("COPY", 1), ("INSE", 1000), ("WITH", 10),
    ]  # fmt: skip


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
def test_a_row_that_another_session_inserts_meanwhile_is_updated(
    sink, table, run_sql, database, ends
):
    table()
    with psycopg.connect(database) as other:
        other.execute("INSERT INTO scores VALUES (5, 'other')")
        opened = sink(URL)
        loaded = []
        thread = threading.Thread(target=lambda: loaded.append(opened.load_batch(0, batch([4, 5]))))
        thread.start()
        deadline = time.monotonic() + SECONDS
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while run_sql(waits) == [(0,)] and time.monotonic() < deadline:
            time.sleep(0.01)
        assert loaded == []
        other.execute(ends)
        thread.join(SECONDS)
    assert loaded == [True]
    updated = int(ends == "COMMIT")
    assert opened.commit() == LoadReceipt(inserted=2 - updated, updated=updated)
    assert run_sql("SELECT id, label FROM scores ORDER BY 1") == [(4, "new"), (5, "new")]


def test_a_part_that_is_refused_leaves_no_keys_behind(sink, table):
    table(COLUMNS.replace("label text", "label text CHECK (label <> 'bad')"))
    opened = sink(URL)
    assert not opened.load_batch(0, batch(range(100), "bad"))
    assert opened.load_batch(1, batch(range(100)))
    assert opened.load_batch(2, batch([*range(99, 120), 99]))
    assert opened.commit() == LoadReceipt(inserted=120, duplicates=2)


def test_a_part_is_copied_once(sink, table, run_sql):
    table()
    for _ in range(2):
        assert effect(sink, batch(range(10)), batch(range(10, 20))) == LoadReceipt(inserted=20)
    assert run_sql("SELECT count(*) FROM scores") == [(20,)]


@pytest.mark.parametrize(
    ("statement", "label", "receipt"),
    [
        ("CREATE TRIGGER t BEFORE INSERT ON scores FOR EACH ROW EXECUTE FUNCTION shout()", "NEW",
         LoadReceipt(inserted=11)),
        ("CREATE RULE r AS ON INSERT TO scores WHERE NEW.id < 0 DO INSTEAD NOTHING", "new",
         LoadReceipt(inserted=10, kept_out=1)),
        ("ALTER TABLE scores ADD CHECK (id >= 0)", "new", LoadReceipt(inserted=10)),
    ],
)  # fmt: skip
def test_triggers_rules_and_checks_apply(sink, table, run_sql, statement, label, receipt):
    table()
    run_sql(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN NEW.label = upper(NEW.label); RETURN NEW; END'"
    )
    run_sql(statement)
    opened = sink(URL)
    assert opened.load_batch(0, batch(range(10)))
    assert opened.load_batch(1, batch([-1])) is ("CHECK" not in statement)
    assert opened.commit() == receipt
    assert run_sql("SELECT DISTINCT label FROM scores") == [(label,)]


def test_rows_of_a_partitioned_table_are_counted(sink, table, run_sql):
    table(suffix="PARTITION BY RANGE (id)")
    run_sql("CREATE TABLE low PARTITION OF scores FOR VALUES FROM (0) TO (100)")
    run_sql("CREATE TABLE high PARTITION OF scores FOR VALUES FROM (100) TO (200)")
    receipt = effect(sink, batch(range(0, 200, 2)), batch(range(0, 200, 3)))
    assert receipt == LoadReceipt(inserted=133, duplicates=34)
    assert not sink(URL, run="run-2").load_batch(0, batch([150, 250]))
    assert run_sql("SELECT (SELECT count(*) FROM low), (SELECT count(*) FROM high)") == [(67, 66)]


@pytest.mark.parametrize("second", ["team", "round"])
def test_a_unique_key_without_a_primary_key(sink, table, run_sql, second):
    table("id bigint, team text, round int, label text, UNIQUE (id, team), UNIQUE (id, round)")
    opened = sink(URL, key=("id", second))
    names = ("id", second, "label")
    values = ["a\tb", "\\N", "\\", "ä\n"] if second == "team" else [1, 2, 3, 4]
    rows = [[n, value, "x"] for n in range(50) for value in values]
    assert opened.load_batch(0, RowBatch(names, rows))
    assert not opened.load_batch(1, RowBatch(names, [[100, None, "x"]]))
    assert opened.load_batch(2, RowBatch(names, [[100, values[0], "x"], [0, values[1], "y"]]))
    assert opened.commit() == LoadReceipt(inserted=201, duplicates=1)
    assert run_sql(f"SELECT count(*), count(DISTINCT {second}) FROM scores") == [(201, 4)]


def test_another_unique_key_refuses_the_batch(sink, table, run_sql):
    table("id bigint PRIMARY KEY, label text UNIQUE")
    opened = sink(URL)
    assert opened.load_batch(0, RowBatch(("id", "label"), [[1, "a"], [2, "b"]]))
    assert not opened.load_batch(1, RowBatch(("id", "label"), [[3, "c"], [4, "b"]]))
    assert opened.load(1, [{"id": 3, "label": "c"}, {"id": 4, "label": "b"}]).keys() == {1}
    opened.commit()
    assert run_sql("SELECT id FROM scores ORDER BY 1") == [(1,), (2,), (3,)]


def test_row_level_security_applies(sink, table, run_sql, database, connections):
    table()
    role = "new_keys_writer"
    run_sql(f"DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN")
    run_sql(f"GRANT ALL ON SCHEMA public TO {role}; GRANT ALL ON scores TO {role}")
    run_sql(
        "CREATE POLICY p ON scores USING (id < 5); ALTER TABLE scores ENABLE ROW LEVEL SECURITY"
    )
    connections["analytics"] = Connection(database.replace("//loom@", f"//{role}@"))
    opened = sink(URL)
    assert opened.load_batch(0, batch([1, 2]))
    assert not opened.load_batch(1, batch([3, 9]))
    assert opened.commit() == LoadReceipt(inserted=2)
    run_sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


NASTY = ["", "\\", "\\.", "\\N", "\t", "\r\n", "\b\f\v", "ä\u2028", "NULL", '"', "a\\\nb", None]


def test_all_texts_arrive_unchanged(sink, table, run_sql):
    table("id bigint PRIMARY KEY, a text, b uuid, c numeric, d float8, e date, f timestamptz")
    uuid = "0b39f7d0-9e2c-4b7e-a6a7-0c7a0f3a6a10"
    rows = [
        [n, text, uuid if n % 2 else None, None if n % 3 else 0.1, -0.0 if n % 4 else None,
         "2026-02-28" if n % 5 else None, "2026-01-01 12:00:00.5+05:30" if n % 6 else None]
        for n, text in enumerate(NASTY)
    ]  # fmt: skip
    opened = sink(URL)
    assert opened.load_batch(0, RowBatch(("id", *"abcdef"), rows))
    opened.commit()
    loaded = run_sql(
        "SELECT id, a, b::text, c::float8, d, e::text, f::text FROM scores ORDER BY id"
    )
    instant = "2026-01-01 06:30:00.5+00"
    assert loaded == [(*row[:6], row[6] and instant) for row in rows]


@pytest.mark.parametrize(
    ("kind", "value", "is_accepted"),
    [
        ("date", "2026-01-01", True),
        ("date", "2026-01-01\n2026-01-02", False),
        ("date", "2026-01-01 10:00:00", False),
        ("date", "2026-01-32", False),
        ("timestamp", "2026-01-01T10:00:00.123456", True),
        ("timestamp", "2026-01-01 10:00:00+05:30", False),
        ("timestamp", "2026-01-01 10:00:00.1234567", False),
        ("timestamptz", "2026-01-01 10:00:00.123456+05:30", True),
        ("timestamptz", "infinity", True),
        ("timestamptz", "now", False),
        ("timestamptz(0)", "2026-01-01 10:00:00.5+00", False),
        ("time", "24:00:00", True),
        ("time", "23:59:59", True),
        ("uuid", "0b39f7d0-9e2c-4b7e-a6a7-0c7a0f3a6a10", True),
        ("uuid", "no", False),
        ("inet", "10.0.0.1", True),
        ("money", "1.005", False),
        ("interval", "1 mon", True),
        ("numeric(4,1)", 1.25, False),
        ("numeric", 1.25, True),
        ("float4", 0.1, True),
        ("float4", 0.123456789, False),
    ],
)
def test_a_batch_has_only_values_that_the_column_keeps(
    sink, table, run_sql, kind, value, is_accepted
):
    table(f"id bigint PRIMARY KEY, x {kind}")
    opened = sink(URL)
    rows = [[1, None], [2, value], [3, None]]
    assert opened.load_batch(0, RowBatch(("id", "x"), rows)) is is_accepted
    opened.commit()
    assert run_sql("SELECT count(x) FROM scores") == [(int(is_accepted),)]


def test_a_text_of_two_lines_is_not_two_moments():
    column = Column("x", not_null=False, has_default=False, generated=False, modifier=-1,
                    type="date", element=None, shown="date")  # fmt: skip
    assert column.accepts_unchanged({str}, ["2026-01-01", None, "2026-01-02"])
    assert not column.accepts_unchanged({str}, ["2026-01-01\n2026-01-02"])
