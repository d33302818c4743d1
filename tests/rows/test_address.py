"""URLs and paths of pipeline files as addresses."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.errors import UserError
from loomgit.rows.address import FileAddress, SqliteAddress, local_files, parse_address


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


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "s3", "http", "https", "pipeline"])
def test_a_scheme_of_later_is_named_with_those_there_are(scheme):
    with pytest.raises(UserError, match="not available in this version") as caught:
        parse_address(f"{scheme}://customers/reviews")
    assert caught.value.hint is not None
    assert "use sqlite:// and file:// URLs" in caught.value.hint
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
    urls = {"shop": "sqlite:///srv/shop.db", "local": "sqlite://data/l.db"}
    assert parse_address("sqlite://shop/orders", urls.get) == SqliteAddress(
        Path("/srv/shop.db"), "orders"
    )
    assert parse_address("sqlite://local", urls.get) == SqliteAddress(Path("data/l.db"), None)


def test_a_path_with_the_ending_of_a_database_is_never_an_alias():
    address = parse_address("sqlite://shop.db/orders", {"shop.db": "sqlite:///other.db"}.get)
    assert address == SqliteAddress(Path("shop.db"), "orders")


def test_an_alias_of_another_kind_is_refused_without_showing_its_secret():
    with pytest.raises(UserError, match="connection 'shop' is not a sqlite") as caught:
        parse_address("sqlite://shop/orders", {"shop": "postgres://me:hunter2@host/db"}.get)
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(blacklist_characters="\0/"), min_size=1, max_size=20))
def test_a_bare_name_is_taken_letter_for_letter(name):
    address = parse_address(f"data/{name}.csv")
    assert address == FileAddress(Path("data") / f"{name}.csv", "csv")
