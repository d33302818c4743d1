"""JSON and JSON lines files as sources."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.errors import UserError
from loomgit.rows.json_files import same


@pytest.mark.parametrize(
    ("name", "raw", "rows"),
    [
        (
            "a.jsonl",
            b'{"id":1}\n\n {"id":2,"t":{"a":[1]}}',
            [{"id": 1}, {"id": 2, "t": {"a": [1]}}],
        ),
        ("a.jsonl", b'\xef\xbb\xbf{"id":1}\r\n', [{"id": 1}]),
        ("a.jsonl", b"", []),
        ("a.json", b'[{"id":1},{"x":null}]', [{"id": 1}, {"x": None}]),
        ("a.json", b'{"id": 1}', [{"id": 1}]),
        ("a.json", b"[]", []),
    ],
)
def test_objects_are_rows(tmp_path, source, name, raw, rows):
    (tmp_path / name).write_bytes(raw)
    source(name).check()
    assert list(source(name).rows()) == rows


@pytest.mark.parametrize(
    ("name", "raw", "message", "hint"),
    [
        ("a.jsonl", b'{"id":1}\n{"id":\n', "a.jsonl:2:7: not JSON", ""),
        ("a.jsonl", b'{"id":1}\n[1]\n', "a.jsonl:2: an array where an object", "a line"),
        ("a.jsonl", b'{"id":NaN}\n', "a.jsonl:1:7: not JSON", "write null"),
        ("a.jsonl", '{"id":1}'.encode("utf-16"), "a.jsonl:1:1: not JSON", "UTF-16"),
        ("a.json", b'[\n{"id":1},\n{"id" 2}]', "a.json:3:7: not JSON", ""),
        ("a.json", b'{"id":1}\n{"id":2}', "a.json:2:1: not JSON", "name the file .jsonl"),
        ("a.json", b'[{"id":1}, 7]', "item 2 is a number, not an object", ""),
        ("a.json", b"3", "a.json: a number where an array of objects", ""),
        ("a.json", b" ", "a.json: is empty", "array of objects"),
    ],
)
def test_what_is_no_object_is_named_with_its_place(tmp_path, source, name, raw, message, hint):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UserError) as caught:
        list(source(name).rows())
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(json_values)
def test_a_value_is_the_same_as_itself_and_not_the_same_inside_a_list(value):
    assert same(value, value)
    assert not same(value, [value])


@pytest.mark.parametrize(
    ("old", "new", "answer"),
    [
        (1, 1.0, True),
        (1, True, False),
        ("1", 1, False),
        ([1, {"a": 0}], [1.0, {"a": False}], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        (None, 0, False),
    ],
)
def test_numbers_are_compared_by_value_and_never_with_truth(old, new, answer):
    assert same(old, new) is answer
