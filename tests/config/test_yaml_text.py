"""Text -> Document: places, templates, limits, and no crash whatever is written."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.config.document import UnquotedScalar, describe
from loomgit.config.front_matter import parse_front_matter
from loomgit.config.pipelines import parse_pipeline
from loomgit.config.project_files import decode
from loomgit.config.settings_model import parse_settings
from loomgit.config.suites import parse_suite
from loomgit.config.yaml_text import parse_yaml
from loomgit.domain.place import Place
from loomgit.errors import ProblemsFound


def at(line, column):
    return Place("f", line, column)


def fault(text):
    with pytest.raises(ProblemsFound) as caught:
        parse_yaml(text, "f")
    (problem,) = caught.value.problems
    return f"{problem.place.line}:{problem.place.column}: {problem.message}"


def test_keys_and_items_have_their_places():
    document = parse_yaml("# top\na:\n  - b: 1\n    c: [x,  y]\nd: {e: f}\n", "f")
    assert document.tree == {"a": [{"b": "1", "c": ["x", "y"]}], "d": {"e": "f"}}
    assert document.keys == {
        (): at(2, 1),
        ("a",): at(2, 1),
        ("a", 0): at(3, 5),
        ("a", 0, "b"): at(3, 5),
        ("a", 0, "c"): at(4, 5),
        ("a", 0, "c", 0): at(4, 9),
        ("a", 0, "c", 1): at(4, 13),
        ("d",): at(5, 1),
        ("d", "e"): at(5, 5),
    }


def test_what_the_file_lacks_stands_where_its_parent_stands():
    document = parse_yaml("a: {b: 1}\n", "f")
    assert document.place(("a", "b", "c", 0)) == at(1, 5)
    assert document.place(("x",)) == at(1, 1)


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("a: text", at(1, 4)),
        ("a: 'text'", at(1, 5)),
        ('a: "text"', at(1, 5)),
        ("a: |\n\n   text\n", at(2, 1)),
        ("a: >-\n    text\n", at(2, 5)),
        ("é: text", at(1, 4)),
        ("a: {{ text }}", at(1, 4)),
    ],
)
def test_texts_begin_behind_their_marks(written, place):
    assert parse_yaml(written, "f").text_place(("a",) if written[0] == "a" else ("é",)) == place


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("a: {{ docs }}", "{{ docs }}"),
        ("a: {{docs}}   # why", "{{ docs }}"),
        ("a: [{{ docs }}, x]", ["{{ docs }}", "x"]),
        ("a:\n  - {{ docs }}\n  - x", ["{{ docs }}", "x"]),
        ("a: {b: {{ docs }}}", {"b": "{{ docs }}"}),
        ("a: &t {{ docs }}\nb: *t", "{{ docs }}"),
        ('a: "{{ docs }}"', "{{ docs }}"),
        ("a: '{{docs}}'", "{{docs}}"),
        ("a: |\n  {{ docs }}\n  {x: {{ y }}}\n", "{{ docs }}\n{x: {{ y }}}\n"),
        ("a: >\n  {{ docs }}\n", "{{ docs }}\n"),
        ("a: x {{ docs }} y", "x {{ docs }} y"),
        ("a: x # {{ docs }}", "x"),
        ("a: {b: {c: }}", {"b": {"c": ""}}),
        ("a: {{ 'docs' }}", {}),
    ],
)
def test_a_template_without_quotes_is_text_and_nothing_else_is_touched(written, value):
    assert parse_yaml(written, "f").tree["a"] == value


def test_what_follows_a_template_keeps_its_place():
    document = parse_yaml("a: {b: {{ docs }}, c: d}\ne: f\n", "f")
    assert document.keys["a", "c"] == at(1, 20)
    assert document.keys[("e",)] == at(2, 1)


def test_scalars_stay_text_and_know_whether_they_had_quotes():
    tree = parse_yaml("a: 2024-07-18\nb: 'on'\nc: on\nd: 1e3\ne: !!str 5\nf: |-\n  5\n", "f").tree
    assert tree == {"a": "2024-07-18", "b": "on", "c": "on", "d": "1e3", "e": "5", "f": "5"}
    plain = [key for key, value in tree.items() if isinstance(value, UnquotedScalar)]
    assert plain == ["a", "c", "d"]


def test_an_alias_repeats_a_value_in_its_place():
    document = parse_yaml("a: &x {b: 1}\nc: *x\nd: [*x]\n", "f")
    assert document.tree == {"a": {"b": "1"}, "c": {"b": "1"}, "d": [{"b": "1"}]}
    assert document.problems == ()
    assert document.keys["c", "b"] == at(1, 8)


def test_a_bomb_of_aliases_does_not_go_off():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 30):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    assert fault("\n".join(lines)).endswith("aliases make this file too large")


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "{{"])
def test_nesting_without_end_is_a_fault(opening):
    assert "nested deeper than 64 levels" in fault(f"a:\n  {opening * 100_000}")


def test_nesting_that_people_write_is_none():
    text = "a: " + "[" * 60 + "]" * 60
    assert parse_yaml(text, "f").problems == ()


def test_a_file_may_be_all_comments_where_that_is_allowed():
    assert parse_yaml("# nothing\n---\n", "f", may_be_empty=True).tree == {}


def test_a_lone_byte_is_found_on_its_line():
    with pytest.raises(ProblemsFound) as caught:
        decode("a: ä\nb: x".encode() + b"\xff\n", "f")
    assert str(caught.value) == (
        "f:2:5: not UTF-8: byte 0xff at offset 10\nhint: save the file as UTF-8"
    )


def test_utf_16_is_not_read_as_if_it_were_text():
    with pytest.raises(ProblemsFound, match="f:1:1: not UTF-8"):
        decode("name: a".encode("utf-16"), "f")


@pytest.mark.parametrize("broken", ["a: \ud800", "a: \x00", "\x1b[1m", "a: b\x7f", "\ufffe"])
def test_characters_that_no_file_holds(broken):
    assert "a YAML file cannot contain the character U+" in fault(broken)


def test_long_texts_are_cut_in_messages():
    assert describe(UnquotedScalar("x" * 1000)) == f"'{'x' * 37}...'"
    assert describe("a\n  b") == "the text 'a b'"


PARSERS = (parse_pipeline, parse_suite, parse_settings, parse_front_matter)
WORDS = st.sampled_from(
    [
        *("name", "extract", "source", "transform", "prompt", "load", "destination", "evaluate"),
        *("evaluators", "type", "config", "schema", "output", "context", "key", "quality_gate"),
        *("pipeline", "unit_tests", "input", "distributional_tests", "steps", "defaults"),
        *("models", "connections", "channels", "regex", "pattern", "contains", "json_schema"),
        *("threshold", "fallback", "value", "a.csv", "0.5", "{{ x }}", "$ref", "7d", "null"),
        *("${X", "statistical", "regression", "semantic", "ai", "rag", "[a", "samples"),
    ]
)
PIECES = st.one_of(
    WORDS, st.sampled_from([": ", "\n", "\n  ", "\n- ", "{", "}", "[", "]", ", ", "&a ", "*a", "'"])
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


def read(parse, text):
    """Read `text`; anything but a value or ProblemsFound is a crash."""
    try:
        parse(text, "f")
    except ProblemsFound as found:
        lines = text.count("\n") + text.count("\r") + text.count("\x85") + 2  # front matter's mark
        lines += text.count("\u2028") + text.count("\u2029")
        for problem in found.problems:
            assert 1 <= problem.place.line <= lines
            assert problem.place.column >= 1
            assert "Input should" not in problem.message
            assert "\n" not in problem.message


@given(st.text())
@settings(deadline=None)
def test_no_text_crashes_a_parser(text):
    for parse in PARSERS:
        read(parse, text)


@given(st.lists(PIECES, max_size=40).map("".join))
@settings(max_examples=80, deadline=None)
def test_no_text_that_looks_like_yaml_crashes_a_parser(text):
    for parse in PARSERS:
        read(parse, text)


@given(st.dictionaries(WORDS, VALUES, max_size=6))
@settings(max_examples=80, deadline=None)
def test_no_values_in_the_wrong_places_crash_a_parser(tree):
    text = yaml.safe_dump(tree, allow_unicode=True)
    for parse in PARSERS:
        read(parse, text)


@given(st.dictionaries(st.text(min_size=1, max_size=5), VALUES, min_size=1, max_size=4))
@settings(deadline=None)
def test_every_key_stands_where_its_place_says(tree):
    text = yaml.safe_dump(tree, allow_unicode=True, width=10_000)
    lines = text.splitlines()
    document = parse_yaml(text, "f")
    for path, place in document.keys.items():
        if path and str(path[-1]).isidentifier():
            assert str(path[-1]) in lines[place.line - 1][place.column - 1 :]
