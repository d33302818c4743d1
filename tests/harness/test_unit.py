"""Unit tests: what is expected, how many replies must pass, what may be missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.harness.unit import is_decided, judge
from tests.harness.replies import case, lost, reply, unit_test, unusable


def result(keys, *samples, **options):
    return judge(unit_test(keys), case("unit::t", *samples), **options)


def verdict(keys, *samples, **options):
    return result(keys, *samples, **options).verdict


def lines(found):
    return [(check.text, check.verdict, check.actual) for check in found.checks]


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        ("sentiment: positive", True),
        ("sentiment: Positive", False),
        ("confidence: 0.80", True),
        ("min_confidence: 0.8, max_confidence: 0.8", True),
        ("min_confidence: 0.81", False),
        ("max_confidence: 0.79", False),
        ("count: 3", True),
        ("count: '3'", False),
        ("address: {city: Rome, min_zip: 100}", True),
        ("address: {city: Rome, max_zip: 100}", False),
        ("address: {town: Rome}", False),
        ("tags: [a, b]", True),
        ("tags: [b, a]", False),
        ("Sentiment: positive", False),
        ("missing: null, note: null", True),
        ("missing: 1", False),
        ("min_missing: 1", False),
        ("min_sentiment: 1", False),
        ("min_price: 5", True),
        ("min_price: 6", False),
        ("flag: true", True),
        ("flag: 1", False),
    ],
)
def test_expected_fields_bound_or_equal_those_of_the_output(expected, holds):
    output = {
        "sentiment": "positive", "confidence": 0.8, "count": 3.0, "tags": ["a", "b"],
        "address": {"city": "Rome", "zip": 118, "street": "x"}, "note": None,
        "min_price": 5, "flag": True,
    }  # fmt: skip
    found = verdict(f"expected: {{{expected}}}", reply(output=output))
    assert found == ("pass" if holds else "fail")


def test_min_x_is_a_field_of_its_own_only_where_there_is_no_x():
    both = reply(output={"min_price": 5, "price": 7})
    assert verdict("expected: {min_price: 6}", both) == "pass"


def test_what_is_there_for_an_evaluator_alone_is_not_asked_of_the_output():
    keys = "expected: {expected_sentiment: positive}"
    assert lines(result(keys, reply())) == [("passes the quality gate", "pass", "passed")]
    assert verdict(keys, reply(output={"expected_sentiment": "x"})) == "fail"


def test_each_line_has_the_value_that_was_found():
    keys = (
        "expected: {sentiment: negative, min_confidence: 0.9}, assertions: [evaluation_score > 0.9]"
    )
    assert lines(result(keys, reply(score=0.72))) == [
        ("sentiment == 'negative'", "fail", "'positive'"),
        ("confidence >= 0.9", "fail", "0.80"),
        ("evaluation_score > 0.9", "fail", "0.72"),
    ]


def test_a_silent_test_asks_for_the_pipelines_own_gate():
    assert verdict("", reply(score=0.9)) == "pass"
    found = result("", reply(score=0.2, failure="quality 0.20 < 0.70"))
    assert found.verdict == "fail"
    assert found.checks[0].note == "quality 0.20 < 0.70"


def test_a_test_that_speaks_does_not_ask_for_the_gate():
    assert verdict("assertions: [evaluation_score > 0.1]", reply(score=0.2)) == "pass"


def test_a_reply_that_cannot_be_used_fails_whatever_is_asked():
    found = result("assertions: [cost < 1]", unusable())
    assert found.verdict == "fail"
    assert found.checks[0].text == "the reply is usable"
    assert found.checks[0].note == "the reply is not JSON"


def test_so_many_of_so_many_replies_must_pass():
    keys = "expected: {sentiment: positive}, samples: 5, min_pass: 4"
    bad = {"output": {"sentiment": "negative"}}
    ones = [reply(i) for i in range(4)]
    assert verdict(keys, *ones, reply(4, **bad)) == "pass"
    found = result(keys, *ones[:3], reply(3, **bad), reply(4, **bad))
    assert found.verdict == "fail"
    assert lines(found) == [
        ("sentiment == 'positive'", "fail", "'negative'; holds in 3 of 5"),
        ("4 of 5 replies pass", "fail", "3 of 5"),
    ]
    assert "2.3% of the time" in found.checks[1].note
    assert [sample.index for _, sample in found.failures] == [3, 4]


def test_without_min_pass_all_must_pass():
    assert verdict("samples: 2", reply(0), reply(1, score=0.1)) == "fail"


@given(st.lists(st.booleans(), min_size=5, max_size=5), st.integers(1, 5))
def test_stopping_once_decided_changes_no_verdict(passes, min_pass):
    test = unit_test(f"samples: 5, min_pass: {min_pass}")
    samples = [reply(i, 0.9 if ok else 0.1) for i, ok in enumerate(passes)]
    whole = judge(test, case("t", *samples)).verdict
    drawn = 0
    while not is_decided(test, case("t", *samples[:drawn])):
        drawn += 1
    assert judge(test, case("t", *samples[:drawn])).verdict == whole
    assert whole == ("pass" if sum(passes) >= min_pass else "fail")
    assert drawn <= 5


def test_replies_beyond_those_asked_for_do_not_count():
    assert verdict("samples: 1", reply(0), reply(1, score=0.1)) == "pass"
    assert verdict("samples: 1", reply(0, score=0.1), reply(1)) == "fail"


def test_nothing_to_be_had_is_unverified_and_says_why():
    for trouble in ("infrastructure", "unrecorded"):
        found = result("expected: {sentiment: positive}", lost(trouble=trouble))
        assert found.verdict == "unverified"
        assert "429 Too Many Requests" in found.message
        assert [check.verdict for check in found.checks] == ["unverified"]


def test_too_many_lost_replies_are_an_error():
    keys = "samples: 4, min_pass: 4"
    assert verdict(keys, reply(0), reply(1), reply(2), lost(3)) == "error"
    assert verdict(keys, reply(0), reply(1), lost(2, "unrecorded"), reply(3)) == "unverified"


def test_lost_replies_do_not_matter_where_the_others_decide():
    assert verdict("samples: 4, min_pass: 2", reply(0), lost(1), reply(2)) == "pass"
    assert verdict("samples: 2, min_pass: 2", lost(0), reply(1, score=0.1)) == "fail"


def test_few_lost_replies_leave_it_to_the_rest():
    keys = "samples: 20, min_pass: 19, max_error_rate: 0.1"
    replies = [*(reply(i) for i in range(18)), reply(18, score=0.1), lost(19)]
    assert verdict(keys, *replies) == "fail"  # 18 of 19 is less than 19 of 20
    fewer = "samples: 20, min_pass: 18, max_error_rate: 0.1"
    found = result(fewer, *(reply(i) for i in range(17)), reply(17, score=0.1),
                   reply(18, score=0.1), lost(19))  # fmt: skip
    assert (found.verdict, found.checks[-1].weak) == ("fail", True)
    assert found.message == "1 of 20 replies are missing"
    open_ = [*(reply(i) for i in range(18)), lost(18), lost(19)]
    assert verdict("samples: 20, max_error_rate: 0.1", *open_) == "pass"
    for how, expected in (("warn", "inconclusive"), ("fail", "fail"), ("point", "pass")):
        keys = f"samples: 20, max_error_rate: 0.1, on_inconclusive: {how}"
        assert verdict(keys, *open_) == expected
    assert verdict("samples: 20, max_error_rate: 0.1", *open_, strict=True) == "fail"


def test_what_was_not_measured_is_unverified_not_failed():
    cached = reply(latency=None, cached=True)
    assert verdict("assertions: [latency < 2]", cached) == "unverified"
    assert verdict("assertions: [latency < 2, cost > 1]", cached) == "fail"
    assert verdict("assertions: [latency < 2, cost < 1]", cached) == "unverified"


def test_a_pattern_that_hangs_is_an_error():
    slow = reply(output={"x": "x" * 5000})
    test = unit_test("assertions: [\"output.x matches '(x+x+)+y'\"]")
    assert judge(test, case("t", slow)).verdict == "error"
    assert is_decided(test, case("t", slow))


def test_the_result_has_the_mean_score():
    assert result("samples: 2", reply(0, 0.9), reply(1, 0.8)).score == pytest.approx(0.85)
