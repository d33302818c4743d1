"""SQLite as a source."""

import os
import shutil
import sqlite3
import sys
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from loomgit.domain.definitions import Incremental
from loomgit.errors import UserError, WorldError
from loomgit.rows.sqlite import translate_errors
from loomgit.rows.sqlite_source import SqliteSource


@pytest.fixture
def shop(tmp_path):
    path = tmp_path / "my data" / "café shop.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            'CREATE TABLE "my reviews" (id INTEGER PRIMARY KEY, text TEXT, score REAL, raw BLOB);'
            "INSERT INTO \"my reviews\" VALUES (1, 'good', 0.5, NULL), (2, NULL, 1, NULL);"
            "CREATE VIEW good AS SELECT id FROM \"my reviews\" WHERE text = 'good'"
        )
    return "sqlite://my data/café shop.db"


def test_a_table_gives_its_rows_with_their_types(source, shop):
    opened = source(f"{shop}/my reviews", key=("id",))
    opened.check()
    assert list(opened.rows()) == [
        {"id": 1, "text": "good", "score": 0.5, "raw": None},
        {"id": 2, "text": None, "score": 1.0, "raw": None},
    ]


def test_a_view_and_a_query_give_rows_too(source, shop):
    assert list(source(f"{shop}/good").rows()) == [{"id": 1}]
    query = 'SELECT id, {{ vars.x }} AS x FROM "my reviews" WHERE id > {{ watermark }}; -- late'
    opened = source(shop, query, watermark=1, x="it's")
    opened.check()
    assert list(opened.rows()) == [{"id": 2, "x": "it's"}]


def test_the_limit_is_kept(source, shop):
    assert len(list(source(f"{shop}/my reviews", limit=1).rows())) == 1
    assert list(source(f"{shop}/my reviews", limit=0).rows()) == []


def test_the_source_is_never_written(source, shop, tmp_path):
    before = (tmp_path / "my data" / "café shop.db").read_bytes()
    for query in ('DELETE FROM "my reviews"', 'WITH a AS (SELECT 1) DELETE FROM "my reviews"'):
        with pytest.raises((UserError, WorldError)):
            list(source(shop, query).rows())
    assert (tmp_path / "my data" / "café shop.db").read_bytes() == before
    assert [child.name for child in (tmp_path / "my data").iterdir()] == ["café shop.db"]


@pytest.mark.parametrize(
    ("table", "query", "message", "hint"),
    [
        ("/my_reviews", None, "no such table: my_reviews", "did you mean 'my reviews'?"),
        ("/orders", None, "no such table: orders", "there are: good, my reviews"),
        ("", 'SELECT txt FROM "my reviews"', "no such column: txt", "did you mean 'text'?"),
        ("", "SELECT * FROM god", "no such table: god", "did you mean 'good'?"),
        ("", "SELECT 1 AS a, 2 AS a", "two columns named 'a'", "AS"),
        ("", "SELEC 1", "must be a SELECT statement", ""),
        ("", "SELECT FROM WHERE", "syntax error", ""),
    ],
)
def test_what_is_not_there_is_found_by_check_and_by_reading(
    source, shop, table, query, message, hint
):
    for use in (lambda opened: opened.check(), lambda opened: list(opened.rows())):
        with pytest.raises(UserError) as caught:
            use(source(f"{shop}{table}", query))
        assert message in caught.value.message
        assert "café shop.db" in caught.value.message
        assert hint in (caught.value.hint or "")


def test_a_database_without_table_and_query_is_refused(source, shop):
    with pytest.raises(UserError, match="does not name a table"):
        source(shop)


def test_check_wants_the_key_and_the_cursor(source, shop):
    with pytest.raises(UserError, match="no column 'ident'"):
        source(f"{shop}/my reviews", key=("ident",)).check()
    with pytest.raises(UserError, match="no column 'created_at'"):
        source(shop, "SELECT 1 AS id", incremental=Incremental("created_at")).check()


@pytest.mark.parametrize(("value", "word"), [("x'00ff'", "bytes"), ("9e999", "inf")])
def test_a_row_that_json_cannot_hold_is_refused(source, tmp_path, value, word):
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.executescript(
            f"CREATE TABLE t (id, raw); INSERT INTO t VALUES (1, {value}), (2, 0.5)"
        )
    refused, row = source("sqlite://a.db/t").rows()
    assert refused.place == "a.db: row 1"
    assert refused.reason.startswith(f"column 'raw': {word}, which JSON cannot represent")
    assert row == {"id": 2, "raw": 0.5}


def test_a_row_with_text_of_another_encoding_is_refused_alone(source, tmp_path):
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        connection.executescript(
            "CREATE TABLE t (id, text TEXT);"
            "INSERT INTO t VALUES (1, 'é'), (2, CAST(x'ff41' AS TEXT)), (3, 'b')"
        )
    opened = source("sqlite://a.db/t")
    opened.check()
    first, refused, last = opened.rows()
    assert (first, last) == ({"id": 1, "text": "é"}, {"id": 3, "text": "b"})
    assert refused.place == "a.db: row 2"


def test_a_file_that_is_no_database_is_called_so(source, tmp_path):
    (tmp_path / "a.db").write_text("id,text\n" * 99)
    with pytest.raises(UserError, match=r"a\.db: is not a SQLite database"):
        source("sqlite://a.db/t").check()


def test_an_empty_file_has_no_tables(source, tmp_path):
    (tmp_path / "a.db").touch()
    with pytest.raises(UserError, match="no such table: t") as caught:
        source("sqlite://a.db/t").check()
    assert caught.value.hint == "the database has no tables"


def test_a_lock_that_is_not_given_up_is_the_worlds_fault(tmp_path):
    with (
        closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as holder,
        closing(sqlite3.connect(tmp_path / "a.db", timeout=0.01)) as other,
    ):
        holder.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(WorldError, match=r"a\.db: another program has locked"),
            translate_errors("a.db"),
        ):
            other.execute("CREATE TABLE t (id)")


@pytest.fixture
def read_only_folder():
    """A database in WAL mode in a folder that this process cannot write, not even as root."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    user = os.geteuid()

    @contextmanager
    def opened(*, log):
        with closing(sqlite3.connect(folder / "a.db")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text)")
            connection.execute("INSERT INTO t VALUES (1, 'good')")
            connection.commit()
            if log:
                for name in ("a.db", "a.db-wal"):
                    shutil.copy(folder / name, folder / f"kept-{name}")
        if log:
            for name in ("a.db", "a.db-wal"):
                (folder / f"kept-{name}").rename(folder / name)
        for child in folder.iterdir():
            child.chmod(0o644)  # whatever the umask
        folder.chmod(0o555)
        if user == 0:
            os.seteuid(65534)
        yield folder

    yield opened
    os.seteuid(user)
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="folders have other permissions there")
def test_a_database_in_wal_mode_is_read_in_a_read_only_folder(read_only_folder):
    with read_only_folder(log=False) as folder:
        opened = SqliteSource(folder / "a.db", "a.db", table="t", query=None, needed=["id"])
        opened.check()
        assert list(opened.rows()) == [{"id": 1, "text": "good"}]
        assert [child.name for child in folder.iterdir()] == ["a.db"]


@pytest.mark.skipif(sys.platform == "win32", reason="folders have other permissions there")
def test_changes_that_are_only_in_the_log_are_not_passed_over(read_only_folder):
    with read_only_folder(log=True) as folder:
        opened = SqliteSource(folder / "a.db", "a.db", table="t", query=None, needed=["id"])
        with pytest.raises(WorldError, match=r"a\.db: has changes in a\.db-wal") as caught:
            list(opened.rows())
        assert "wal_checkpoint" in caught.value.hint
