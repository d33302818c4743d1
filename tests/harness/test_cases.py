"""Which cases a test file asks for, and what makes them the same."""

from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.place import Place
from loomgit.domain.records import Record
from loomgit.domain.suites import UnitCase
from loomgit.harness.cases import data_case, shuffled, unit_case, with_references

EXACT = EvaluatorSpec("label", "exact_match", config={"reference_field": "expected_sentiment"})


def unit(name="x", **parts):
    return UnitCase(name, Place("tests/x_test.yaml"), parts.pop("input", {"review": "a"}), **parts)


def identify(record):
    return f"key {record.input}", f"def {record.input}"


def records(*keys):
    return [Record(number, key, {"id": key}) for number, key in enumerate(keys)]


def test_a_unit_tests_question_is_also_what_it_expects():
    one = unit_case(unit(expected={"sentiment": "good", "score": 1}), [], identify)
    two = unit_case(unit(expected={"sentiment": "bad", "score": 1}), [], identify)
    same = unit_case(unit(expected={"score": 1, "sentiment": "good"}), [], identify)
    assert (one.id, one.definition) == ("unit::x", same.definition)
    assert one.key == two.key  # the same reply serves both
    assert one.definition != two.definition


def test_limits_are_no_part_of_a_unit_tests_question():
    cases = [
        unit_case(unit(expected={"sentiment": "good", **limit}), [], identify)
        for limit in ({}, {"min_confidence": 0.6}, {"min_confidence": 0.7, "max_words": 9})
    ]
    assert len({case.definition for case in cases}) == 1


def test_a_unit_tests_name_is_no_part_of_its_question():
    one, two = (unit_case(unit(name), [], identify) for name in ("x", "y"))
    assert (one.key, one.definition) == (two.key, two.definition)
    assert one.id != two.id


def test_reference_fields_come_from_what_is_expected():
    for expected in ({"expected_sentiment": "good"}, {"sentiment": "good"}):
        assert with_references(unit(expected=expected), [EXACT])["expected_sentiment"] == "good"
    plain = EvaluatorSpec("label", "exact_match", config={"reference_field": "sentiment"})
    assert with_references(unit(expected={"expected_sentiment": "a"}), [plain])["sentiment"] == "a"
    given_already = unit(input={"expected_sentiment": "own"}, expected={"sentiment": "other"})
    assert with_references(given_already, [EXACT])["expected_sentiment"] == "own"
    assert with_references(unit(expected={"other": 1}), [EXACT]) == {"review": "a"}
    missing = with_references(unit(expected={"sentiment": None}), [EXACT])
    assert missing["expected_sentiment"] is None


def test_a_records_case_is_its_own():
    (record,) = records("r-1")
    case = data_case(record, identify)
    assert (case.id, case.key, case.definition) == ("r-1", *identify(record))


@given(st.lists(st.text(st.characters(codec="utf-8")), unique=True, max_size=30), st.randoms())
def test_the_order_is_the_same_however_the_records_came(keys, random):
    other = list(keys)
    random.shuffle(other)
    ordered = shuffled(records(*keys))
    assert [r.key for r in ordered] == [r.key for r in shuffled(records(*other))]
    assert [r.index for r in ordered] == list(range(len(keys)))


def test_a_record_that_comes_or_goes_moves_no_other():
    keys = [f"r-{n}" for n in range(200)]
    ordered = [r.key for r in shuffled(records(*keys))]
    assert [r.key for r in shuffled(records(*keys[1:]))] == [k for k in ordered if k != "r-0"]
    assert ordered != keys
    first = {int(key[2:]) for key in ordered[:50]}
    assert 60 < sum(first) / 50 < 140  # the first of them are from everywhere
