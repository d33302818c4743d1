import math

import pytest

from loomgit.domain.training import LabelledExample
from loomgit.errors import UserError
from loomgit.training.example_checks import check_fields, parse_label


@pytest.mark.parametrize("label", [None, "", [], {}, ["x"], math.nan, math.inf])
def test_a_label_that_no_program_can_return_is_an_error(label):
    with pytest.raises(UserError, match="^f:3: the label"):
        parse_label(label, "f:3")


@pytest.mark.parametrize("label", ["x", " ", "a\nb", 0, 1, 1.5, True, False, "\ud800", 10**30])
def test_texts_numbers_and_booleans_are_labels(label):
    assert parse_label(label, "") is label


def test_a_whole_number_is_an_integer():
    assert type(parse_label(1.0, "")) is int


@pytest.mark.parametrize("value", [[], ["a"], {}, {"a": 1}])
def test_a_list_or_an_object_is_no_text(value):
    example = LabelledExample({"text": value}, "x", "data.jsonl:3")
    with pytest.raises(UserError, match=r"^data\.jsonl:3: the field 'text' is not a text"):
        check_fields(example, ["text"])
    check_fields(example, ["other"])
