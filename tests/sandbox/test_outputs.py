"""The rendering of outputs as JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.sandbox.outputs import OutputRefusedError, describe_size, render_output

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(VALUES)
def test_json_values_are_rendered_as_the_standard_library_does(value):
    text = render_output(value, 10**9)
    assert text.decode() == json.dumps(value, separators=(",", ":"))


def test_a_tuple_is_an_array():
    assert render_output({"a": (1, (2,))}, 100) == b'{"a":[1,[2]]}'


@pytest.mark.parametrize(
    "value", [{1}, b"a", object(), {"a": 1 + 2j}, [range(3)], {None: 1}, {True: 1}]
)
def test_other_values_are_refused(value):
    with pytest.raises(OutputRefusedError):
        render_output(value, 100)


def test_the_limit_counts_bytes_of_json():
    assert render_output("é", 8) == b'"\\u00e9"'
    with pytest.raises(OutputRefusedError, match="larger than 7 bytes"):
        render_output("é", 7)


@pytest.mark.parametrize(
    ("count", "text"),
    [(1, "1 bytes"), (1024, "1 KiB"), (1536, "1,536 bytes"), (512 * 1024**2, "512 MiB"),
     (2 * 1024**3, "2 GiB"), (3000, "3 KB"), (512 * 1000**2, "512 MB")],
)  # fmt: skip
def test_sizes_are_shown_in_the_largest_unit_that_divides_them(count, text):
    assert describe_size(count) == text
