"""URLs and paths of pipeline files as addresses."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.domain.settings import Connection
from loomgit.errors import UserError
from loomgit.rows.address import (
    FileAddress,
    PostgresAddress,
    SqliteAddress,
    local_files,
    parse_address,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("data/reviews.csv", FileAddress(Path("data/reviews.csv"), "csv")),
        ("./data//reviews.csv", FileAddress(Path("data/reviews.csv"), "csv")),
        ("/srv/x.JSON", FileAddress(Path("/srv/x.JSON"), "json")),
        ("x.ndjson", FileAddress(Path("x.ndjson"), "jsonl")),
        ("file://data/a b.jsonl", FileAddress(Path("data/a b.jsonl"), "jsonl")),
        ("file:///srv/x.parquet", FileAddress(Path("/srv/x.parquet"), "parquet")),
        ("FILE://x.csv", FileAddress(Path("x.csv"), "csv")),
        ("file://caf%C3%A9.csv", FileAddress(Path("café.csv"), "csv")),
        ("caf%C3%A9.csv", FileAddress(Path("caf%C3%A9.csv"), "csv")),
        ("naïve données/été.csv", FileAddress(Path("naïve données/été.csv"), "csv")),
        ("sqlite://data/app.db/reviews", SqliteAddress(Path("data/app.db"), "reviews")),
        ("sqlite:///srv/app.db/reviews", SqliteAddress(Path("/srv/app.db"), "reviews")),
        ("sqlite://data/app.db/my reviews", SqliteAddress(Path("data/app.db"), "my reviews")),
        ("sqlite://data/app.sqlite3", SqliteAddress(Path("data/app.sqlite3"), None)),
        ("sqlite://warehouse/reviews", SqliteAddress(Path("warehouse"), "reviews")),
    ],
)
def test_a_source_is_read_as_its_address(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("source", "paths"),
    [
        ("data/a.csv", ("data/a.csv",)),
        ("file://data/a%20b.csv", ("data/a b.csv",)),
        ("sqlite://data/app.db/scores", ("data/app.db/scores", "data/app.db", "data")),
        ("sqlite://data/app.db", ("data/app.db", "data")),
        ("sqlite://app.db", ("app.db",)),
        ("sqlite:///srv/app.db/scores", ()),
        ("/srv/a.csv", ()),
        ("postgres://server/table", ()),
    ],
)
def test_the_files_of_a_source_include_a_database_without_a_table(source, paths):
    assert local_files(source) == paths


@pytest.mark.parametrize("scheme", ["s3", "http", "https", "pipeline"])
def test_a_scheme_of_later_is_named_with_those_there_are(scheme):
    with pytest.raises(UserError, match="not available in this version") as caught:
        parse_address(f"{scheme}://customers/reviews")
    assert caught.value.hint is not None
    assert "use postgres://, sqlite://, file:// URLs" in caught.value.hint
    assert ".parquet" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("sqllite://a.db/t", "unknown scheme 'sqllite://'", "did you mean 'sqlite'?"),
        ("ftp9000://x", "unknown scheme", "sqlite://PATH/TABLE"),
        ("reviews.cvs", "unknown file format '.cvs'", "did you mean '.csv'?"),
        ("reviews", "no file extension", ".csv"),
        ("reviews.csv.gz", "compressed files are not available", "decompress"),
        ("app.db", "a database cannot be read as a file", "sqlite://app.db/TABLE"),
        ("sqlite://reviews", "does not name a table", "sqlite://reviews/TABLE"),
        ("sqlite://", "does not name a table", "TABLE"),
        ("file://", "does not name a file", "file://PATH"),
        ("  ", "the source or destination is empty", "file://PATH"),
        ("a\0.csv", "NUL", "file://PATH"),
    ],
)
def test_what_is_no_address_says_what_is_meant(text, message, hint):
    with pytest.raises(UserError) as caught:
        parse_address(text)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def test_an_alias_stands_for_its_database():
    urls = {"shop": Connection("sqlite:///srv/shop.db"), "local": Connection("sqlite://data/l.db")}
    assert parse_address("sqlite://shop/orders", urls) == SqliteAddress(
        Path("/srv/shop.db"), "orders"
    )
    assert parse_address("sqlite://local", urls) == SqliteAddress(Path("data/l.db"), None)


def test_a_path_with_the_ending_of_a_database_is_never_an_alias():
    address = parse_address(
        "sqlite://shop.db/orders", {"shop.db": Connection("sqlite:///other.db")}
    )
    assert address == SqliteAddress(Path("shop.db"), "orders")


def test_an_alias_of_another_kind_is_refused_without_showing_its_secret():
    with pytest.raises(UserError, match="connection 'shop' is not a sqlite") as caught:
        parse_address("sqlite://shop/orders", {"shop": Connection("postgres://me:hunter2@host/db")})
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(blacklist_characters="\0/"), min_size=1, max_size=20))
def test_a_bare_name_is_taken_letter_for_letter(name):
    address = parse_address(f"data/{name}.csv")
    assert address == FileAddress(Path("data") / f"{name}.csv", "csv")


SHOP = Connection("postgresql://me:hunter2@db.example:6432/shop?sslmode=require", "loom")


@pytest.mark.parametrize(
    ("text", "schema", "table"),
    [
        ("postgres://shop/reviews", None, "reviews"),
        ("postgresql://shop/reviews", None, "reviews"),
        ("POSTGRES://shop/a%20b.my%2Etable", "a b", "my.table"),
        ("postgres://shop", None, "shop"),
    ],
)
def test_a_connection_and_a_table_of_postgresql(text, schema, table):
    address = parse_address(text, {"shop": SHOP})
    assert (address.url, address.loom_schema) == (SHOP.url, "loom")
    assert (address.schema, address.table) == (schema, table)
    assert "hunter2" not in f"{address} {address!r}"
    assert str(address) == "connection 'shop'"


@pytest.mark.parametrize(
    ("text", "url", "table"),
    [
        ("postgres://me@h/db/t", "postgresql://me@h/db", "t"),
        ("postgres://h/db/t", "postgresql://h/db", "t"),
        ("postgres://h:5433/db", "postgresql://h:5433/db", None),
        ("postgres://h:1,i:2/db/t?sslmode=require", "postgresql://h:1,i:2/db?sslmode=require", "t"),
        ("postgres:///db/t?host=/run/pg", "postgresql:///db?host=/run/pg", "t"),
    ],
)
def test_a_full_url_of_postgresql(text, url, table):
    address = parse_address(text)
    assert (address.url, address.table) == (url, table)


def test_the_same_table_by_a_connection_and_by_its_url_is_equal():
    by_alias = parse_address("postgres://shop/t", {"shop": SHOP})
    by_url = parse_address("postgres://you@db.example:6432/shop/t")
    assert by_alias == by_url != parse_address("postgres://you@db.example:6432/shop/u")
    assert isinstance(by_url, PostgresAddress)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("postgres://shp/t", "the connection 'shp' is not configured", "'shop'"),
        ("postgres://h/a/b/c", "does not name a database and a table", "postgres://CONNECTION"),
        ("postgres://me:hunter2@h/db/t", "contains a password", "connections in .loom/config.yaml"),
        ("postgres://h/db/t?password=hunter2", "contains a password", "${NAME}"),
        (
            "postgres://file/t",
            "connection 'file' is not a URL of a PostgreSQL",
            "postgresql://USER",
        ),
        ("postgres://shop/.t", "'.t' is not a table name", "SCHEMA.TABLE"),
        ("postgres://h:port/db/t", "not a valid URL", ""),
        ("postgres://[::1,x/t", "not a valid URL", ""),
        ("postgres://shop/public/t", "only the name of a table can follow", "SCHEMA.TABLE"),
        ("postgres://shop/t#1", "contains '#'", "%23"),
        ("postgres://at/t", "the user or the password contains '@'", "%40"),
        (f"postgres://shop/{'x' * 64}", "is not a table name", ""),
        ("postgres://h/db/t?pass%77ord=hunter2", "contains a password", "${NAME}"),
    ],
)
def test_an_address_of_postgresql_that_cannot_be(text, message, hint):
    at = Connection("postgresql://me:hunter2@more@h/db")
    connections = {"shop": SHOP, "file": Connection("sqlite://hunter2.db"), "at": at}
    with pytest.raises(UserError) as caught:
        parse_address(text, connections)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


def test_no_connection_at_all_says_where_to_add_one():
    with pytest.raises(UserError, match="not configured") as caught:
        parse_address("postgres://customers/reviews")
    assert "add it to connections in .loom/config.yaml" in caught.value.hint
