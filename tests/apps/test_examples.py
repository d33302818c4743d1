import pytest
from msgspec.structs import replace

from loomgit.apps.examples import AppExample, is_equal, make_example, measure, missed_targets
from loomgit.domain.apps import AppExecution, AppSettings

SETTINGS = AppSettings(
    "spam-detector-001",
    "Spam",
    "Find spam",
    {"type": "object", "properties": {"text": {"type": "string"}, "size": {"type": "integer"}}},
    {"type": "string"},
)
OK = AppExecution("1", "spam-detector-001", "v1", "ok", "spam", {}, "", 2.0, "landlock", "now")


def test_the_fields_of_the_schema_are_the_input():
    row = {"id": "7", "text": "12", "size": "3", "label": "spam"}
    assert make_example(row, "label", SETTINGS, texts=True) == AppExample(
        {"text": "12", "size": 3}, "spam", labelled=True
    )
    assert make_example(row, "kind", SETTINGS, texts=True) == AppExample({"text": "12", "size": 3})
    assert make_example({"size": "x"}, "label", SETTINGS, texts=True).input == {"size": "x"}
    assert make_example({"size": "3"}, "label", SETTINGS, texts=False).input == {"size": "3"}


def test_without_properties_all_fields_but_the_label_are_the_input():
    settings = replace(SETTINGS, input_schema={}, output_schema={"type": ["number", "null"]})
    found = make_example({"a": "1", "label": "0.5"}, "label", settings, texts=True)
    assert found == AppExample({"a": "1"}, 0.5, labelled=True)


def figures(examples, executions):
    return measure(examples, executions, file="e.csv", sha256="0", validated_at="now")


def test_the_figures_count_failed_executions_as_wrong():
    labels = ("spam", "ham", "spam", "spam")
    examples = [AppExample({}, label, labelled=True) for label in labels]
    failed = replace(OK, status="error", output=None, latency_ms=9000.0)
    found = figures(examples, [OK, OK, failed, replace(OK, latency_ms=4.0, isolation="none")])
    assert (found.examples, found.failed, found.accuracy) == (4, 1, 0.5)
    assert found.low < 0.5 < found.high
    assert found.p50_ms == 2.0
    assert 3.5 < found.p95_ms < 4.0
    assert found.isolation == "none"  # the weakest of the executions
    assert figures([AppExample({})], [OK]).accuracy is None
    nothing = figures(examples[:1], [failed])
    assert (nothing.accuracy, nothing.p50_ms, nothing.p95_ms) == (0.0, None, None)


@pytest.mark.parametrize(
    ("targets", "missed"),
    [
        ({}, ["1 of 2 examples have no valid output"]),
        ({"accuracy_target": 0.5}, []),
        ({"accuracy_target": 0.9}, ["accuracy 50.00% is below accuracy_target 90.00%"]),
        ({"accuracy_target": 0.5, "latency_target_ms": 2}, []),
        ({"accuracy_target": 0.5, "latency_target_ms": 1.5}, ["p95 latency 2.00 ms is above"]),
    ],
)
def test_targets(targets, missed):
    found = figures(
        [AppExample({}, "spam", labelled=True)] * 2,
        [OK, replace(OK, status="timeout", output=None)],
    )
    reasons = missed_targets(replace(SETTINGS, **targets), found)
    assert len(reasons) == len(missed)
    assert all(map(str.startswith, reasons, missed))


def test_an_accuracy_target_needs_labels():
    found = figures([AppExample({})], [OK])
    assert missed_targets(replace(SETTINGS, accuracy_target=0.5), found) == [
        "the accuracy is unknown, because the examples have no labels"
    ]


def test_a_latency_target_needs_a_latency():
    found = figures([AppExample({}, "spam", labelled=True)], [replace(OK, status="died")])
    settings = replace(SETTINGS, accuracy_target=0.0, latency_target_ms=1)
    assert missed_targets(settings, found) == [
        "no example has a latency, because all of them failed"
    ]


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1.0, True),
        (True, 1, False),
        (0, False, False),
        (True, True, True),
        ("a", "a", True),
        (None, None, True),
        (None, False, False),
        ([1, {"a": 2}], [1.0, {"a": 2}], True),
        ([1], [1, 2], False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"b": 1}, False),
        ([1], {"0": 1}, False),
    ],
)
def test_equal_values(a, b, equal):
    assert is_equal(a, b) is equal
    assert is_equal(b, a) is equal
