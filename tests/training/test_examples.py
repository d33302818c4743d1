import math

import pytest

from loomgit.domain.training import LabelledExample
from loomgit.errors import UserError
from loomgit.training.examples import check_fields, parse_examples, parse_label


def parsed(rows, **options):
    return list(parse_examples(rows, label_field="label", path="data.csv", **options))


def test_a_row_becomes_an_input_and_a_label_with_its_place():
    rows = [{"text": "a", "n": 1, "label": "x"}, {"text": "b", "label": "y"}]
    assert parsed(rows, lines=[2, 4]) == [
        LabelledExample({"text": "a", "n": 1}, "x", "data.csv:2"),
        LabelledExample({"text": "b"}, "y", "data.csv:4"),
    ]


def test_rows_without_line_numbers_are_counted():
    with pytest.raises(UserError, match=r"^data\.csv: row 2: the label is empty$"):
        parsed([{"label": "x"}, {"label": ""}])


def test_a_file_without_rows_is_an_error():
    with pytest.raises(UserError, match=r"^data\.csv: contains no examples$"):
        parsed([])


def test_a_missing_label_field_is_an_error_with_the_line_and_the_nearest_field():
    with pytest.raises(UserError, match=r"^data\.csv:7: the label field 'label'") as error:
        parsed([{"text": "a", "lable": "x"}], lines=[7])
    assert error.value.hint == "did you mean 'lable'?"


def test_the_labels_of_the_schema_are_the_only_ones():
    with pytest.raises(UserError, match=r'^data\.csv:2: .* the label "spma"$') as error:
        parsed([{"label": "spma"}], lines=[2], allowed_labels=["spam", "ham"])
    assert error.value.hint == "did you mean 'spam'?"


@pytest.mark.parametrize(
    ("text", "allowed", "label"),
    [("1", [0, 1], 1), ("true", [True, False], True), ("1", ["1", 1], "1"), ("0.5", [0.5, 1], 0.5)],
)
def test_a_text_of_a_csv_file_becomes_the_allowed_value(text, allowed, label):
    (example,) = parsed([{"label": text}], allowed_labels=allowed)
    assert example.label == label
    assert type(example.label) is type(label)


@pytest.mark.parametrize(("label", "allowed"), [(True, [0, 1]), (1, [True, False]), (2, [0, 1])])
def test_true_is_not_the_label_1(label, allowed):
    with pytest.raises(UserError, match="does not allow the label"):
        parsed([{"label": label}], allowed_labels=allowed)


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
