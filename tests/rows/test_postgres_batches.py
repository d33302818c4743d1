"""Batches of rows for PostgreSQL: the same effect as single rows, or no effect at all."""

import random

import pytest

from loomgit.domain.ports import BatchSink, BatchSource
from loomgit.domain.records import RefusedRow, RowBatch

URL = "postgres://analytics/scores"
TABLE = (
    "id bigint PRIMARY KEY, label text, score float8, checked boolean, at timestamptz, n numeric"
)
NAMES = ("id", "label", "score", "checked", "at", "n")


@pytest.fixture
def connections(database):
    from loomgit.domain.settings import Connection

    return {"analytics": Connection(database)}


@pytest.fixture
def table(run_sql):
    def make(definition=TABLE):
        run_sql(f"DROP TABLE IF EXISTS scores, _loom_loads; CREATE TABLE scores ({definition})")

    make()
    return make


def some_rows(seed, count, keys):
    choice = random.Random(seed)
    return [
        [
            choice.randrange(keys),
            choice.choice([None, "a", "ä\t\\N\n'); DROP TABLE scores; --", "x" * 500]),
            choice.choice([None, 0.1, -0.0, 1e300]),
            choice.choice([None, True, False]),
            choice.choice([None, "2026-01-01 00:00:00+00"]),
            choice.choice([None, 1, 1.5, "123456789012345678901234567890"]),
        ]
        for _ in range(count)
    ]


@pytest.mark.parametrize("mode", ["upsert", "append"])
@pytest.mark.parametrize("keys", [5, 60, 100_000])
def test_a_batch_has_the_same_effect_as_its_rows(sink, table, run_sql, mode, keys):
    effects = []
    for as_batch in (True, False):
        table(TABLE if mode == "upsert" else TABLE.replace(" PRIMARY KEY", ""))
        run_sql("INSERT INTO scores (id, label) SELECT n, 'a' FROM generate_series(0, 40, 2) n")
        opened = sink(URL, mode, run=f"run-{as_batch}")
        for part in range(3):
            rows = some_rows(part, 30, keys)
            if as_batch:
                assert opened.load_batch(part, RowBatch(NAMES, rows))
            else:
                assert opened.load(part, [dict(zip(NAMES, row, strict=True)) for row in rows]) == {}
        receipt = opened.commit()
        effects.append((receipt, run_sql("SELECT * FROM scores ORDER BY scores::text")))
    assert effects[0] == effects[1]
    assert receipt.inserted + receipt.updated + receipt.unchanged + receipt.duplicates == 90


@pytest.mark.parametrize(
    ("definition", "row"),
    [
        (TABLE, [2**63, "a", 0.5, True, None, None]),
        (TABLE, [1, "a\0b", 0.5, True, None, None]),
        (TABLE, [1, 7.5, 0.5, "perhaps", None, None]),
        (TABLE, [1, "a", 0.5, True, "2026-01-01 00:00:00.1234567+00", None]),
        (TABLE.replace("label text", "label varchar(3)"), [1, "abcd", 0.5, True, None, None]),
        (TABLE.replace("label text", "label text CHECK (label <> 'a')"), [1, "a", 0.5, True, None,
                                                                         None]),
        (TABLE.replace("label text", "label text NOT NULL"), [1, None, 0.5, True, None, None]),
        (TABLE.replace("n numeric", "n numeric(4,1)"), [1, "a", 0.5, True, None, 1.25]),
        (TABLE.replace("n numeric", "m numeric"), [1, "a", 0.5, True, None, 1]),
        (TABLE.replace("n numeric", "n numeric GENERATED ALWAYS AS (score) STORED"),
         [1, "a", 0.5, True, None, 1]),
        (TABLE.replace("score float8", "score float8 CHECK (score < 0.4)"),
         [1, "a", 0.5, True, None, 1]),
    ],
)  # fmt: skip
def test_a_batch_with_one_row_that_does_not_fit_is_not_loaded(
    sink, table, run_sql, definition, row
):
    table(definition)
    opened = sink(URL)
    good = [[n, "b", 0.25, None, None, None] for n in range(10, 15)]
    assert not opened.load_batch(0, RowBatch(NAMES, [*good, row]))
    assert run_sql("SELECT count(*) FROM scores") == [(0,)]
    assert opened.load_batch(1, RowBatch(NAMES[:1], [[n] for n in range(3)])) is (
        "NOT NULL" not in definition
    )
    opened.commit()


def test_a_table_that_does_not_exist_takes_no_batch(sink, run_sql):
    opened = sink(URL)
    assert isinstance(opened, BatchSink)
    assert not opened.load_batch(0, RowBatch(("id",), [[1]]))
    assert opened.load(0, [{"id": 1}]) == {}
    assert opened.load_batch(1, RowBatch(("id",), [[2]]))
    opened.commit()
    assert run_sql("SELECT id FROM scores ORDER BY 1") == [(1,), (2,)]


def test_a_part_is_loaded_once(sink, table, run_sql):
    table(TABLE.replace(" PRIMARY KEY", ""))
    for _ in range(2):
        opened = sink(URL, "append", run="same")
        assert opened.load_batch(0, RowBatch(("id",), [[1], [2]]))
        assert opened.commit().inserted == 2
    assert run_sql("SELECT count(*) FROM scores") == [(2,)]


@pytest.mark.parametrize("kind", ["trigger", "partitions"])
def test_rows_that_a_trigger_drops_and_rows_in_partitions_are_counted(sink, table, run_sql, kind):
    if kind == "trigger":
        table()
        run_sql(
            "CREATE OR REPLACE FUNCTION drop_odd() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN IF NEW.id % 2 = 1 THEN RETURN NULL; END IF; RETURN NEW; END'; "
            "CREATE TRIGGER t BEFORE INSERT ON scores FOR EACH ROW EXECUTE FUNCTION drop_odd()"
        )
    else:
        run_sql(
            f"DROP TABLE scores; CREATE TABLE scores ({TABLE}) PARTITION BY HASH (id); "
            "CREATE TABLE one PARTITION OF scores FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        )
    opened = sink(URL)
    assert opened.load_batch(0, RowBatch(("id",), [[n] for n in range(10)]))
    receipt = opened.commit()
    kept_out = 5 if kind == "trigger" else 0
    assert (receipt.inserted, receipt.kept_out) == (10 - kept_out, kept_out)


def test_a_source_yields_the_same_rows_in_batches(source, run_sql):
    run_sql("CREATE TABLE scores (id bigint, data jsonb)")
    run_sql("INSERT INTO scores SELECT n, CASE WHEN n = 1500 THEN '9007199254740993123456789' "
            "ELSE to_jsonb(n) END FROM generate_series(1, 2500) n")  # fmt: skip
    opened = source(URL)
    assert isinstance(opened, BatchSource)
    items = list(opened.batches())
    assert [len(item.rows) for item in items if isinstance(item, RowBatch)] == [1000, 499, 500, 500]
    assert [type(item) for item in items][2] is RefusedRow
    rows = [
        row for item in items for row in (item.objects() if isinstance(item, RowBatch) else [item])
    ]
    assert rows == list(opened.rows())
    assert rows[1499].place.endswith("row 1500")


@pytest.mark.parametrize("first", ["rows", "batch", "rows of an earlier attempt"])
@pytest.mark.parametrize("key", ["bigint", "text", "numeric"])
def test_a_key_in_a_batch_and_in_single_rows_is_a_duplicate(sink, table, run_sql, first, key):
    table(TABLE.replace("id bigint", f"id {key}"))
    as_text = str if key == "text" else int

    def rows(label, *ids):
        return [[as_text(i), label, None, None, None, None] for i in ids]

    def objects(values):
        return [dict(zip(NAMES, row, strict=True)) for row in values]

    run_sql("INSERT INTO scores (id, label) VALUES (1, 'old'), (2, 'old')")
    if first == "rows of an earlier attempt":
        earlier = sink(URL, run="one")
        earlier.expect_batches()
        earlier.load(0, objects(rows("a", 1, 3, 4)))
        earlier.abort()
    opened = sink(URL, run="one")
    opened.expect_batches()
    if first == "batch":
        assert opened.load_batch(0, RowBatch(NAMES, rows("a", 1, 3, 4)))
        assert opened.load(1, objects(rows("b", 1, 2, 3, 5))) == {}
        assert opened.load_batch(2, RowBatch(NAMES, rows("c", 5, 6)))
    else:
        assert opened.load(0, objects(rows("a", 1, 3, 4))) == {}
        assert opened.load_batch(1, RowBatch(NAMES, rows("b", 1, 2, 3, 5)))
        assert opened.load(2, objects(rows("c", 5, 6))) == {}
    receipt = opened.commit()
    assert (receipt.inserted, receipt.updated, receipt.duplicates) == (4, 2, 3)
    assert receipt.unchanged == 0
    labels = dict(run_sql("SELECT id, label FROM scores"))
    assert {str(i): label for i, label in labels.items()} == dict(
        zip("123456", "bbbacc", strict=True)
    )


def test_a_table_that_the_first_rows_create_counts_the_duplicates_of_batches(sink, run_sql):
    opened = sink(URL, run="one")
    opened.expect_batches()
    batch = RowBatch(("id", "label"), [[1, "a"], [2, "a"]])
    assert not opened.load_batch(0, batch)
    assert opened.load(0, [*batch.objects()]) == {}
    assert opened.load_batch(1, RowBatch(("id", "label"), [[2, "b"], [3, "b"], [3, "c"]]))
    receipt = opened.commit()
    assert (receipt.inserted, receipt.updated, receipt.duplicates) == (3, 0, 2)
    assert run_sql("SELECT id, label FROM scores ORDER BY id") == [(1, "a"), (2, "b"), (3, "c")]
