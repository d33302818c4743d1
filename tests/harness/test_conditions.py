"""What a condition says of one reply."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.samples import Judgement
from loomgit.domain.user_regex import SearchTimeout
from loomgit.harness.assertions import Answer, decide, equal, show_number, values_in
from loomgit.harness.value_lookup import values_of_sample
from tests.harness.replies import case, condition, reply, unusable

OUTPUT = {
    "label": "spam",
    "confidence": 0.8,
    "count": 3,
    "urgent": True,
    "calm": False,
    "tags": ["a", "b"],
    "items": [{"price": 5}],
    "note": None,
    "number_text": "0.9",
    "date": "2024-07-18",
}


def answer(text, **more):
    return finding(text, **more).answer


def finding(text, sample=None, **more):
    sample = sample or reply(output=OUTPUT, **more)
    return decide(condition(text), values_of_sample(case("a", sample), sample))


@pytest.mark.parametrize(
    "text",
    [
        "output.label == 'spam'",
        "output.confidence >= 0.8",
        "output.count == 3.0",
        "output.count in [1, 3]",
        "output.urgent and not output.calm",
        "output.urgent == true and output.urgent != 1",
        "output.label contains 'pa'",
        "output.tags contains 'a' and output.tags not contains 'c'",
        "'b' in output.tags and 'price' in output.items.0",
        "output.items.0.price == 5",
        "output.label matches '^s.am$'",
        "output.label not matches 'h'",
        "output.count matches '^[0-9]$'",
        "output.note == null",
        "output.nothing == null and output.label != null",
        "output.date > '2024-01-01' and output.date < '2025'",
        "0.5 < evaluation_score < 0.95",
        "score.quality > 0.5 and passed",
        "cost < 0.01 and latency <= 1",
        "input.review contains 'love' and output contains 'love'",
        "input.review != output.label",
        "output.label == 'ham' or output.count > 2",
        "output.label not in ['ham', 'eggs']",
        "'sp' in output.label and output.label in 'spammer'",
    ],
)
def test_it_holds(text):
    assert answer(text) is Answer.YES
    assert answer(f"not ({text})") is Answer.NO


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("output.lable == 'spam'", "output has no 'lable'; did you mean 'label'?"),
        ("output.items.1.price > 1", "output.items has no '1'; it is a list of length 1"),
        ("output.label.x == 1", "output.label has no 'x'; it has no parts"),
        ("output.number_text > 0.5",
         "output.number_text is the text '0.9', which cannot be compared with the number 0.5"),
        ("output.note > 1", "output.note is null, which cannot be compared with the number 1"),
        ("output.count contains 'x'", "output.count is the number 3, neither a text nor a list"),
        ("output.label", "output.label is the text 'spam', neither true nor false"),
        ("score.tone > 0.5", "unknown evaluator 'tone'; the evaluators: quality"),
        ("input.rating > 3", "input has no 'rating'"),
    ],
)  # fmt: skip
def test_what_the_reply_lacks_makes_neither_it_nor_its_opposite_hold(text, reason):
    for negated in (text, f"not ({text})"):
        found = finding(negated)
        assert found.answer is Answer.ABSENT
        assert reason in found.reasons[0]


@pytest.mark.parametrize(
    ("text", "more", "reason"),
    [
        ("cost < 1", {"cost": None}, "the price of m is unknown"),
        ("latency < 1", {"latency": None, "cached": True}, "the reply came from the cache"),
    ],
)
def test_what_nobody_measured_is_not_held_against_the_reply(text, more, reason):
    found = finding(text, **more)
    assert found.answer is Answer.UNMEASURED
    assert reason in found.reasons[0]
    assert answer(f"{text} or passed", **more) is Answer.YES
    assert answer(f"{text} and output.label == 'ham'", **more) is Answer.NO
    assert answer(f"{text} and output.nothing > 1", **more) is Answer.ABSENT
    assert answer(f"{text} or output.nothing > 1", **more) is Answer.UNMEASURED


def test_a_reply_that_cannot_be_used_scores_0_and_has_no_output():
    for text in ("evaluation_score == 0", "score.quality == 0", "score.any == 0", "not passed"):
        assert finding(text, unusable()).answer is Answer.YES
    found = finding("output.label == 'spam'", unusable())
    assert (found.answer, found.reasons) == (Answer.ABSENT, ("the reply is not JSON",))


def test_a_judge_that_failed_is_told_from_one_that_could_not_judge():
    for infrastructure, expected in ((True, Answer.UNMEASURED), (False, Answer.ABSENT)):
        judged = {"tone": Judgement(None, "timeout", infrastructure=infrastructure)}
        found = finding("score.tone > 0.5", judgements=judged)
        assert (found.answer, found.reasons) == (expected, ("tone failed: timeout",))


def test_a_reply_that_nothing_judges_has_no_score():
    found = finding("evaluation_score > 0", score=None)
    assert found.answer is Answer.ABSENT
    assert "no evaluators" in found.reasons[0]


def test_a_regular_expression_that_hangs_is_given_up():
    with pytest.raises(SearchTimeout, match="took longer than"):
        finding("output.label matches '(x+x+)+y'", reply(output={"label": "x" * 5000}))


def test_the_values_behind_an_answer_are_shown():
    sample = reply(output=OUTPUT)
    facts = values_of_sample(case("a", sample), sample)
    assert values_in(condition("output.label == 'ham'"), facts) == "'spam'"
    assert values_in(condition("cost < 1 and output.x == 'y'"), facts) == (
        "cost 0.001, output.x absent"
    )


@pytest.mark.parametrize(
    ("value", "limit", "shown"),
    [(0.87, 0.75, "0.87"), (0.7496, 0.75, "0.7496"), (1.0, 0.75, "1.00"), (100, 95, "100"),
     (0.00042, 0.5, "0.00042"), (float("inf"), 5, "infinite"), (0.0, 0.05, "0.00"),
     (0.1234, None, "0.12"), (97, None, "97")],
)  # fmt: skip
def test_numbers_have_as_many_digits_as_it_takes(value, limit, shown):
    assert show_number(value, limit) == shown


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(json, json)
def test_equality_is_an_equality(a, b):
    assert equal(a, a)
    assert equal(a, b) == equal(b, a)
    assert not equal(True, 1)
    assert equal([1, {"x": 2}], [1.0, {"x": 2.0}])
