"""SQL over files, and Parquet files as sources."""

from datetime import date
from decimal import Decimal

import duckdb
import pytest

from loomgit.errors import UserError
from loomgit.rows.duck import plain


def make_parquet(path, select):
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")


@pytest.fixture
def reviews(tmp_path):
    (tmp_path / "my reviews.csv").write_text(
        "id,score,day,text\n1,0.5,2026-03-03,bad\n2,0.9,2026-03-05,\n"
    )
    return "my reviews.csv"


def test_a_query_sees_a_csv_file_by_its_stem_and_as_data(source, reviews):
    for table in ('"my reviews"', '"My Reviews"', "data"):
        opened = source(
            reviews, f"SELECT id, score FROM {table} WHERE score > {{{{ vars.x }}}}", x=0.7
        )
        opened.check()
        assert list(opened.rows()) == [{"id": 2, "score": 0.9}]


def test_a_query_finds_types_in_a_csv_file(source, reviews):
    rows = list(source(reviews, "SELECT * FROM data WHERE day > {{ execution_date }}").rows())
    assert rows == [{"id": 2, "score": 0.9, "day": "2026-03-05", "text": None}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '[{"id": 1, "t": {"a": [1, null]}}, {"id": 2, "t": null}]'),
        ("a.jsonl", '{"id": 1, "t": {"a": [1, null]}}\n{"id": 2}\n'),
    ],
)
def test_a_query_sees_json_files(source, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    opened = source(name, "SELECT * FROM a ORDER BY id DESC")
    opened.check()
    assert list(opened.rows()) == [{"id": 2, "t": None}, {"id": 1, "t": {"a": [1, None]}}]


def test_a_query_joins_other_files_of_the_project(source, tmp_path, reviews):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "users.csv").write_text("id,name\n2,Ada\n")
    query = "SELECT name FROM data JOIN 'data/users.csv' AS users USING (id)"
    assert list(source(reviews, query).rows()) == [{"name": "Ada"}]


@pytest.mark.parametrize("name", ["a[1].csv", "a*.csv", "it's.csv", "été.csv", "data.csv"])
def test_any_file_name_is_taken_letter_for_letter(source, tmp_path, name):
    (tmp_path / "a1.csv").write_text("id\n9\n")
    (tmp_path / name).write_text("id\n1\n")
    assert list(source(name, "SELECT * FROM data").rows()) == [{"id": 1}]


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        ("SELECT txt FROM data", '"txt" not found', '"text"'),
        ("SELECT * FROM review", "review", ""),
        ("SELECT *\nFROM data\nWHER 1", "syntax error", ""),
        ("COPY data TO 'stolen.csv'", "not one SELECT", ""),
        ("SELECT 1 AS a, 2 AS a", "two columns named 'a'", "AS"),
    ],
)
def test_a_fault_of_a_query_is_found_by_check_and_by_reading(
    source, tmp_path, reviews, query, message, hint
):
    for use in (lambda opened: opened.check(), lambda opened: list(opened.rows())):
        with pytest.raises(UserError) as caught:
            use(source(reviews, query))
        assert message in caught.value.message
        assert "\n" not in caught.value.message
        assert caught.value.message.startswith("my reviews.csv: ")
        assert hint in (caught.value.hint or "")
    assert not (tmp_path / "stolen.csv").exists()


def test_the_line_of_a_syntax_error_is_said(source, reviews):
    with pytest.raises(UserError, match=r"line 3 of the query"):
        list(source(reviews, "SELECT *\nFROM data\nWHER 1 = 1").rows())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,t\n1,a\n2,b,c\n", "a.csv:3: 3 fields where the first line has 2"),
        ("id,t\n1,a\n2\n3,c\n", "a.csv:3: 1 field where the first line has 2"),
        ('id,t\n1,"a\n2,b\n', "a.csv:2: a quote is never closed"),
    ],
)
def test_what_is_no_table_is_an_error_under_a_query_too(source, tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        list(source("a.csv", "SELECT * FROM data").rows())
    assert caught.value.message == message


def test_a_csv_column_has_the_type_that_all_its_values_fit(source, tmp_path):
    columns = {
        "i": ("1", "-20", 1, -20),
        "f": ("1", "2.5e3", 1.0, 2500.0),
        "zip": ("007", "12", "007", "12"),
        "big": ("99999999999999999999", "1", 99999999999999999999.0, 1.0),
        "flag": ("true", "False", True, False),
        "day": ("2026-03-04", "", "2026-03-04", None),
        "at": (
            "2026-03-04T05:06:07",
            "2026-03-04 05:06",
            "2026-03-04 05:06:07",
            "2026-03-04 05:06:00",
        ),
        "tz": (
            "2026-03-04T05:06:07Z",
            "2026-03-04 05:06:07+02:00",
            "2026-03-04 05:06:07+00",
            "2026-03-04 03:06:07+00",
        ),
        "bad": ("2026-02-30", "2026-03-01", "2026-02-30", "2026-03-01"),
        "mixed": ("1", "x", "1", "x"),
        "none": ("", "", None, None),
    }
    lines = [columns, [c[0] for c in columns.values()], [c[1] for c in columns.values()]]
    (tmp_path / "a.csv").write_text("".join(",".join(line) + "\r\n" for line in lines))
    assert list(source("a.csv", "SELECT * FROM a").rows()) == [
        {name: column[2] for name, column in columns.items()},
        {name: column[3] for name, column in columns.items()},
    ]


def test_a_type_is_found_in_all_rows_and_not_in_the_first(source, tmp_path):
    (tmp_path / "a.csv").write_text("id\n" + "1\n" * 30000 + "x\n")
    opened = source("a.csv", "SELECT id, count(*) AS n FROM a GROUP BY id ORDER BY n")
    opened.check()
    assert list(opened.rows()) == [{"id": "x", "n": 1}, {"id": "1", "n": 30000}]


@pytest.mark.parametrize("raw", [b"\xef\xbb\xbfid\r\n1\r\n\r\n2", b"id\n1\n\n2\n\n"])
def test_blank_lines_and_marks_are_no_rows_under_a_query(source, tmp_path, raw):
    (tmp_path / "a.csv").write_bytes(raw)
    assert list(source("a.csv", "SELECT * FROM a").rows()) == [{"id": 1}, {"id": 2}]


def test_check_wants_the_key(source, reviews):
    with pytest.raises(UserError, match="no column 'ident'"):
        source(reviews, "SELECT id FROM data", key=("ident",)).check()


def test_parquet_values_come_out_as_json(source, tmp_path):
    make_parquet(
        tmp_path / "a.parquet",
        "SELECT 1::BIGINT AS i, 1.10::DECIMAL(9,2) AS d, DATE '2026-03-04' AS day, "
        "TIMESTAMP '2026-03-04 05:06:07.5' AS ts, TIMESTAMPTZ '2026-03-04 05:06:07+02' AS tz, "
        "'NaN'::DOUBLE AS nan, [1, NULL] AS l, {'a': DATE '2026-01-01'} AS s, NULL::INT AS n, "
        "true AS b, 12345678901234567.89::DECIMAL(30,2) AS big, 'x' AS t, "
        "'{\"k\": [1]}'::JSON AS j, 7::DECIMAL(18,0) AS whole",
    )
    opened = source("a.parquet", key=("i",))
    opened.check()
    assert list(opened.rows()) == [
        {
            "i": 1,
            "d": 1.1,
            "day": "2026-03-04",
            "ts": "2026-03-04 05:06:07.500000",
            "tz": "2026-03-04 03:06:07+00",
            "nan": None,
            "l": [1, None],
            "s": {"a": "2026-01-01"},
            "n": None,
            "b": True,
            "big": "12345678901234567.89",
            "t": "x",
            "j": {"k": [1]},
            "whole": 7,
        }
    ]


@pytest.mark.parametrize(("value", "word"), [("'\\xFF'::BLOB", "bytes"), ("'inf'::DOUBLE", "inf")])
def test_parquet_values_that_json_cannot_hold_name_their_column(source, tmp_path, value, word):
    make_parquet(tmp_path / "a.parquet", f"SELECT 1 AS id, {value} AS raw")
    with pytest.raises(UserError, match=f"column 'raw' holds {word}"):
        list(source("a.parquet").rows())


def test_a_file_that_is_no_parquet_is_called_by_its_name(source, tmp_path):
    (tmp_path / "a.parquet").write_text("id\n1\n")
    with pytest.raises(UserError, match=r"a\.parquet: .*"):
        list(source("a.parquet").rows())


def test_rows_stream_in_order(source, tmp_path):
    make_parquet(tmp_path / "a.parquet", "SELECT i AS id FROM range(50000) t(i)")
    rows = source("a.parquet").rows()
    assert [next(rows)["id"] for _ in range(2500)] == list(range(2500))
    rows.close()


def test_no_file_is_left_in_the_project_or_the_working_folder(
    source, tmp_path, reviews, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    list(source(reviews, "SELECT * FROM data ORDER BY text").rows())
    assert [child.name for child in tmp_path.iterdir()] == [reviews]


@pytest.mark.parametrize(
    ("value", "json"),
    [
        (2**63, 2**63),
        (2**70, str(2**70)),
        (Decimal("0.30"), 0.3),
        (Decimal("0.1234567890123456789"), "0.1234567890123456789"),
        ({1: date(2026, 1, 1)}, {"1": "2026-01-01"}),
    ],
)
def test_odd_values_become_plain_ones(value, json):
    assert plain(value) == json
