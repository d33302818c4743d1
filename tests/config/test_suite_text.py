"""Adding a unit test to the text of a test file."""

import pytest

from loomgit.config.suite_text import NewUnitTest, add_unit_test, render_new_suite
from loomgit.config.suites import parse_suite
from loomgit.errors import ProblemsFound, UserError

RECORD = {"id": "r-1", "text": 'He said: "no"  # really\nthen left', "stars": 3, "vip": False}
NEW = NewUnitTest("new", ("Rejected by run 1: low",), RECORD, {"label": "a: b"})
END = """\
distributional_tests:
  - {name: cost, type: cost_budget, max_cost: 1}
"""


def added(text, test=NEW):
    """Return the result, after a check that it contains all lines of the original in order."""
    result = add_unit_test(text, "tests/x_test.yaml", test)
    lines = iter(result.splitlines())
    kept = [line for line in text.splitlines() if "unit_tests" not in line or "- " in line]
    assert all(line in lines for line in kept)
    suite = parse_suite(result, "tests/x_test.yaml")
    assert (suite.unit_tests[-1].name, suite.unit_tests[-1].input) == (test.name, test.input)
    return result


@pytest.mark.parametrize(
    "text",
    [
        "pipeline: p\n" + END,
        "pipeline: p\nunit_tests: []  # later\n" + END,
        "pipeline: p\nunit_tests:\n" + END,
        "pipeline: p\nunit_tests: ~\n" + END,
        f"{END}pipeline: p\nunit_tests:\n  - {{name: a, input: {{x: 1}}}}",
        f"pipeline: p\nunit_tests:\n- name: a\n  input: {{x: 1}}\n# costs\n{END}",
        f"pipeline: p\n\nunit_tests:\n  - name: a  # first\n    input: {{x: 1}}\n\n{END}",
        f"pipeline: p\nunit_tests:\n    # all\n    - name: a\n      input:\n        x: |\n"
        f"          two\n          # lines\n    # - name: off\n\n# costs\n{END}",
        f"# c\n---\npipeline: p\nunit_tests:\n  - &a\n    name: a\n    input: {{x: 1}}\n{END}...\n",
        f"\ufeffpipeline: p\nunit_tests:\n  -   name: a\n      input: {{x: é}}\n{END}",
    ],
)
def test_a_test_is_added_and_all_other_lines_stay(text):
    result = added(text)
    twice = added(result, NewUnitTest("newer", (), {}))
    assert [each.name for each in parse_suite(twice, "x").unit_tests][-2:] == ["new", "newer"]


def test_the_line_ends_of_the_file_are_used():
    result = added(
        f"pipeline: p\nunit_tests:\n- name: a\n  input: {{x: 1}}\n{END}".replace("\n", "\r\n")
    )
    assert result.count("\n") == result.count("\r\n")


def test_items_are_separated_as_in_the_file():
    dense = "pipeline: p\nunit_tests:\n  - {name: a, input: {}}\n  - {name: b, input: {}}\n"
    assert "\n\n" not in added(dense)
    assert "\n\n  - name:" in added(dense.replace("\n  - {name: b", "\n\n  - {name: b"))


@pytest.mark.parametrize(
    "value",
    [
        *(
            "null",
            "true",
            "1",
            "1.0",
            "2026-01-01",
            "",
            " a ",
            "- a",
            "{{ x }}",
            "a\u2028b",
            "\x00",
        ),
        *("\x7f\x85\ufeff\ufffe", "😀", "\t", "\\n", "'", '"', "a\r\nb", "x" * 5000),
        *(0, -1, 1.0, 1e16, 1.5e-7, 1e300, 2**63 - 1, True, None, [], {}, [1, {"a": None}]),
    ],
)
def test_every_value_is_read_as_it_was(value):
    record = {"value": value, "deep": {"list": [value]}}
    result = added("pipeline: p\n" + END, NewUnitTest("new", (), record))
    (test,) = parse_suite(result, "x").unit_tests
    assert repr(test.input) == repr(record)  # 1 is neither 1.0 nor true


@pytest.mark.parametrize("name", ["null", "a b", "a: b", "#a", "", "é", "y", "1", "<<", "?"])
def test_every_field_name_is_read_as_it_was(name):
    added("pipeline: p\n" + END, NewUnitTest("new", (), {name: "x"}, {name: "y"}))


@pytest.mark.parametrize(
    "text",
    [
        "pipeline: p\nunit_tests: [{name: a, input: {x: 1}}]\n",
        "{pipeline: p, unit_tests: [{name: a, input: {x: 1}}]}\n",
        "pipeline: p\nunit_tests: [\n]\n" + END,
        "pipeline: p\nunit_tests: &a []\n" + END,
        "pipeline: p\nunit_tests:\n  - name: a\n    input:\n      x: |+\n        y\n\n\n",
    ],
)
def test_a_file_of_another_form_is_refused(text):
    with pytest.raises(UserError, match=r"x_test\.yaml: cannot add"):
        added(text)


def test_an_invalid_file_is_refused():
    with pytest.raises(ProblemsFound):
        add_unit_test("pipeline: p\n", "x", NEW)


@pytest.mark.parametrize("pipeline", ["p", "a-b", "1"])
def test_a_new_file_has_one_test(pipeline):
    suite = parse_suite(render_new_suite(pipeline, NEW), "x")
    assert (suite.pipeline, suite.unit_tests[0].input) == (pipeline, RECORD)
