"""Regular expressions of users: what is refused, and when a search is given up."""

import time

import pytest

from loomgit.domain.user_regex import InvalidPattern, SearchTimeout, check_pattern, matches


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [("^a+$", "aaa", True), ("b", "aaa", False), ("[[a]", "a", True), (r"\d{2,3}", "x42", True),
     ("", "x", True), ("(?i)LOVE", "i love it", True)],
)  # fmt: skip
def test_a_pattern_is_searched_anywhere(pattern, text, found):
    check_pattern(pattern)
    assert matches(pattern, text) is found


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "missing )"),
        ("a" * 501, "longer than 500 characters"),
        ("((a{1000}){1000}){1000}", "its repeats expand to 1,000,000,000 copies"),
        ("(?:a{1,9999}){1,9999}", "its repeats expand to"),
        ("a{9999999999}", "its repeats expand to"),
        ("*", "nothing to repeat"),
    ],
)
def test_what_is_no_pattern_or_too_large_is_refused_at_once(pattern, reason):
    begin = time.monotonic()
    with pytest.raises(InvalidPattern, match=reason.replace("(", r"\(").replace(")", r"\)")):
        check_pattern(pattern)
    assert time.monotonic() - begin < 30  # building it would take memory and minutes


def test_a_search_that_explodes_is_given_up():
    begin = time.monotonic()
    with pytest.raises(SearchTimeout, match="took longer than 0.5 s"):
        matches("(x+x+)+y", "x" * 5000)
    assert time.monotonic() - begin < 60  # and not for the age of the universe
