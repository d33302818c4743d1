"""The variables of a pipeline file and those of the command line."""

import pytest

from loomgit.domain.variables import merge_variables
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
