"""Rows with values at the limits of JSON and SQL, through every source and every destination."""

import csv
import json
import random
import sqlite3
from contextlib import closing
from decimal import Decimal

import duckdb
import orjson
import pytest

from loomgit.domain.records import RefusedRow
from loomgit.domain.values import as_text
from tests.soak import sized

ROWS = sized(1_000, 10_000)
TEXTS = [
    "", "007", "1e5", "NaN", "null", "true", "a,b", 'say "hi"', "a\r\nb", "\r", " x ", "été", "😀",
    "\u2028", "05-11-2025", "12:30", "2024-01-05T10:00:00.123456789+05:30", "{}", "'; DROP TABLE t",
    "BBD05AE7-58CC-4372-A567-0E02B2C3D479", "99999999999999999999", "x" * 10000,
]  # fmt: skip
SIGNED = [0, 1, -1, 2**31, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63)]
UNSIGNED = [0, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]
FLOATS = [0.0, -0.0, 0.5, 0.1 + 0.2, 1e16, 5e-324, 1.7976931348623157e308, -1e-300, 3.0]
KINDS = {
    "text": TEXTS,
    "signed": SIGNED,
    "unsigned": UNSIGNED,
    "integer": SIGNED + UNSIGNED,
    "float": FLOATS,
    "number": [*SIGNED, *UNSIGNED, *FLOATS],
    "truth": [True, False],
    "list": [[], ["007", None], [""]],
    "integers": [[], [2**63 - 1], [2**53 + 1, None], [-1]],
    "numbers": [[1, 2.5], [2**53 + 1], [2**64 - 1, -1], []],
    "object": [{"a": 2**53 + 1, "b": "007"}, {"a": 0, "b": None}],
    "deep": [{"x": [{"y": [[0.1]]}]}, [[[]]], {"": {}}],
    "any": [*TEXTS[:5], *SIGNED, *FLOATS, True, [2**64 - 1], {"k": 0.5}, {}],
}


def make_rows(count):
    choice = random.Random(20261129)
    rows = []
    for index in range(count):
        row = {"id": index}
        for name, values in KINDS.items():
            draw = choice.random()
            if draw > 0.2:
                row[name] = choice.choice(values)
            elif draw > 0.1:
                row[name] = None
        rows.append(row)
    return rows


@pytest.fixture(scope="module")
def rows():
    return make_rows(ROWS)


def number(value):
    """A number as an exact decimal; SQL has no truth beside numbers in one column."""
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(int(value))


def same(old, new, *, text_only=False):
    """Whether a destination holds the value: a missing field equals null, numbers are compared by
    value, and a list or an object may be its JSON text."""
    if old is None:
        return new is None or (text_only and new == "")
    if text_only:
        return new == as_text(old)
    if isinstance(new, str) and not isinstance(old, str):
        return orjson.loads(new) == old
    if isinstance(old, bool | int | float) and isinstance(new, bool | int | float):
        return number(old) == number(new)
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(map(same, old, new))
    if isinstance(old, dict) and isinstance(new, dict):
        return all(same(old.get(name), new.get(name)) for name in old | new)
    return old == new


DESTINATIONS = ["out.jsonl", "out.json", "out.csv", "out.parquet", "sqlite://out.db/t"]


@pytest.mark.parametrize("mode", ["upsert", "append", "replace"])
@pytest.mark.parametrize("url", DESTINATIONS)
def test_what_is_loaded_is_what_was_read(source, put, tmp_path, rows, url, mode):
    (tmp_path / "in.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    read = list(source("in.jsonl").rows())
    assert read == rows
    inserted, *_ = put(url, read[: ROWS // 2], read[ROWS // 2 :], mode=mode)
    assert inserted == len(rows)
    loaded = list(source(url).rows())
    if url.startswith("sqlite"):  # a table has no order of its own
        loaded.sort(key=lambda row: row["id"])
    assert len(loaded) == len(rows)
    for old, new in zip(rows, loaded, strict=True):
        for name in ("id", *KINDS):
            assert same(old.get(name), new.get(name), text_only=url.endswith(".csv")), (name, old)
    if mode == "upsert":
        assert put(url, read) == (0, 0, len(rows), 0)


def values_of(rows, name):
    return [row.get(name) for row in rows]


@pytest.mark.parametrize("query", [None, "SELECT * FROM data"])
@pytest.mark.parametrize("form", ["csv", "json", "jsonl"])
def test_what_is_read_is_what_the_file_holds(source, tmp_path, rows, form, query):
    path = tmp_path / f"in.{form}"
    names = ["id", *KINDS]
    expected = [{name: row.get(name) for name in names} for row in rows]
    if form == "csv":
        expected = [
            {name: "" if row[name] is None else as_text(row[name]) for name in names}
            for row in expected
        ]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(expected)
    elif form == "json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    read = [{name: row.get(name) for name in names} for row in source(path.name, query).rows()]
    assert json.dumps(read) == json.dumps(expected)  # tells 1 from 1.0 and true


def test_what_is_read_from_a_table_is_what_it_holds(source, tmp_path):
    values = [*SIGNED, *FLOATS, *TEXTS, None, float("inf"), b"\0\xff"]
    with closing(sqlite3.connect(tmp_path / "in.db")) as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, x)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", enumerate(values))
        connection.commit()
    read = list(source("sqlite://in.db/t").rows())
    kept, refused = read[:-2], read[-2:]
    assert json.dumps([row["x"] for row in kept]) == json.dumps(values[:-2])
    assert all(isinstance(row, RefusedRow) for row in refused)


SQL_VALUES = {
    "TINYINT": ("-128", -128),
    "UBIGINT": ("18446744073709551615", 2**64 - 1),
    "DECIMAL(38, 2)": ("123456789012345678901234567890.12", "123456789012345678901234567890.12"),
    "DECIMAL(9, 2)": ("0.10", 0.1),
    "FLOAT": ("0.1", 0.10000000149011612),
    "DATE": ("0044-03-15", "0044-03-15"),
    "TIMESTAMP_NS": ("2026-01-01 00:00:00.000000001", "2026-01-01 00:00:00.000000001"),
    "INTERVAL": ("1 month", "1 month"),
    "TIME": ("23:59:59.999999", "23:59:59.999999"),
    "TIMESTAMP": ("9999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999"),
    "UUID": ("bbd05ae7-58cc-4372-a567-0e02b2c3d479", "bbd05ae7-58cc-4372-a567-0e02b2c3d479"),
    "VARCHAR": ("05-11-2025", "05-11-2025"),
    "BOOLEAN": ("true", True),
}


@pytest.mark.parametrize("kind", SQL_VALUES)
def test_sql_types_at_their_limits_come_out_of_parquet_files(source, tmp_path, kind):
    text, value = SQL_VALUES[kind]
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT CAST('{text}' AS {kind}) AS x) TO '{tmp_path / 'in.parquet'}'"
        )
    assert list(source("in.parquet").rows()) == [{"x": value}]
