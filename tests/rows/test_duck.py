"""SQL over files, and Parquet files as sources."""

from datetime import date
from decimal import Decimal

import duckdb
import orjson
import pytest

from loomgit.domain.records import RefusedRow
from loomgit.errors import UserError
from loomgit.rows.duck import to_json


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
            reviews,
            f"SELECT id, score FROM {table} WHERE CAST(score AS DOUBLE) > {{{{ vars.x }}}}",
            x=0.7,
        )
        opened.check()
        assert list(opened.rows()) == [{"id": "2", "score": "0.9"}]


def test_the_columns_of_a_csv_file_are_text_in_a_query(source, reviews):
    rows = list(source(reviews, "SELECT * FROM data WHERE day > {{ execution_date }}").rows())
    assert rows == [{"id": "2", "score": "0.9", "day": "2026-03-05", "text": ""}]


def test_a_missing_cast_is_told(source, reviews):
    for query in ("SELECT avg(score) AS a FROM data", "SELECT id FROM data WHERE score > 1"):
        with pytest.raises(UserError) as caught:
            source(reviews, query).check()
        assert "columns of CSV files are text" in caught.value.hint


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
    assert list(source(name, "SELECT * FROM data").rows()) == [{"id": "1"}]


@pytest.mark.parametrize(
    ("query", "message", "hint"),
    [
        ("SELECT txt FROM data", '"txt" not found', '"text"'),
        ("SELECT * FROM review", "review", ""),
        ("SELECT *\nFROM data\nWHER 1", "syntax error", ""),
        ("COPY data TO 'stolen.csv'", "must be one SELECT", ""),
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
        ("id,t\n1,a\n2,b,c\n", "a.csv:3: 3 fields, but the first line has 2"),
        ("id,t\n1,a\n2\n3,c\n", "a.csv:3: 1 field, but the first line has 2"),
        ('id,t\n1,"a\n2,b\n', "a.csv:2: a quote is not closed"),
    ],
)
def test_what_is_no_table_is_an_error_under_a_query_too(source, tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        list(source("a.csv", "SELECT * FROM data").rows())
    assert caught.value.message == message


def test_a_row_that_is_refused_may_have_large_integers(source, reviews):
    for column in ("'nan'::DOUBLE AS a", "'ab'::BLOB AS a"):
        query = f"SELECT {column}, 170141183460469231731687303715884105727::HUGEINT AS b FROM data"
        rows = list(source(reviews, query).rows())
        assert rows
        assert all(isinstance(row, RefusedRow) for row in rows)
        assert all("170141183460469231731687303715884105727" in row.text for row in rows)


def test_a_json_column_has_the_type_of_all_its_values(source, tmp_path):
    rows = [
        {"i": 1, "f": 0.5, "b": True, "t": "007", "l": ["a", None], "o": {"x": [1]}, "mixed": 1},
        {"i": 2**63, "f": 1e16, "b": None, "l": [], "o": {"x": []}, "mixed": 0.5, "big": {}},
        {"i": -1, "t": "2026-02-30", "o": None, "big": {"k": 2**53 + 1}},
    ]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    columns = "typeof(i) i, typeof(f) f, typeof(b) b, typeof(t) t, typeof(l) l, typeof(o) o"
    (types,) = source(
        "a.jsonl", f"SELECT {columns}, typeof(mixed) mixed, typeof(big) big FROM a LIMIT 1"
    ).rows()
    assert types == {
        "i": "HUGEINT", "f": "DOUBLE", "b": "BOOLEAN", "t": "VARCHAR", "l": "VARCHAR[]",
        "o": "STRUCT(x BIGINT[])", "mixed": "JSON", "big": "JSON",
    }  # fmt: skip


def test_objects_with_other_keys_are_json_and_come_out_as_they_are(source, tmp_path):
    rows = [{"o": {"a": 1}, "p": {"a": 1, "b": 2}}, {"o": {"b": 2}, "p": {"b": 2, "a": 1}}]
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    (types,) = source("a.jsonl", "SELECT typeof(o) o, typeof(p) p FROM a LIMIT 1").rows()
    assert types == {"o": "JSON", "p": "JSON"}
    read = list(source("a.jsonl", "SELECT * FROM a").rows())
    assert [orjson.dumps(row) for row in read] == [orjson.dumps(row) for row in rows]


def test_names_that_sql_cannot_tell_apart_are_refused(source, tmp_path):
    (tmp_path / "a.csv").write_text("id,text,Text\n1,a,b\n")
    (tmp_path / "b.jsonl").write_text('{"id": 1}\n{"ID": 2}\n')
    assert list(source("a.csv").rows()) == [{"id": "1", "text": "a", "Text": "b"}]
    for name, names in (("a.csv", "'text' and 'Text'"), ("b.jsonl", "'id' and 'ID'")):
        for use in (lambda opened: opened.check(), lambda opened: list(opened.rows())):
            with pytest.raises(UserError, match=f"{name}: the names {names} differ only in upper"):
                use(source(name, "SELECT * FROM data"))


def test_refused_rows_of_a_file_come_before_those_of_the_query(source, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n{"id": 18446744073709551616}\n{"id": 2}\n')
    opened = source("a.jsonl", "SELECT * FROM data WHERE id > 1")
    opened.check()
    refused, row = opened.rows()
    assert str(refused) == "a.jsonl:2: the integer 18446744073709551616 has more than 64 bits"
    assert row == {"id": 2}


def test_an_empty_json_file_has_no_rows_under_a_query(source, tmp_path):
    (tmp_path / "a.jsonl").write_text("")
    source("a.jsonl", "SELECT id FROM data").check()
    assert list(source("a.jsonl", "SELECT id FROM data").rows()) == []


def test_a_type_is_found_in_all_rows_and_not_in_the_first(source, tmp_path):
    (tmp_path / "a.csv").write_text("id\n" + "1\n" * 30000 + "x\n")
    opened = source("a.csv", "SELECT id, count(*) AS n FROM a GROUP BY id ORDER BY n")
    opened.check()
    assert list(opened.rows()) == [{"id": "x", "n": 1}, {"id": "1", "n": 30000}]


@pytest.mark.parametrize("raw", [b"\xef\xbb\xbfid\r\n1\r\n\r\n2", b"id\n1\n\n2\n\n"])
def test_blank_lines_and_marks_are_no_rows_under_a_query(source, tmp_path, raw):
    (tmp_path / "a.csv").write_bytes(raw)
    assert list(source("a.csv", "SELECT * FROM a").rows()) == [{"id": "1"}, {"id": "2"}]


def test_check_wants_the_key(source, reviews):
    with pytest.raises(UserError, match="no column 'ident'"):
        source(reviews, "SELECT id FROM data", key=("ident",)).check()


def test_parquet_values_come_out_as_json(source, tmp_path):
    make_parquet(
        tmp_path / "a.parquet",
        "SELECT 1::BIGINT AS i, 1.10::DECIMAL(9,2) AS d, DATE '2026-03-04' AS day, "
        "TIMESTAMP '2026-03-04 05:06:07.5' AS ts, TIMESTAMPTZ '2026-03-04 05:06:07+02' AS tz, "
        "[1, NULL] AS l, {'a': DATE '2026-01-01'} AS s, NULL::INT AS n, "
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
            "ts": "2026-03-04 05:06:07.5",
            "tz": "2026-03-04 03:06:07+00",
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


@pytest.mark.parametrize(
    ("value", "word", "shown"),
    [
        ("'\\xFF'::BLOB", "bytes", "<1 bytes>"),
        ("'inf'::DOUBLE", "inf", None),
        ("'NaN'::DOUBLE", "nan", None),
        ("[1.5, 'NaN'::DOUBLE]", "nan", [1.5, None]),
    ],
)
def test_a_parquet_row_that_json_cannot_hold_is_refused(source, tmp_path, value, word, shown):
    make_parquet(tmp_path / "a.parquet", f"SELECT 1 AS id, {value} AS raw UNION ALL SELECT 2, NULL")
    refused, row = source("a.parquet").rows()
    assert str(refused) == f"a.parquet: row 1: column 'raw': {word}, which JSON cannot represent"
    assert orjson.loads(refused.text) == {"id": 1, "raw": shown}
    assert row == {"id": 2, "raw": None}


def test_dates_and_times_keep_what_python_has_no_type_for(source, tmp_path):
    make_parquet(
        tmp_path / "a.parquet",
        "SELECT TIMESTAMP_NS '2026-03-04 05:06:07.123456789' AS ns, 'infinity'::DATE AS never, "
        "INTERVAL '1 month 2 days' AS wait, [DATE '2026-01-01'] AS days, "
        "{'DATE': TIME '05:06:07'} AS s",
    )
    assert list(source("a.parquet").rows()) == [
        {
            "ns": "2026-03-04 05:06:07.123456789",
            "never": "infinity",
            "wait": "1 month 2 days",
            "days": ["2026-01-01"],
            "s": {"DATE": "05:06:07"},
        }
    ]


def test_a_folder_with_a_name_and_a_value_is_no_column(source, tmp_path):
    (tmp_path / "text=zzz").mkdir()
    make_parquet(tmp_path / "text=zzz" / "a.parquet", "SELECT 1 AS id, 'a' AS text")
    assert list(source("text=zzz/a.parquet").rows()) == [{"id": 1, "text": "a"}]


def test_names_with_a_colon_are_no_second_column(source, tmp_path):
    (tmp_path / "a.csv").write_text("text,text:usd\na,b\n")
    assert list(source("a.csv", "SELECT * FROM data").rows()) == [{"text": "a", "text:usd": "b"}]


def test_a_json_column_keeps_exact_integers_or_refuses_the_row(source, tmp_path):
    values = ("9007199254740993", "0.5", "98765432109876543210")
    make_parquet(
        tmp_path / "a.parquet",
        " UNION ALL ".join(f"SELECT '{{\"n\": {v}}}'::JSON AS j" for v in values),
    )
    first, second, refused = source("a.parquet").rows()
    assert (first, second) == ({"j": {"n": 9007199254740993}}, {"j": {"n": 0.5}})
    assert "98765432109876543210 has more than 64 bits" in refused.reason


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
    assert to_json(value) == json


def test_a_query_converts_json_text_to_values(source, tmp_path):
    (tmp_path / "a.csv").write_text('id,tags\n1,"{""k"": [1, 2]}"\n2,"[]"\n')
    rows = list(source("a.csv", "SELECT id, CAST(tags AS JSON) AS tags FROM a").rows())
    assert [row["tags"] for row in rows] == [{"k": [1, 2]}, []]
