"""What SQLite keeps: checked against a real table of each affinity."""

import sqlite3
from decimal import Decimal, InvalidOperation

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loomgit.rows.sqlite_values import affinity, common_type, to_sqlite, value_type, would_change

DECLARED = ["INTEGER", "REAL", "NUMERIC", "TEXT", "BLOB", "", "VARCHAR(9)", "DOUBLE", "BOOLEAN"]
INTEGERS = [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 2**63, 2**64 - 1]
FLOATS = [0.5, 1.0, -0.0, 0.1 + 0.2, 1e16, 1e300, 5e-324]
TEXTS = ["007", "+1", "1.", ".5", "1e5", " 1", "1 ", "0x10", "1.50", "0.1", "99999999999999999999"]
VALUES = st.sampled_from([*INTEGERS, *FLOATS, *TEXTS]) | st.text("0123456789.-+e x", max_size=6)
VALUES |= st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**63), 2**64 - 1)


def kept(value, declared):
    """The value as a column of that type gives it back."""
    connection = sqlite3.connect(":memory:")
    connection.execute(f"CREATE TABLE t (x {declared})")
    connection.execute("INSERT INTO t VALUES (?)", (to_sqlite(value, affinity(declared)),))
    (found,) = connection.execute("SELECT x FROM t").fetchone()
    connection.close()
    return found


def number(value):
    """The value as an exact number, None for other text."""
    try:
        return Decimal(value if isinstance(value, str) else repr(value))
    except InvalidOperation:
        return None


@given(VALUES, st.sampled_from(DECLARED))
@example(9007199254740993, "REAL")
@example("007", "INTEGER")
@example(2**63, "INTEGER")
@example(0.30000000000000004, "TEXT")
def test_what_is_called_unchanged_has_the_same_value(value, declared):
    found = kept(value, declared)
    if not would_change(value, affinity(declared)):
        assert found == value or (number(found) == number(value) and number(value) is not None)


@pytest.mark.parametrize(
    ("value", "column"),
    [
        (2**53 + 1, "REAL"),
        (2**63, "INTEGER"),
        ("007", "INTEGER"),
        ("-0", "INTEGER"),
        ("1" * 5000, "INTEGER"),
        ("1e5", "NUMERIC"),
        (" 1", "REAL"),
        ("99999999999999999999", "INTEGER"),
        ("12345678901234567.5", "REAL"),
    ],
)
def test_what_a_column_would_change_is_told(value, column):
    assert would_change(value, column)


@pytest.mark.parametrize(
    ("value", "column"),
    [
        (2**53, "REAL"),
        (2**63, "TEXT"),
        ("1.50", "REAL"),
        ("1", "REAL"),
        ("abc", "INTEGER"),
        ("007", "TEXT"),
        (1.0, "INTEGER"),
        (True, "REAL"),
        (None, "REAL"),
        ({"a": "007"}, "REAL"),
    ],
)
def test_equal_numbers_and_text_are_no_change(value, column):
    assert not would_change(value, column)


@pytest.mark.parametrize(
    ("values", "declared"),
    [
        ([1, 2**60], ""),
        ([1, 0.5], ""),
        ([2**53 + 1, 0.5], ""),
        ([5, 2**64 - 1], ""),
        ([2**64 - 1], "TEXT"),
        (["a", "007"], "TEXT"),
        (["a", 1], ""),
        ([None], ""),
    ],
)
def test_the_type_of_a_new_column_keeps_all_values(values, declared):
    assert common_type({value_type(value) for value in values} - {""}) == declared
    assert [kept(value, declared) for value in values] == [to_sqlite(value) for value in values]
