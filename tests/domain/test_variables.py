"""The variables of a pipeline file and those of the command line."""

from datetime import UTC, datetime

import pytest

from loomgit.domain.utc import parse_date
from loomgit.domain.variables import GivenValues, merge_variables, parse_assignment
from loomgit.errors import UserError


def test_given_values_replace_and_extend_the_defaults():
    defaults = {"lang": "en", "n": 4, "since": None}
    assert merge_variables(defaults, {}) == defaults
    merged = merge_variables(defaults, {"lang": "de", "new": "x", "since": "2026-01-01"})
    assert merged == {"lang": "de", "n": 4, "since": "2026-01-01", "new": "x"}


@pytest.mark.parametrize(
    ("default", "text", "value"),
    [(4, "5", 5), (4, "0.5", 0.5), (0.5, "1", 1), (True, "false", False), (False, "True", True),
     ("4", "5", "5"), (None, "5", "5")],
)  # fmt: skip
def test_a_text_gets_the_type_of_its_default(default, text, value):
    merged = merge_variables({"x": default}, {"x": text})["x"]
    assert (merged, type(merged)) == (value, type(value))


@pytest.mark.parametrize(
    ("default", "text", "words"),
    [
        (4, "five", "must be a number, not 'five'"),
        (True, "five", "must be true or false"),
        *((4, text, "must be a number") for text in
          ("nan", "inf", "-Infinity", "1e999", "9" * 30, "9" * 5000, "1_000", "007", "", "true")),
    ],
)  # fmt: skip
def test_a_text_of_another_type_is_an_error(default, text, words):
    with pytest.raises(UserError, match=f"the variable 'x' {words}"):
        merge_variables({"x": default}, {"x": text})


def test_a_command_line_replaces_single_values_of_a_test_file():
    file = GivenValues({"lang": "en", "n": 3}, datetime(2025, 11, 1, tzinfo=UTC))
    line = GivenValues({"n": "5", "new": "x"})
    both = file.replaced_by(line)
    assert both == GivenValues({"lang": "en", "n": 5, "new": "x"}, file.execution_date)
    later = datetime(2026, 1, 1, tzinfo=UTC)
    assert file.replaced_by(GivenValues({}, later)).execution_date == later
    with pytest.raises(UserError, match="'n' must be a number"):
        file.replaced_by(GivenValues({"n": "many"}))


@pytest.mark.parametrize(
    ("text", "pair"), [("a=b", ("a", "b")), ("a=", ("a", "")), ("a=b=c", ("a", "b=c"))]
)
def test_an_assignment_has_a_name_and_a_value(text, pair):
    assert parse_assignment(text) == pair


@pytest.mark.parametrize("text", ["a", "=b", "a b=c", "1=2", ""])
def test_other_text_is_not_an_assignment(text):
    with pytest.raises(UserError, match="is not of the form name=value"):
        parse_assignment(text)


@pytest.mark.parametrize(
    ("text", "hour"),
    [("2025-11-01", 0), ("2025-11-01T12:00:00", 12), ("2025-11-01T12:00:00Z", 12),
     ("2025-11-01T12:00:00+02:00", 10)],
)  # fmt: skip
def test_a_date_is_in_utc(text, hour):
    assert parse_date(text) == datetime(2025, 11, 1, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2025-13-01", "20251101", "0001-01-01T00:00:00+10:00"]
)
def test_other_text_is_not_a_date(text):
    with pytest.raises(ValueError, match="is not a date"):
        parse_date(text)
