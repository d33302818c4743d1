import pytest

from loomgit.training.text_classifier import (
    MAX_CHARACTERS,
    character_terms,
    number_of,
    step_terms,
    text_of,
    word_terms,
)


def test_words_pairs_capitals_and_the_length_are_terms():
    assert word_terms("WIN £100, Bob 7!") == [
        *("win", "£", "000", ",", "bob", "7", "!"),
        *("win £", "£ 000", "000 ,", ", bob", "bob 7", "7 !"),
        *("<capitals>", "<length 16+>"),
    ]
    assert word_terms("") == ["<length 0+>"]


def test_characters_of_a_spaced_text_are_terms():
    assert character_terms("A  b") == [
        *(" ", "a", " ", "b", " "),
        *(" a", "a ", " b", "b "),
        *(" a ", "a b", " b "),
        *(" a b", "a b "),
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("ﬁne", "fine"),
        (None, ""),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        ("\ud800", "?"),
        ("x" * (MAX_CHARACTERS + 1), "x" * MAX_CHARACTERS),
    ],
)
def test_any_value_becomes_a_text(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (7, 7.0),
        (True, 1.0),
        (" -1.5e3 ", -1500.0),
        ("1e99", 1e99),
        ("1e999", None),
        ("1_000", None),
        ("٣", None),
        ("nan", None),
        (float("inf"), None),
        ("", None),
        (None, None),
        ([1], None),
    ],
)
def test_numbers_are_recognized(value, number):
    assert number_of(value) == number


def test_a_number_has_a_term_for_each_step_that_it_reaches():
    assert step_terms(2, [1.0, 2.0, 3.0]) == [">= 1", ">= 2"]
    assert step_terms(0, [1.0]) == []
    assert step_terms("x", [1.0]) == ["<missing>"]
