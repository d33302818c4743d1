"""A file of an evaluator, checked without running it."""

import pytest

from loomgit.errors import UserError
from loomgit.evaluators.function_check import check_function
from loomgit.evaluators.user_defined import load_function
from tests.repos import write

GOOD = {
    "a function": "def score(output, record):\n    return 1.0\n",
    "a coroutine": "async def score(output, record):\n    return 1.0\n",
    "with defaults": "def score(output, record, more=1, *, other=2):\n    return 1.0\n",
    "any arguments": "def score(*args, **rest):\n    return 1.0\n",
    "in a condition": "import sys\nif sys:\n    def score(a, b):\n        return 1.0\n",
    "after an exception": (
        "try:\n    import nowhere\nexcept ImportError:\n    def score(a, b):\n        return 1.0\n"
    ),
    "in a match": "match 1:\n    case 1:\n        def score(a, b):\n            return 1.0\n",
    "assigned": "score = lambda output, record: 1.0\n",
    "assigned in a tuple": "score, other = (lambda a, b: 1.0), 2\n",
    "imported": "from beside import score\n",
    "imported with others": "from beside import *\n",
    "a class": "class score:\n    def __init__(self, output, record):\n        pass\n",
    "made on demand": "def __getattr__(name):\n    return lambda a, b: 1.0\n",
    "decorated": (
        "import functools\n\n\ndef twice(f):\n    return lambda a, b: 1.0\n\n\n"
        "@twice\ndef score(only):\n    return 1.0\n"
    ),
}
BAD = {
    "no function": ("def scores(a, b):\n    return 1.0\n", "did you mean 'scores'"),
    "one argument": ("def score(a):\n    return 1.0\n", "too many positional arguments"),
    "three arguments": ("def score(a, b, c):\n    return 1\n", "missing a required argument: 'c'"),
    "another keyword": ("def score(a, b, *, c):\n    return 1.0\n", "'c'"),
    "not Python": ("def score(a, b:\n", "own.py:1: SyntaxError"),
    "no text": ("\0", "SyntaxError"),
    "a module that is not there": ("import nowhere\n\n\ndef score(a, b): ...\n",
                                  "own.py:1: ModuleNotFoundError: No module named 'nowhere'"),
    "a part of one": ("from nowhere.deep import a\n\n\ndef score(a, b): ...\n", "'nowhere'"),
    "a local one": ("def other():\n    def score(a, b): ...\n", "no function score"),
}  # fmt: skip


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD)
def test_what_can_be_loaded_is_accepted(tmp_path, text):
    write(tmp_path, {"own.py": text, "beside.py": "def score(a, b):\n    return 1.0\n"})
    check_function("own.py:score", tmp_path)
    load_function("own.py:score", tmp_path)


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_loaded_is_refused_in_the_same_words(tmp_path, text, message):
    write(tmp_path, {"own.py": text})
    said = []
    for check in (check_function, load_function):
        with pytest.raises(UserError) as found:
            check("own.py:score", tmp_path)
        said.append(f"{found.value.message} {found.value.hint}")
    assert message in said[0]
    assert said[0] == said[1]


def test_nothing_runs(tmp_path):
    marker = tmp_path / "ran"
    text = f"open({str(marker)!r}, 'w')\n\n\ndef score(a, b):\n    return 1.0\n"
    write(tmp_path, {"own.py": text, "beside.py": "raise SystemExit\n"})
    check_function("own.py:score", tmp_path)
    assert not marker.exists()
