import json

import pytest

from loomgit.apps.execution_lines import hash_of, render_line
from loomgit.domain.apps import AppExecution

INPUT = {"text": "Call Ada at +49 30 123456"}
DONE = AppExecution(
    "1",
    "spam-detector-001",
    "v1",
    "ok",
    "from Ada",
    {"reason": "Ada wrote it"},
    "",
    0.5,
    "none",
    "now",
)
FAILED = AppExecution(
    "2", "spam-detector-001", "v1", "error", None, {}, "KeyError: 'Ada'", 0.5, "none", "now"
)
KEYS = {"execution_id", "version", "latency_ms", "status", "isolation", "timestamp"}


@pytest.mark.parametrize("privacy", ["strict", "balanced"])
@pytest.mark.parametrize("execution", [DONE, FAILED])
def test_no_part_of_an_input_or_output_is_in_a_line_of_hashes(privacy, execution):
    line = render_line(execution, INPUT, privacy)
    assert "Ada" not in json.dumps(line)
    assert line.keys() == KEYS | {"input_hash", "output_hash"}
    assert line["input_hash"] == hash_of(INPUT)
    assert line["output_hash"] == (hash_of("from Ada") if execution is DONE else None)


def test_a_permissive_line_has_everything():
    line = render_line(DONE, INPUT, "permissive")
    assert line.keys() == KEYS | {"input", "output", "details", "error"}
    assert (line["input"], line["output"]) == (INPUT, "from Ada")
    assert render_line(FAILED, INPUT, "permissive")["error"] == "KeyError: 'Ada'"


def test_equal_inputs_have_equal_hashes():
    assert hash_of({"a": 1, "b": [2]}) == hash_of({"b": [2], "a": 1})
    assert hash_of({"a": 1}) != hash_of({"a": "1"})
