"""Addresses of databases that are read through SQLAlchemy."""

import pytest

from loomgit.domain.settings import Connection
from loomgit.errors import UserError
from loomgit.rows.address import parse_address, parse_destination
from loomgit.rows.sql_address import SqlAddress

SHOP = Connection("mysql+pymysql://me:hunter2@db.example/shop")
CONNECTIONS = {
    "shop": SHOP,
    "odd": Connection("teradatasql://me:hunter2@h"),
    "pg": Connection("postgresql+psycopg://me:hunter2@h/d"),
    "text": Connection("hunter2"),
    "a b": SHOP,
}


@pytest.mark.parametrize(
    ("text", "alias", "schema", "table"),
    [
        ("mysql://shop/reviews", "shop", None, "reviews"),
        ("MySQL+PyMySQL://shop/sales.reviews", "shop", "sales", "reviews"),
        ("mysql://shop/a%20b.my%2Etable", "shop", "a b", "my.table"),
        ("mysql://shop/server.sales.reviews", "shop", "server.sales", "reviews"),
        ("mysql://shop", "shop", None, "shop"),
        ("mysql://a%20b", "a b", None, "a b"),
        ("mysql://shop/", "shop", None, "shop"),
        ("teradatasql://odd/reviews", "odd", None, "reviews"),
        ("postgresql+psycopg://pg/reviews", "pg", None, "reviews"),
    ],
)
def test_a_connection_and_a_table(text, alias, schema, table):
    address = parse_address(text, CONNECTIONS)
    assert isinstance(address, SqlAddress)
    assert (address.alias, address.schema, address.table) == (alias, schema, table)
    assert address.url == CONNECTIONS[alias].url
    assert str(address) == f"connection '{alias}'"
    assert "hunter2" not in repr(address)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("mysql://shp/t", "the connection 'shp' is not configured", "'shop'"),
        ("mysql://me:hunter2@h/d/t", "is not mysql://CONNECTION/TABLE", "connections in .loom"),
        ("mysql://shop/db/t", "is not mysql://CONNECTION/TABLE", ""),
        ("mysql://shop/t?password=hunter2", "is not mysql://CONNECTION/TABLE", ""),
        ("mysql://shop#hunter2", "is not mysql://CONNECTION/TABLE", ""),
        ("mysql://", "is not mysql://CONNECTION/TABLE", ""),
        ("mariadb://shop/t", "connection 'shop' is not a mariadb:// URL", "write mysql://shop/TABLE"),
        ("mysql+mysqldb://shop/t", "connection 'shop' is not a mysql+mysqldb:// URL", "mysql://shop"),
        ("mysql://text/t", "connection 'text' is not a URL of a database", ""),
        ("mysql://shop/.t", "'.t' is not a table name", "SCHEMA.TABLE"),
        ("mysql://shop/%00", "is not a table name", ""),
        ("teradatasql://shop/t", "unknown scheme 'teradatasql://'", ""),
        ("mysqll://shop/t", "unknown scheme 'mysqll://'", "did you mean 'mysql'?"),
    ],
)  # fmt: skip
def test_an_address_that_cannot_be(text, message, hint):
    with pytest.raises(UserError) as caught:
        parse_address(text, CONNECTIONS)
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")
    assert "hunter2" not in f"{caught.value.message}{caught.value.hint}"


@pytest.mark.parametrize(
    "text",
    ["mysql://shop/t", "oracle://me:hunter2@h/d", "teradatasql://odd/t", "sqlite+pysqlite://x/t",
     "duckdb://unknown/t"],
)  # fmt: skip
def test_a_database_that_is_only_read_is_no_destination(text):
    with pytest.raises(UserError, match="is only available as a source") as caught:
        parse_destination(text, CONNECTIONS)
    assert "sqlite://PATH/TABLE, postgres://CONNECTION/TABLE" in caught.value.hint
    assert "hunter2" not in caught.value.message


def test_the_other_destinations_stay():
    assert parse_destination("out/x.csv", CONNECTIONS) == parse_address("out/x.csv")
    assert parse_destination("sqlite://a.db/t", CONNECTIONS) == parse_address("sqlite://a.db/t")
