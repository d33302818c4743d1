import pytest

from loomgit.apps.program_source import find_source_problem


@pytest.mark.parametrize(
    "source",
    [
        "def execute(input_data):\n    return 1\n",
        "def execute(input_data, limit=3): return 1\n",
        "def execute(*values): return 1\n",
        "execute = lambda value: 1\n",
        "from rules import execute\n",
        "from rules import classify as execute\n",
        "from rules import *\n",
        "try:\n    from fast import execute\nexcept ImportError:\n    def execute(v): return 1\n",
        "if True:\n    def execute(value): return 1\n",
        b"# coding: latin-1\ndef execute(v): return '\xe9'\n",
        "\ufeffdef execute(v): return 1\n",
        "x = '\\d'\ndef execute(v): return 1\n",  # a warning of the compiler
    ],
)
def test_programs(source):
    assert (
        find_source_problem(source if isinstance(source, bytes) else source.encode(), "p.py")
        is None
    )


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("", "p.py:1:1: defines no function execute(input_data)"),
        ("def classify(x): return 1\n", "p.py:1:1: defines no function execute(input_data)"),
        ("class A:\n    def execute(self): ...\n", "p.py:1:1: defines no function"),
        ("def execute(: pass\n", "p.py:1:13: not Python: invalid syntax"),
        ("x = 1\ndef execute(): return 1\n", "p.py:2:1: execute must take one argument"),
        ("def execute(a, b): return 1\n", "p.py:1:1: execute must take one argument"),
        ("def execute(a, *, b): return 1\n", "p.py:1:1: execute must take one argument"),
        ("async def execute(a): return 1\n", "p.py:1:1: execute is a coroutine function"),
        ("class execute: pass\n", "p.py:1:1: execute is a class"),
        ("def execute(a):\n\treturn 1\n        return 2\n", "not Python"),
        ("(" * 5000, "not Python"),
        ("def execute(a): return 1\0", "not Python"),
        (b"\xff\xfe", "not Python"),
    ],
)
def test_what_is_no_program(source, shown):
    source = source if isinstance(source, bytes) else source.encode()
    assert shown in str(find_source_problem(source, "p.py"))
