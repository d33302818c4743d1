"""Checks the source of a program without running it."""

from __future__ import annotations

import ast
import warnings
from typing import TYPE_CHECKING

from loomgit.domain.place import Place, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTION = "execute"
HINT = "write `def execute(input_data):`, which returns the output"


def find_source_problem(source: bytes, path: str) -> Problem | None:
    """Return the first problem in the source of a program, or None.

    A program is Python source with a function `execute` at the top level. `path` appears in the
    message.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning of the compiler is not a problem
            tree = ast.parse(source)
    except SyntaxError as error:
        place = Place(path, error.lineno or 1, error.offset or 1)
        return Problem(place, f"not Python: {error.msg}")
    except ValueError as error:
        return Problem(Place(path), f"not Python: {error}")
    except (RecursionError, MemoryError):
        return Problem(Place(path), "not Python: the code is nested too deeply")
    for name, node in _names(tree.body):
        if name == FUNCTION:
            return _signature_problem(node, path)
    return Problem(Place(path), f"defines no function {FUNCTION}(input_data)", HINT)


def _signature_problem(node: ast.stmt, path: str) -> Problem | None:
    place = Place(path, node.lineno, node.col_offset + 1)
    if isinstance(node, ast.AsyncFunctionDef):
        return Problem(place, f"{FUNCTION} is a coroutine function", "remove `async`")
    if isinstance(node, ast.ClassDef):
        return Problem(place, f"{FUNCTION} is a class, not a function", HINT)
    if isinstance(node, ast.FunctionDef):
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        required = len(positional) - len(arguments.defaults)
        keyword = sum(default is None for default in arguments.kw_defaults)
        accepts = len(positional) >= 1 or arguments.vararg is not None
        if not accepts or required > 1 or keyword:
            return Problem(place, f"{FUNCTION} must take one argument, the input", HINT)
    return None


def _names(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the names that statements bind, with the statement; the last binding comes first."""
    for node in reversed(body):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield FUNCTION if alias.name == "*" else (alias.asname or alias.name), node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                if isinstance(target, ast.Name):
                    yield target.id, node
        else:  # a definition inside `if` or `try`
            for field in ("orelse", "finalbody", "body"):
                inner = getattr(node, field, None)
                if isinstance(inner, list):
                    yield from _names(inner)
            for case in getattr(node, "handlers", []):
                yield from _names(case.body)
