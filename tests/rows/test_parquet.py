"""Parquet as a destination: the types of its columns."""

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.errors import UserError
from loomgit.rows.parquet_types import common_type, holds_exactly, kind_of


def types(path):
    with duckdb.connect() as connection:
        found = connection.execute(f"DESCRIBE SELECT * FROM '{path}'").fetchall()
    return {row[0]: row[1] for row in found}


def test_types_are_found_in_all_rows(tmp_path, source, put):
    rows = [
        {"id": 1, "n": 1, "t": "2026-01-01", "b": True, "l": [], "o": {"a": 1}, "mixed": 1},
        {"id": 2, "n": 1.5, "t": "x", "b": None, "l": ["a"], "o": {"b": []}, "mixed": "x"},
    ]
    put("out.parquet", rows[:1], rows[1:])
    assert types(tmp_path / "out.parquet") == {
        "id": "BIGINT",
        "n": "DOUBLE",
        "t": "VARCHAR",
        "b": "BOOLEAN",
        "l": "VARCHAR[]",
        "o": "JSON",
        "mixed": "JSON",
    }
    assert list(source("out.parquet").rows()) == rows


def test_the_schema_says_the_types_of_a_new_file(tmp_path, put):
    schema = {
        "properties": {
            "score": {"type": ["number", "null"]},
            "tags": {"type": "array", "items": {"type": "integer"}},
            "never": {"type": "boolean"},
        }
    }
    put("out.parquet", [{"id": "a", "score": 1, "tags": [1]}], schema=schema)
    assert types(tmp_path / "out.parquet") == {
        "id": "VARCHAR",
        "score": "DOUBLE",
        "tags": "BIGINT[]",
        "never": "BOOLEAN",
    }


@pytest.fixture
def typed(tmp_path):
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 1::INTEGER AS id, 1.25::DECIMAL(9,2) AS price, DATE '2026-01-01' AS day, "
            "0.5::FLOAT AS f, 0.5::DOUBLE AS d, [0.5]::FLOAT[] AS fs, [0.5]::DOUBLE[] AS ds, "
            f"'x' AS t, [1, 2] AS l) TO '{tmp_path}/out.parquet' (FORMAT parquet)"
        )
    return types(tmp_path / "out.parquet")


def test_an_existing_file_keeps_its_types(tmp_path, source, put, typed):
    floats = {"f": 0.25, "d": 2**53, "fs": [0.25], "ds": [0.1]}
    row = {"id": 2, "price": 3.5, "day": "2026-02-02", **floats, "t": "y", "l": [3]}
    assert put("out.parquet", [row]) == (1, 0, 0, 0)
    assert types(tmp_path / "out.parquet") == typed
    floats = {"f": 0.5, "d": 0.5, "fs": [0.5], "ds": [0.5]}
    first = {"id": 1, "price": 1.25, "day": "2026-01-01", **floats, "t": "x", "l": [1, 2]}
    assert list(source("out.parquet").rows()) == [first, row]


@pytest.mark.parametrize(
    "row",
    [
        {"id": 1.5},
        {"t": 7},
        {"l": ["x"]},
        {"price": True},
        {"day": 3},
        {"price": 1.239},
        {"f": 0.1},
        {"d": 2**53 + 1},
        {"fs": [0.5, 0.1]},
        {"ds": [2**53 + 1]},
    ],
)
def test_a_value_is_never_fitted_to_its_column(tmp_path, put, typed, row):
    before = (tmp_path / "out.parquet").read_bytes()
    with pytest.raises(UserError, match=r"out\.parquet: column '\w+' is .* and cannot hold"):
        put("out.parquet", [{"id": 1} | row])
    assert (tmp_path / "out.parquet").read_bytes() == before


json_values = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner | st.none(), max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@settings(deadline=None, max_examples=50)
@given(st.lists(json_values, max_size=4))
def test_one_type_is_found_for_any_values_and_a_list_has_the_type_of_what_is_in_it(column):
    kinds = {kind_of(value) for value in column}
    common = common_type(kinds)
    assert "*" not in common
    assert common_type(kinds | {common}) == common or common.startswith("DECIMAL")
    if len({type(value) for value in column}) > 1 and any(isinstance(v, str) for v in column):
        assert common == "JSON"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2**53 + 1, 0.5], "JSON"),
        ([2**53, 0.5], "DOUBLE"),
        ([2**64 - 1, 5], "DECIMAL(20,0)"),
        ([2**64 - 1, -5, 0.5], "JSON"),
        ([2**64 - 1], "UBIGINT"),
        ([-(2**63), 5], "BIGINT"),
        ([[1, 2**53 + 1], [2.5]], "JSON"),
        ([[1, 2**53 + 1], [3]], "BIGINT[]"),
        ([[1], [2.5]], "DOUBLE[]"),
    ],
)
def test_a_new_column_holds_integers_exactly_and_a_second_run_changes_nothing(
    tmp_path, source, put, values, kind
):
    rows = [{"id": index, "v": value} for index, value in enumerate(values)]
    assert put("out.parquet", rows) == (len(rows), 0, 0, 0)
    assert types(tmp_path / "out.parquet")["v"] == kind
    assert [row["v"] for row in source("out.parquet").rows()] == values
    assert put("out.parquet", rows) == (0, 0, len(rows), 0)


KEPT = {
    "DECIMAL(10,2)": ["1.23", "-0.5", 1, 1.5, "12345678.90"],
    "DATE": ["2026-03-04", "infinity"],
    "TIMESTAMP": ["2026-03-04T05:06:07", "2026-03-04 05:06", "2026-03-04 05:06:07.1234560"],
    "TIMESTAMP_NS": ["2026-03-04 05:06:07.123456789"],
    "TIMESTAMP WITH TIME ZONE": ["2026-03-04 05:06:07+02:00", "2026-03-04T05:06:07Z"],
    "TIME": ["05:06:07.5"],
    "UUID": ["bbd05ae7-58cc-4372-a567-0e02b2c3d479"],
    "TINYINT": [-128, 127],
    "INTERVAL": ["1 month"],
    "STRUCT(a BIGINT)": [{"a": 1}, {}],
    "MAP(VARCHAR, BIGINT)": [{"a": 1}],
    "DATE[]": [["2026-03-04", None], []],
}
CHANGED = {
    "DECIMAL(10,2)": ["1.239", "007", 1e300, "NaN", "x", True, 123456789],
    "DATE": ["2026-03-04 05:06:07", "05-11-2025", "2026-02-30", "2026-3-4"],
    "TIMESTAMP": ["2026-03-04 05:06:07.1234567", "2026-03-04T05:06:07+02:00", "2026-03-04 24:00"],
    "TIMESTAMP_NS": ["2026-03-04 05:06:07.1234567891"],
    "TIME": ["05:06:07.1234567", "2026-03-04 05:06:07", "infinity"],
    "UUID": ["BBD05AE7-58CC-4372-A567-0E02B2C3D479"],
    "TINYINT": [300, -129],
    "STRUCT(a BIGINT)": [{"a": 1, "b": 2}, {"a": 1.7}],
    "MAP(VARCHAR, BIGINT)": [{"a": 1.7}],
    "DATE[]": [["2026-03-04", "05-11-2025"]],
}


def of(table):
    return [(kind, value) for kind, values in table.items() for value in values]


@pytest.fixture
def column(tmp_path):
    """A file with one row, and a column `v` of a type."""

    def made(kind):
        with duckdb.connect() as connection:
            connection.execute(
                f"COPY (SELECT 'old' AS id, NULL::{kind} AS v) TO '{tmp_path}/out.parquet'"
            )

    return made


@pytest.mark.parametrize(("kind", "value"), of(KEPT))
def test_a_column_of_a_file_takes_what_it_keeps(column, put, source, sink, kind, value):
    column(kind)
    assert sink("out.parquet").refusal({"id": "new", "v": value}) == ""
    assert put("out.parquet", [{"id": "new", "v": value}]) == (1, 0, 0, 0)
    held = {row["id"]: row["v"] for row in source("out.parquet").rows()}["new"]
    again = put("out.parquet", [{"id": "new", "v": held}])
    assert again == (0, 0, 1, 0)


@pytest.mark.parametrize(("kind", "value"), of(CHANGED))
def test_a_column_of_a_file_refuses_what_it_would_change(column, put, tmp_path, kind, value):
    column(kind)
    before = (tmp_path / "out.parquet").read_bytes()
    with pytest.raises(UserError, match=r"out\.parquet: column 'v' .*cannot hold"):
        put("out.parquet", [{"id": "new", "v": value}])
    assert (tmp_path / "out.parquet").read_bytes() == before


def test_an_upsert_leaves_the_values_of_other_rows_as_they_are(tmp_path, put, source):
    with duckdb.connect() as connection:
        connection.execute(
            "COPY (SELECT 'k' AS id, TIMESTAMP_NS '2026-03-04 05:06:07.123456789' AS ns, "
            "'infinity'::DATE AS never, INTERVAL '1 month' AS wait, 'a' AS text "
            f"UNION ALL SELECT 'x', NULL, NULL, NULL, 'b') TO '{tmp_path}/out.parquet'"
        )
    first, _ = source("out.parquet").rows()
    assert put("out.parquet", [{"id": "x", "text": "c"}]) == (0, 1, 0, 0)
    assert next(iter(source("out.parquet").rows())) == first
    assert first["ns"] == "2026-03-04 05:06:07.123456789"


def test_a_file_in_a_folder_with_a_name_and_a_value(tmp_path, put, source):
    (tmp_path / "id=7").mkdir()
    rows = [{"id": "1", "year": "a"}, {"id": "2", "year": "b"}]
    assert put("id=7/o.parquet", rows) == (2, 0, 0, 0)
    assert put("id=7/o.parquet", rows) == (0, 0, 2, 0)
    assert list(source("id=7/o.parquet").rows()) == rows


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("TIMESTAMP WITH TIME ZONE", "2026-03-04 05:06:07+25"),
        ("TIMESTAMP WITH TIME ZONE", "2026-03-04 05:06:07+02:75"),
        ("TIMESTAMP WITH TIME ZONE", "0001-01-01 00:00:00+05"),
        ("TIMESTAMP WITH TIME ZONE", "9999-12-31 23:00:00-05"),
        ("DATE", "2020-01-01.5"),
        ("TIMESTAMP", "2020-01-01.5"),
    ],
)
def test_a_text_that_is_no_moment_is_refused(kind, text):
    assert not holds_exactly(text, kind)
    assert holds_exactly("2020-01-01", kind)


SPELLINGS = {
    "TIMESTAMP": ["2026-03-04T05:06:07", "2026-03-04 05:06:07", "2026-03-04 05:06:07.0"],
    "TIMESTAMP WITH TIME ZONE": ["2026-03-04 05:06:07", "2026-03-04T05:06:07Z",
                                 "2026-03-04T07:06:07+02:00", "2026-03-04 05:06:07+0000"],
    "TIME": ["05:06", "05:06:00"],
    "TIMESTAMP[]": [["2026-03-04T05:06:07"], ["2026-03-04 05:06:07"]],
    "STRUCT(x INTEGER)": [{}, {"x": None}],
}  # fmt: skip


@pytest.mark.parametrize("kind", SPELLINGS)
def test_another_spelling_of_the_same_value_is_no_change(column, put, kind):
    column(kind)
    first, *others = SPELLINGS[kind]
    assert put("out.parquet", [{"id": "new", "v": first}]) == (1, 0, 0, 0)
    for value in (first, *others):
        assert put("out.parquet", [{"id": "new", "v": value}]) == (0, 0, 1, 0)
    if kind != "STRUCT(x INTEGER)":
        later = ["2027-01-01 00:00:00"] if kind.endswith("[]") else "2027-01-01 00:00:00"
        later = "06:00" if kind == "TIME" else later
        assert put("out.parquet", [{"id": "new", "v": later}]) == (0, 1, 0, 0)


@pytest.mark.parametrize("mode", ["upsert", "append"])
def test_a_file_without_rows_has_no_known_types(tmp_path, source, sink, put, mode):
    rows = [{"id": 1, "n": 1.5, "l": [1], "o": {"a": 1}, "t": "x"}]
    sink("out.parquet", mode, run="a", examples=[dict.fromkeys(rows[0])]).commit()
    assert types(tmp_path / "out.parquet") == dict.fromkeys(rows[0], "VARCHAR")
    opened = sink("out.parquet", mode, run="b", examples=rows)
    opened.check()
    assert opened.refusal(rows[0]) == ""
    assert put("out.parquet", rows, mode=mode) == (1, 0, 0, 0)
    assert list(source("out.parquet").rows()) == rows
    assert types(tmp_path / "out.parquet")["n"] == "DOUBLE"
    with pytest.raises(UserError, match="column 'n' is DOUBLE"):
        put("out.parquet", [{"id": 2, "n": "x"}], mode=mode)


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [
        (None, 5, "BIGINT"),
        (None, [1.5], "DOUBLE[]"),
        ([], [2], "BIGINT[]"),
        ([], ["x"], "VARCHAR[]"),
    ],
)
def test_a_column_without_values_gets_the_type_of_the_first_values(
    tmp_path, source, put, first, second, kind
):
    put("out.parquet", [{"id": 1, "v": first}])
    put("out.parquet", [{"id": 2, "v": None}])  # the type is still unknown
    assert put("out.parquet", [{"id": 3, "v": second}]) == (1, 0, 0, 0)
    assert types(tmp_path / "out.parquet")["v"] == kind
    assert [row["v"] for row in source("out.parquet").rows()] == [first, None, second]


def test_the_declared_type_of_a_column_without_values_stays(tmp_path, put):
    schema = {"properties": {"v": {"type": "string"}}}
    put("out.parquet", [{"id": 1, "v": None}], schema=schema)
    with pytest.raises(UserError, match="column 'v' is VARCHAR and cannot hold 5"):
        put("out.parquet", [{"id": 2, "v": 5}])


def test_a_file_of_another_program_keeps_the_types_of_empty_columns(tmp_path, put):
    duckdb.sql("SELECT 1 AS id, NULL::VARCHAR AS v").write_parquet(str(tmp_path / "out.parquet"))
    with pytest.raises(UserError, match="column 'v' is VARCHAR and cannot hold 5"):
        put("out.parquet", [{"id": 2, "v": 5}])
