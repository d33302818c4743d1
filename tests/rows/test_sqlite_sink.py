"""SQLite tables as destinations."""

import sqlite3
from contextlib import closing

import pytest

from loomgit.errors import UserError, WorldError

URL = "sqlite://out.db/scores"
OLD = [{"id": "a", "label": "good", "score": 0.5}, {"id": "b", "label": "bad", "score": 1}]


@pytest.fixture
def ask(tmp_path):
    def asked(query, *values):
        with closing(sqlite3.connect(tmp_path / "out.db", isolation_level=None)) as connection:
            return connection.execute(query, values).fetchall()

    return asked


def rows_of(ask):
    return ask("SELECT id, label, score FROM scores ORDER BY rowid")


def test_a_new_table_has_types_for_text_alone(put, ask):
    row = {"id": 1, "n": 1, "x": 0.5, "t": "a", "b": True, "o": {"a": [1]}, "none": None}
    assert put(URL, [row]) == (1, 0, 0, 0)
    assert ask("SELECT name, type, pk FROM pragma_table_info('scores')") == [
        ("id", "", 1),
        ("n", "", 0),
        ("x", "", 0),
        ("t", "TEXT", 0),
        ("b", "", 0),
        ("o", "TEXT", 0),
        ("none", "", 0),
    ]
    assert ask("SELECT * FROM scores") == [(1, 1, 0.5, "a", 1, '{"a":[1]}', None)]


def test_later_rows_of_other_types_are_kept_as_they_are(put, ask):
    later = ["1.50", "007", 2**53 + 1, 0.5, "abc", -3]
    rows = [{"id": str(index), "v": value} for index, value in enumerate(later)]
    put(URL, [{"id": "first", "v": 7}], rows)
    assert [v for (v,) in ask("SELECT v FROM scores ORDER BY rowid")] == [7, *later]
    put(URL, [{"id": "t", "v": True}])
    assert ask("SELECT v, typeof(id) FROM scores WHERE id = 't'") == [(1, "text")]


def test_true_in_a_text_column_is_the_word(table, put, ask):
    table("id TEXT, v TEXT")
    put(URL, [{"id": "a", "v": True}, {"id": "b", "v": 0.1 + 0.2}])
    assert ask("SELECT v FROM scores ORDER BY id") == [("true",), ("0.30000000000000004",)]


@pytest.mark.parametrize(
    ("definition", "keys"),
    [
        ("id TEXT COLLATE NOCASE, v INTEGER", ("a", "A")),
        ("id INTEGER, v INTEGER", ("1", "1.0")),
        ("id INTEGER PRIMARY KEY, v INTEGER", ("1", "1.0")),
        ("id NUMERIC PRIMARY KEY, v INTEGER", ("1", "1.0")),
    ],
)
@pytest.mark.parametrize("mode", ["upsert", "replace"])
def test_of_keys_that_the_table_takes_for_equal_the_last_row_counts(
    table, put, ask, definition, keys, mode
):
    if mode == "replace" and "PRIMARY" not in definition:
        definition = definition.replace(", v", " UNIQUE, v")
    table(definition)
    rows = [{"id": key, "v": number} for number, key in enumerate(keys)]
    for _ in range(2):
        *_, duplicates = put(URL, rows, mode=mode)
        assert duplicates == 1
        assert ask("SELECT v FROM scores") == [(1,)]


def test_the_schema_says_the_types_of_a_new_table(put, ask):
    schema = {"properties": {"score": {"type": "number"}, "why": {"type": ["string", "null"]}}}
    put(URL, [{"id": "1", "score": 1}], schema=schema)
    assert ask("SELECT name, type FROM pragma_table_info('scores')") == [
        ("id", "TEXT"),
        ("score", "REAL"),
        ("why", "TEXT"),
    ]


def test_the_same_run_twice_changes_nothing(tmp_path, put):
    assert put(URL, OLD) == (2, 0, 0, 0)
    before = (tmp_path / "out.db").read_bytes()
    assert put(URL, OLD) == (0, 0, 2, 0)
    after = (tmp_path / "out.db").read_bytes()
    # Bytes 24-28 and 92-96 of the first page count transactions.
    assert after[100:] == before[100:]


def test_upsert_counts_what_it_inserts_updates_and_leaves(put, ask):
    put(URL, OLD)
    new = [{"id": "b", "label": "fine", "score": 1}, {"id": "a", "label": "good", "score": 0.5}]
    assert put(URL, [*new, {"id": "c", "label": None, "score": None}]) == (1, 1, 1, 0)
    assert rows_of(ask) == [("a", "good", 0.5), ("b", "fine", 1), ("c", None, None)]


def test_of_a_key_that_comes_twice_the_last_row_counts(put, ask):
    first = [{"id": "a", "label": str(n), "score": n} for n in range(3)]
    assert put(URL, first, [{"id": "a", "label": "late", "score": 9}]) == (1, 0, 0, 3)
    assert rows_of(ask) == [("a", "late", 9)]


@pytest.fixture
def table(tmp_path):
    """A user's own table, without an index on the key."""

    def made(definition, *rows):
        with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
            connection.execute(f"CREATE TABLE scores ({definition})")
            for row in rows:
                connection.execute(f"INSERT INTO scores VALUES ({','.join('?' * len(row))})", row)
            connection.commit()

    return made


def test_upsert_needs_no_index_and_leaves_columns_that_it_does_not_know(table, put, ask):
    table("id, label TEXT, score, checked_by TEXT", ("a", "good", 1, "Ada"), ("b", "bad", 2, "Bob"))
    assert put(URL, [{"id": "a", "label": "x"}, {"id": "b", "score": 2}]) == (0, 1, 1, 0)
    assert ask("SELECT * FROM scores") == [("a", "x", 1, "Ada"), ("b", "bad", 2, "Bob")]


def test_values_are_compared_after_the_columns_own_conversions(table, put):
    table(
        "id INTEGER, n INTEGER, r REAL, t TEXT, u, c TEXT COLLATE NOCASE",
        (1, 7, 1.0, "7", 1, "a"),
    )
    same = {"id": "1", "n": "7", "r": 1, "t": 7, "u": 1.0, "c": "a"}
    assert put(URL, [same]) == (0, 0, 1, 0)
    for change in ({"n": 8}, {"r": None}, {"t": "07"}, {"u": "1"}, {"c": "A"}):
        assert put(URL, [same | change]) == (0, 1, 0, 0), change
        assert put(URL, [same]) == (0, 1, 0, 0), change


def test_rows_with_different_fields_go_in_one_batch(put, ask):
    assert put(URL, [{"id": 1, "label": "x"}, {"id": 2, "score": 3}]) == (2, 0, 0, 0)
    assert rows_of(ask) == [(1, "x", None), (2, None, 3)]


def test_a_table_made_in_this_run_gets_the_columns_of_later_rows(put, ask):
    put(URL, [{"id": 1, "label": "x"}], [{"id": 2, "label": "y", "score": 0.5}])
    assert rows_of(ask) == [(1, "x", None), (2, "y", 0.5)]


def test_keys_that_only_the_table_takes_for_equal_are_duplicates(table, put, ask):
    table("id TEXT PRIMARY KEY COLLATE NOCASE, v INTEGER")
    rows = [{"id": "a", "v": 1}, {"id": "b", "v": 2}, {"id": "A", "v": 3}]
    assert put(URL, rows) == (2, 0, 0, 1)
    assert ask("SELECT id, v FROM scores ORDER BY v") == [("b", 2), ("A", 3)]
    assert put(URL, [{"id": "B", "v": 9}]) == (0, 1, 0, 0)


@pytest.mark.parametrize(
    ("columns", "value"),
    [("id TEXT, v REAL", 2**53 + 1), ("id TEXT, v INTEGER", "007"), ("id TEXT, v INT", 2**64 - 1)],
)
@pytest.mark.parametrize("mode", ["upsert", "append", "replace"])
def test_a_value_that_its_column_would_change_is_an_error(table, put, ask, columns, value, mode):
    table(columns)
    with pytest.raises(UserError, match="column 'v' is [A-Z]+ and cannot hold") as caught:
        put(URL, [{"id": "a", "v": 1}, {"id": "b", "v": value}], mode=mode)
    assert str(value) in caught.value.message
    assert ask("SELECT * FROM scores") == []


def test_a_column_that_an_older_table_lacks_is_an_error_with_the_way_out(table, sink, ask):
    table("id TEXT, label TEXT")
    with pytest.raises(UserError, match="table 'scores' has no column 'score'") as caught:
        sink(URL).load(0, OLD)
    assert caught.value.hint == (
        'ALTER TABLE "scores" ADD COLUMN "score"; `load.evolve: add` adds the column'
    )
    with pytest.raises(UserError, match="has no column 'why'") as caught:
        sink(URL, schema={"properties": {"why": {"type": "string"}}}).check()
    assert caught.value.hint.startswith('ALTER TABLE "scores" ADD COLUMN "why" TEXT; ')
    assert ask("SELECT * FROM scores") == []


def test_any_name_is_quoted(tmp_path, put, source):
    name = 'my "t"; DROP TABLE x'
    row = {"id": 1, 'a "b"': "x", "select": 2, "naïve col": 3}
    assert put(f"sqlite://out.db/{name}", [row]) == (1, 0, 0, 0)
    assert put(f"sqlite://out.db/{name}", [row]) == (0, 0, 1, 0)
    assert list(source(f"sqlite://out.db/{name}").rows()) == [row]


def test_a_composite_key(put, ask):
    rows = [{"id": 1, "label": "x", "score": 1}, {"id": 1, "label": "y", "score": 2}]
    assert put(URL, rows, key=("id", "label")) == (2, 0, 0, 0)
    assert put(URL, [rows[0] | {"score": 9}], key=("id", "label")) == (0, 1, 0, 0)
    assert rows_of(ask) == [(1, "x", 9), (1, "y", 2)]


@pytest.mark.parametrize("mode", ["upsert", "append"])
@pytest.mark.parametrize(
    ("definition", "trigger", "reason"),
    [
        ("id TEXT, label TEXT CHECK (label <> 'bad'), score", "", "CHECK constraint failed"),
        ("id TEXT, label, score UNIQUE", "", "UNIQUE constraint failed"),
        ("id TEXT, label, score", "BEFORE INSERT", "not that one"),
    ],
)
def test_a_row_that_the_database_refuses_costs_only_that_row(
    table, sink, ask, definition, trigger, reason, mode
):
    table(definition, ("z", "there", 30.0))
    if trigger:
        when = "WHEN new.label = 'bad' BEGIN SELECT raise(ABORT, 'not that one'); END"
        ask(f"CREATE TRIGGER t {trigger} ON scores {when}")
    rows = [
        {"id": str(n), "label": "bad" if n == 30 else "good", "score": float(n)} for n in range(50)
    ]
    opened = sink(URL, mode)
    refused = opened.load(0, rows)
    assert refused.keys() == {30}
    assert reason in refused[30]
    assert opened.commit().inserted == 49
    assert ask("SELECT count(*) FROM scores WHERE id <> 'z'") == [(49,)]


def test_a_batch_whose_rows_are_all_refused(table, sink, ask):
    table("id TEXT, label TEXT CHECK (label = 'x'), score")
    opened = sink(URL)
    assert opened.load(0, OLD).keys() == {0, 1}
    assert opened.load(1, [{**OLD[0], "label": "x"}]) == {}
    assert opened.commit().inserted == 1


def test_append_takes_each_part_of_a_run_once(sink, ask):
    for expected in (2, 4):
        opened = sink(URL, "append")
        opened.load(0, OLD)  # the second time it is in the ledger
        if expected == 4:
            opened.load(1, OLD)
        assert opened.commit().inserted == expected
    assert len(rows_of(ask)) == 4
    assert ask("SELECT run, target, part, rows FROM _loom_loads") == [
        ("run-1", "scores", 0, 2),
        ("run-1", "scores", 1, 2),
    ]


def test_an_append_that_fails_leaves_no_entry_in_the_ledger(table, sink, ask):
    table("id TEXT, label, score AS (1)")
    with pytest.raises(UserError, match="has no column"):
        sink(URL, "append").load(0, OLD)
    assert rows_of(ask) == []
    assert ask("SELECT name FROM sqlite_master WHERE name = '_loom_loads'") == []


def test_append_again_in_another_run_adds_again(put, ask):
    put(URL, OLD, mode="append")
    put(URL, OLD, mode="append")
    assert len(rows_of(ask)) == 4


def test_the_ledger_is_the_only_table_of_ours(put, ask):
    put(URL, OLD)
    put(URL, OLD, mode="replace")
    tables = ask("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    assert tables == [("_loom_loads",), ("scores",)]


def test_replace_is_visible_only_at_commit_and_keeps_indexes(put, sink, ask):
    put(URL, OLD)
    ask("CREATE INDEX mine ON scores (label)")
    opened = sink(URL, "replace")
    opened.load(1, [{"id": "z", "label": "2"}])
    opened.load(0, [{"id": "y", "label": "1"}, {"id": "z", "label": "0"}])
    assert len(rows_of(ask)) == 2
    receipt = opened.commit()
    assert (receipt.inserted, receipt.duplicates) == (2, 1)
    assert rows_of(ask) == [("y", "1", None), ("z", "2", None)]
    assert ask("SELECT name FROM sqlite_master WHERE name = 'mine'") == [("mine",)]


def test_replace_that_is_aborted_or_fails_changes_nothing(tmp_path, put, sink, ask):
    put(URL, OLD)
    opened = sink(URL, "replace")
    opened.load(0, [{"id": "z"}])
    opened.abort()
    assert list((tmp_path / ".loom" / "state" / "run-1").iterdir()) == []
    with pytest.raises(UserError, match="has no column 'new'"):
        put(URL, [{"id": "z", "new": 1}], mode="replace")
    assert len(rows_of(ask)) == 2


def test_replace_goes_on_after_a_crash_and_is_done_once(put, sink, ask):
    put(URL, OLD)
    sink(URL, "replace").load(0, [{"id": "y"}])  # and then the process is gone
    again = sink(URL, "replace")
    again.load(0, [{"id": "y"}])
    again.load(1, [{"id": "z"}])
    receipt = again.commit()
    assert [row[0] for row in rows_of(ask)] == ["y", "z"]
    assert sink(URL, "replace").commit() == receipt
    assert [row[0] for row in rows_of(ask)] == ["y", "z"]


def test_replace_with_nothing_empties_the_table(put, ask):
    put(URL, OLD)
    assert put(URL, mode="replace") == (0, 0, 0, 0)
    assert rows_of(ask) == []


def test_nothing_is_made_by_check_or_by_a_run_without_rows(tmp_path, sink):
    for mode in ("upsert", "append", "replace"):
        opened = sink("sqlite://deep/out.db/t", mode)
        opened.check()
        opened.abort()
    assert [child.name for child in tmp_path.iterdir() if child.name != ".loom"] == []


def test_a_folder_that_is_missing_is_made(tmp_path, put):
    put("sqlite://deep/er/out.db/t", OLD)
    assert [child.name for child in (tmp_path / "deep" / "er").iterdir()] == ["out.db"]


@pytest.mark.parametrize("mode", ["upsert", "append", "replace"])
def test_what_is_no_table_is_refused(tmp_path, put, sink, ask, mode):
    ask("CREATE VIEW scores AS SELECT 1 AS id")
    for use in (lambda: sink(URL, mode).check(), lambda: put(URL, OLD, mode=mode)):
        with pytest.raises(UserError, match="'scores' is a view"):
            use()
    (tmp_path / "text.db").write_text("no database, " * 99)
    for use in (
        lambda: sink("sqlite://text.db/t", mode).check(),
        lambda: put("sqlite://text.db/t", OLD, mode=mode),
    ):
        with pytest.raises(UserError, match=r"text\.db: is not a SQLite database"):
            use()
    assert (tmp_path / "text.db").read_text() == "no database, " * 99


@pytest.mark.parametrize("name", ["_loom_loads", "sqlite_x"])
def test_a_reserved_name_is_refused(sink, name):
    with pytest.raises(UserError, match="is reserved"):
        sink(f"sqlite://out.db/{name}").check()


def test_a_url_without_a_table_is_refused(sink):
    with pytest.raises(UserError, match="does not name a table"):
        sink("sqlite://out.db")


def test_an_integer_beyond_64_bits_is_kept_as_text(put, ask):
    put(URL, [{"id": 1, "label": 2**63, "score": None}])
    assert ask("SELECT CAST(label AS TEXT) FROM scores")[0][0].startswith("9")


def test_a_disk_that_refuses_is_no_traceback(sink):
    with pytest.raises(WorldError, match=r"/proc/x/out\.db: "):
        sink("sqlite:///proc/x/out.db/t").load(0, OLD)


def test_two_runs_at_once_share_a_table(sink, ask):
    one, other = sink(URL, run="one"), sink(URL, run="other")
    one.load(0, OLD)
    other.load(0, [OLD[0] | {"label": "x"}, {"id": "c", "label": "y", "score": 1}])
    one.load(1, [{"id": "d", "label": "z", "score": 1}])
    assert (one.commit().inserted, other.commit().inserted) == (3, 1)
    assert len(rows_of(ask)) == 4


@pytest.mark.parametrize("mode", ["upsert", "append", "replace"])
def test_a_strict_table_refuses_single_rows(tmp_path, sink, mode):
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection:
        connection.execute("CREATE TABLE scores (id TEXT PRIMARY KEY, n INTEGER, any ANY) STRICT")
        connection.commit()
    opened = sink(URL, mode)
    for row in ({"id": "a", "n": "abc"}, {"id": "b", "n": 1.5}, {"id": "c", "n": [1]}):
        assert opened.refusal(row).startswith("column 'n' is INTEGER and cannot hold")
    for row in ({"id": "a", "n": 7}, {"id": "b", "n": "7"}, {"id": "c", "any": "007"}):
        assert opened.refusal(row) == ""


def test_names_of_columns_are_compared_as_sqlite_compares_them(table, sink):
    table('id TEXT, "Ä" TEXT, Text TEXT')
    sink(URL).load(0, [{"id": "a", "text": "x"}])
    with pytest.raises(UserError, match="no column 'ä'"):
        sink(URL).load(1, [{"id": "a", "ä": "x"}])


def test_a_row_with_a_column_that_the_table_lacks_is_refused(table, sink):
    table("id TEXT, v TEXT")
    opened = sink(URL)
    assert opened.refusal({"id": "a", "n": 1}) == "table 'scores' has no column 'n'"
    made = sink("sqlite://other.db/t")
    assert made.refusal({"id": "a"}) == ""
    made.load(0, [{"id": "a"}])
    assert made.refusal({"id": "b", "n": 1}) == ""  # the table is made here and gets the column


def test_a_batch_that_changed_nothing_is_not_loaded_again_after_a_later_batch(put, sink, ask):
    """Otherwise, its rows would overwrite later rows with the same key when a run is resumed."""
    put(URL, OLD)
    newer = [{**OLD[0], "label": "newer"}]
    for _ in range(2):  # the second sink is that of a resumed run
        opened = sink(URL)
        opened.load(0, OLD)  # changes nothing
        opened.load(1, newer)
        opened.commit()
        assert ask("SELECT label FROM scores WHERE id = 'a'") == [("newer",)]


def test_a_batch_with_only_keys_of_earlier_batches_is_loaded_once(sink, ask):
    for attempt in range(2):
        opened = sink(URL)
        opened.load(0, OLD)
        opened.load(1, [{**OLD[0], "label": "second"}])
        opened.load(2, [{**OLD[0], "label": "third"}, {**OLD[0], "id": f"new-{attempt}"}])
        assert opened.commit().inserted == 3
        assert ask("SELECT label FROM scores WHERE id = 'a'") == [("third",)]


def test_a_table_that_was_removed_between_two_attempts_is_reported(sink, ask):
    opened = sink(URL, "append")
    opened.load(0, OLD)
    opened.commit()
    ask("DROP TABLE scores")
    with pytest.raises(UserError, match="table 'scores' was removed since the run loaded"):
        sink(URL, "append").load(0, OLD)
