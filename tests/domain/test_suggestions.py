import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.suggestions import did_you_mean, nearest

GATES = ("all_pass", "majority_pass", "any_pass", "weighted")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("all_pas", "all_pass"),
        ("majority", "majority_pass"),
        ("WEIGHTED", "weighted"),
        ("any-pass", "any_pass"),
        ("Any Pass", "any_pass"),
        ("wieghted", "weighted"),
    ],
)
def test_a_slip_finds_its_word(word, meant):
    assert nearest(word, GATES) == meant
    assert did_you_mean(word, GATES) == f"did you mean '{meant}'?"


@pytest.mark.parametrize("word", ["", "x", "zzzz", "42"])
def test_a_word_like_none_finds_none(word):
    assert nearest(word, GATES) is None
    assert did_you_mean(word, GATES) is None


@given(st.sampled_from(GATES), st.data())
def test_one_missing_letter_is_never_too_much(word, data):
    index = data.draw(st.integers(0, len(word) - 1))
    assert nearest(word[:index] + word[index + 1 :], GATES) == word


@given(st.text(max_size=300), st.lists(st.text(max_size=20)))
def test_what_is_found_is_one_of_the_options(word, options):
    found = nearest(word, options)
    assert found is None or found in options
