"""Text that is nested too deeply for the parsers."""

import orjson
import pytest

from loomgit.domain.exact_json import NotExactError, parse_exact


@pytest.mark.parametrize("text", ["[" * 500_000, '{"a":' * 100_000, "[" * 5000 + "]" * 4999])
def test_deep_text_that_is_not_json_is_refused_as_such(text):
    with pytest.raises(orjson.JSONDecodeError):
        parse_exact(text.encode())


def test_deep_json_is_refused_with_its_depth():
    with pytest.raises(NotExactError, match="nests 5,000 levels deep"):
        parse_exact(b"[" * 5000 + b"]" * 5000)


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\r"])
def test_a_repeated_key_is_found_behind_white_space_before_a_colon(space):
    with pytest.raises(NotExactError):
        parse_exact(f'{{"a"{space}:1,"a":2}}'.encode())
