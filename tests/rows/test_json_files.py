"""JSON and JSON lines files as sources."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loomgit.errors import UserError
from loomgit.rows.json_files import is_same_data


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
        (
            "a.jsonl",
            b'{"id":1}\n[1]\n',
            "a.jsonl:2: expected an object, found an array",
            "per line",
        ),
        ("a.jsonl", b'{"id":NaN}\n', "a.jsonl:1:7: not JSON", "write null"),
        ("a.jsonl", '{"id":1}'.encode("utf-16"), "a.jsonl:1:1: not JSON", "UTF-16"),
        ("a.json", b'[\n{"id":1},\n{"id" 2}]', "a.json:3:7: not JSON", ""),
        ("a.json", b'{"id":1}\n{"id":2}', "a.json:2:1: not JSON", "rename it to .jsonl"),
        ("a.json", b'[{"id":1}, 7]', "item 2 is a number, not an object", ""),
        ("a.json", b"3", "a.json: expected an array of objects, found a number", ""),
        ("a.json", b" ", "a.json: is empty", "array of objects"),
    ],
)
def test_what_is_no_object_is_named_with_its_place(tmp_path, source, name, raw, message, hint):
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(UserError) as caught:
        list(source(name).rows())
    assert message in caught.value.message
    assert hint in (caught.value.hint or "")


def nested(levels):
    return b'{"d":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"id": 18446744073709551616}', "the integer 18446744073709551616 has more than 64 bits"),
        (b'{"a": [{"b": -9223372036854775809}]}', "-9223372036854775809 has more than 64 bits"),
        (b'{"a": ' + b"1" * 5000 + b"}", "the integer 111"),
        (b'{"a": 1e400}', "the number 1e400 is too large"),
        (b'{"id": 1, "id": 2}', "has the key 'id' twice in one object"),
        (b'{"a": [{"b": 1, "\\u0062" : 1}]}', "has the key 'b' twice in one object"),
        (b'{"a": "\\ud800"}', "holds an unpaired surrogate (\\ud800)"),
        (b'{"\\udc00": 1}', "holds an unpaired surrogate (\\udc00)"),
        (nested(201), "nests 201 levels deep, more than 200"),
        (nested(300), "nests 300 levels deep, more than 200"),
        (nested(20000), "nests 20,000 levels deep, more than 200"),
    ],
)
def test_a_row_that_cannot_be_kept_exactly_is_refused_alone(tmp_path, source, raw, reason):
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 1}\n' + raw + b'\n{"id": 2}\n')
    (tmp_path / "a.json").write_bytes(b'[\n{"id": 1}\n,' + raw + b',\n{"id": 2}]')
    (tmp_path / "one.json").write_bytes(raw)
    for name, line in (("a.jsonl", 2), ("a.json", 3)):
        first, refused, last = source(name).rows()
        assert (first, last) == ({"id": 1}, {"id": 2})
        assert refused.place == f"{name}:{line}"
        assert reason in refused.reason
        assert refused.text == raw.decode()
    (refused,) = source("one.json").rows()
    assert refused.place == "one.json:1"


@pytest.mark.parametrize(
    ("raw", "row"),
    [
        (b'{"a": 18446744073709551615}', {"a": 2**64 - 1}),
        (b'{"a": -9223372036854775808}', {"a": -(2**63)}),
        (b'{"a": "98765432109876543210"}', {"a": "98765432109876543210"}),
        (b'{"a": ": x", "b": "\\":"}', {"a": ": x", "b": '":'}),
        (b'{"a": "\\ud83d\\ude00"}', {"a": "😀"}),
        (b'{"a": [{"b": 1}, {"b": 2}]}', {"a": [{"b": 1}, {"b": 2}]}),
        (b'{"a": "' + b"[" * 900 + b'"}', {"a": "[" * 900}),
        (b'{"a": 0.1234567890123456789}', {"a": 0.1234567890123456789}),
        (nested(200), orjson.loads(nested(200))),
    ],
)
def test_a_row_at_a_limit_is_kept(tmp_path, source, raw, row):
    (tmp_path / "a.jsonl").write_bytes(raw)
    (tmp_path / "a.json").write_bytes(b"[" + raw + b"]")
    assert list(source("a.jsonl").rows()) == [row]
    assert list(source("a.json").rows()) == [row]


@pytest.mark.parametrize(
    "raw", [b'{"a": 18446744073709551616', b'{"a": NaN, "a": 1}', nested(300)[:-1]]
)
def test_text_that_is_not_json_ends_the_reading_whatever_else_it_holds(tmp_path, source, raw):
    (tmp_path / "a.jsonl").write_bytes(b'{"id": 1}\n' + raw)
    (tmp_path / "a.json").write_bytes(b"[" + raw + b"]")
    for name in ("a.jsonl", "a.json"):
        with pytest.raises(UserError, match="not JSON"):
            list(source(name).rows())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=50)
@given(json_values)
def test_a_value_is_the_same_as_itself_and_not_the_same_inside_a_list(value):
    assert is_same_data(value, value)
    assert not is_same_data(value, [value])


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
    assert is_same_data(old, new) is answer
