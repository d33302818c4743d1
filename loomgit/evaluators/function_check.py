"""Check user-defined evaluators statically: the code is parsed, but not run."""

from __future__ import annotations

import ast
import inspect
import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.evaluators.user_defined import SIGNATURE, describe, find_file, no_function

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_function(type_: str, root: Path) -> None:
    """Check the evaluator `path/to/file.py:function` of the project at `root` by reading its file.

    Raises UserError if the file is missing or is not Python, if it imports a module that is not
    installed, or if it has no function with this name that takes two arguments. A function that the
    code defines only at run time, for example with `globals()`, is reported as missing.
    """
    path, _, name = type_.rpartition(":")
    file = find_file(path, root)
    try:
        module = ast.parse(file.read_bytes(), filename=str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise UserError(f"{path}{f':{line}' if line else ''}: {describe(error)}") from error
    _check_imports(module, path, root)
    defined: dict[str, ast.stmt] = {}
    for statement in _statements(module.body):
        if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
            return  # a star import may define any name
        defined |= dict.fromkeys(_names(statement), statement)
    definition = defined.get(name)
    if definition is None and "__getattr__" not in defined:
        functions = [other for other, node in defined.items() if isinstance(node, _Function)]
        raise no_function(path, name, functions)
    if isinstance(definition, _Function) and not definition.decorator_list:
        _check_arguments(type_, definition.args)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that run on import, even inside `if`, `try`, `match` and loops."""
    for statement in body:
        yield statement
        if not isinstance(statement, _Function | ast.ClassDef):
            for field in ("body", "orelse", "finalbody"):
                yield from _statements(getattr(statement, field, ()))
            for part in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
                yield from _statements(part.body)


def _names(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement defines in the module."""
    if isinstance(statement, _Function | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        for alias in statement.names:
            yield alias.asname or alias.name.partition(".")[0]
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _check_imports(module: ast.Module, path: str, root: Path) -> None:
    """Raise UserError if an unconditional import names a module that is not installed.

    Imports inside `if`, `try` or functions are not checked.
    """
    for statement in module.body:
        if isinstance(statement, ast.Import):
            names = [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            names = [statement.module]
        else:
            continue
        for name in names:
            package = name.partition(".")[0]
            is_loaded = package in sys.modules or package in sys.builtin_module_names
            if not is_loaded and PathFinder.find_spec(package, [str(root), *sys.path]) is None:
                reason = f"No module named '{package}'"
                raise UserError(f"{path}:{statement.lineno}: ModuleNotFoundError: {reason}")


def _check_arguments(type_: str, arguments: ast.arguments) -> None:
    """Raise UserError if a function with these parameters cannot take two positional arguments."""
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    kind, parameters = inspect.Parameter, []
    for number, argument in enumerate(positional):
        default = kind.empty if number < required else None
        parameters.append(kind(argument.arg, kind.POSITIONAL_OR_KEYWORD, default=default))
    if arguments.vararg is not None:
        parameters.append(kind(arguments.vararg.arg, kind.VAR_POSITIONAL))
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        default = kind.empty if value is None else None
        parameters.append(kind(argument.arg, kind.KEYWORD_ONLY, default=default))
    try:
        inspect.Signature(parameters).bind("output", {})
    except TypeError as error:
        raise UserError(f"{type_}: {error}", hint=SIGNATURE) from error
