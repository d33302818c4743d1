"""User-defined evaluators: functions in files of the project, and functions of plugins.

The function receives the output and the fields of the record. It returns a score in [0, 1], or a
tuple of a score and a reason. The function may be `async`. A function that is not `async` runs on
the event loop, so it should return quickly.
"""

from __future__ import annotations

import copy
import importlib.util
import inspect
import math
import os
import sys
import traceback
from contextlib import contextmanager
from importlib.machinery import PathFinder
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from loomgit.domain.keys import digest
from loomgit.domain.records import EvaluatorFailure, Score
from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType

    from loomgit.domain.records import EvaluationInput

ENTRY_POINT_GROUP = "loomgit.evaluators"
SIGNATURE = "Loom calls it as function(output, record)"


class UserEvaluator:
    """Scores outputs with a user's function, and converts exceptions to EvaluatorFailure."""

    waits = True

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        self._name = name
        self._function = function

    async def score(self, subject: EvaluationInput) -> Score:
        """Call the user's function with copies of the output and the record.

        The copies ensure that the function cannot change the rows that the pipeline loads. Raises
        EvaluatorFailure if the function raises an exception or returns an invalid score.
        """
        output, record = copy.deepcopy(subject.output), copy.deepcopy(dict(subject.input))
        try:
            result = self._function(output, record)
            if inspect.isawaitable(result):
                result = await result
        except EvaluatorFailure:
            raise
        except (Exception, SystemExit) as error:  # user code may raise any exception
            line = _line_suffix(error, _file_of(self._function))
            raise EvaluatorFailure(f"{self._name}{line}: {describe(error)}") from error
        return self._to_score(result)

    def _to_score(self, result: object) -> Score:
        value, reason = result if isinstance(result, tuple) and len(result) == 2 else (result, "")
        if not isinstance(value, int | float) or not isinstance(reason, str):
            raise EvaluatorFailure(
                f"{self._name} returned {type(result).__name__}; "
                "it must return a number in [0, 1], or a tuple of a number and a reason"
            )
        if math.isnan(value) or not 0.0 <= value <= 1.0:
            raise EvaluatorFailure(f"{self._name} returned {value:g}; a score must be in [0, 1]")
        return Score(float(value), reason or f"{self._name} returned {float(value):g}")


def _file_of(function: Callable[..., object]) -> str | None:
    """Return the source file of a function. The result is None for a `partial`, for example."""
    try:
        return inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        return None


def plugin_names() -> frozenset[str]:
    """Return the names of the evaluators that installed plugins provide."""
    return frozenset(point.name for point in entry_points(group=ENTRY_POINT_GROUP))


def load_plugin(name: str) -> UserEvaluator | None:
    """Load the plugin evaluator `name`. Return None if no installed package has this evaluator.

    Raises UserError if the plugin cannot be imported, or if its function has a wrong signature.
    """
    for point in entry_points(group=ENTRY_POINT_GROUP, name=name):
        try:
            function = point.load()
        except Exception as error:  # importing a package may raise any exception
            raise UserError(f"evaluator '{name}' ({point.value}): {describe(error)}") from error
        _check_signature(f"{name} ({point.value})", function)
        return UserEvaluator(name, function)
    return None


def load_function(type_: str, root: Path) -> UserEvaluator:
    """Load the evaluator `path/to/file.py:function` of the project at `root`.

    Raises UserError if the file does not exist, is outside the project or cannot be imported, or if
    it has no function with this name that takes two arguments.
    """
    path, _, name = type_.rpartition(":")
    file = find_file(path, root)
    module = _import(file, path, root)
    function = getattr(module, name, None)
    if not callable(function):
        functions = [other for other, value in vars(module).items() if inspect.isfunction(value)]
        raise no_function(path, name, functions)
    _check_signature(type_, function)
    return UserEvaluator(type_, function)


def find_file(path: str, root: Path) -> Path:
    """Return the absolute path of an evaluator's file. `path` is relative to the project.

    Raises UserError if the file does not exist or is outside the project at `root`.
    """
    file = (root / path).resolve()
    if not file.is_relative_to(root.resolve()):
        raise UserError(
            f"{path} is outside the project",
            hint="move the file into the project; evaluators are versioned with the project",
        )
    if not file.is_file():
        raise UserError(f"{path}: no such file", hint="write the path relative to the project")
    return file


def no_function(path: str, name: str, functions: list[str]) -> UserError:
    """Return the error for a file without the function `name`. The hint names other functions."""
    available = f"it has: {', '.join(functions)}" if functions else "it has no functions"
    return UserError(
        f"{path} has no function {name}", hint=did_you_mean(name, functions) or available
    )


def _import(file: Path, path: str, root: Path) -> ModuleType:
    name = f"loom_evaluator_{digest(str(file))[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look modules up in sys.modules
    try:
        with _importable(root):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may raise any exception
        del sys.modules[name]
        raise UserError(f"{path}{_line_suffix(error, str(file))}: {describe(error)}") from error
    return module


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Make the modules of the project at `root` importable inside the `with` block.

    One process may evaluate two revisions of a project, whose modules have the same names in
    different folders. Therefore, loaded modules of the other revision are removed from
    `sys.modules` inside the block, and restored after it.
    """
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    hidden_names = {
        name for name in _top_level_names(root) & sys.modules.keys() if _is_from_other_tree(name)
    }
    hidden_modules = _loaded_modules(hidden_names)
    for name in hidden_modules:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.path.remove(str(root))
        for name in _loaded_modules(hidden_names):
            del sys.modules[name]
        sys.modules.update(hidden_modules)


def _top_level_names(root: Path) -> set[str]:
    return {path.stem for path in root.iterdir()} - {"__main__", *sys.builtin_module_names}


def _loaded_modules(packages: set[str]) -> dict[str, ModuleType]:
    """Return the loaded modules that belong to `packages`, as a map from full name to module."""
    return {
        name: module for name, module in sys.modules.items() if name.partition(".")[0] in packages
    }


def _is_from_other_tree(package: str) -> bool:
    """Whether a module of the package was loaded from a file that an import would not load now."""
    return any(_has_other_file(name, module) for name, module in _loaded_modules({package}).items())


def _has_other_file(name: str, module: ModuleType) -> bool:
    file: str | None = getattr(module, "__file__", None)
    spec = _find_spec(name)
    # If this revision has no submodule `name`, the loaded one comes from another revision.
    if spec is None:
        return file is not None and "." in name
    if file is None or spec.origin is None:  # a namespace package, which has no `__init__.py`
        return file != spec.origin
    return os.path.realpath(file) != os.path.realpath(spec.origin)


def _find_spec(name: str) -> ModuleSpec | None:
    """Return the spec of the module that an import would find, or None. Ignores loaded modules."""
    parent = name.rpartition(".")[0]
    if not parent:
        return PathFinder.find_spec(name)
    package = _find_spec(parent)
    if package is None or package.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, list(package.submodule_search_locations))


def _check_signature(name: str, function: Callable[..., object]) -> None:
    try:
        inspect.signature(function).bind("output", {})
    except TypeError as error:
        raise UserError(f"{name}: {error}", hint=SIGNATURE) from error
    except ValueError:
        return  # a C function may have no signature; wrong parameters cause an error at the call


def describe(error: BaseException) -> str:
    """Return the type and the text of an error, on one line."""
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _line_suffix(error: BaseException, file: str | None) -> str:
    """Return `:line` of the innermost traceback frame in `file`, or "" if `file` has no frame."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f":{lines[-1]}" if lines else ""
