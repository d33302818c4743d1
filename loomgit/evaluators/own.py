"""Evaluators that users write: a function in a file of the project, or one that a package offers.

The function takes the output and the record's fields and returns a score in [0, 1], or a score and
its reason. It may be `async`; one that is not runs on the event loop and should not wait.
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
from loomgit.domain.ports import EvaluatorFailure
from loomgit.domain.records import Score
from loomgit.domain.words import did_you_mean
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from importlib.machinery import ModuleSpec
    from pathlib import Path
    from types import ModuleType

    from loomgit.domain.records import Subject

GROUP = "loomgit.evaluators"
SIGNATURE = "it is called as function(output, record)"


class OwnEvaluator:
    """Judges with a user's function; whatever goes wrong in it becomes an EvaluatorFailure."""

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        self._name = name
        self._function = function

    async def score(self, subject: Subject) -> Score:
        """Call the function with copies, so that it cannot change what is loaded."""
        output, record = copy.deepcopy(subject.output), copy.deepcopy(dict(subject.input))
        try:
            result = self._function(output, record)
            if inspect.isawaitable(result):
                result = await result
        except EvaluatorFailure:
            raise
        except (Exception, SystemExit) as error:  # a user's code may raise anything
            where = _line(error, _file_of(self._function))
            raise EvaluatorFailure(f"{self._name}{where}: {describe(error)}") from error
        return self._read(result)

    def _read(self, result: object) -> Score:
        value, reason = result if isinstance(result, tuple) and len(result) == 2 else (result, "")
        if not isinstance(value, int | float) or not isinstance(reason, str):
            raise EvaluatorFailure(
                f"{self._name} returned {type(result).__name__}; a score is a number in [0, 1], "
                "or a pair of it and its reason"
            )
        if math.isnan(value) or not 0.0 <= value <= 1.0:
            raise EvaluatorFailure(f"{self._name} returned {value:g}; a score is in [0, 1]")
        return Score(float(value), reason or f"{self._name} returned {float(value):g}")


def _file_of(function: Callable[..., object]) -> str | None:
    """The file of a function; None of what has none, such as a partial or an object."""
    try:
        return inspect.getsourcefile(inspect.unwrap(function))
    except TypeError:
        return None


def plugin_names() -> frozenset[str]:
    """The evaluators that installed packages offer, by the names that pipelines use."""
    return frozenset(point.name for point in entry_points(group=GROUP))


def load_plugin(name: str) -> OwnEvaluator | None:
    """The evaluator that a package offers under `name`, None where none does."""
    for point in entry_points(group=GROUP, name=name):
        try:
            function = point.load()
        except Exception as error:  # a package may fail in any way while it loads
            raise UserError(f"evaluator '{name}' ({point.value}): {describe(error)}") from error
        _check_signature(f"{name} ({point.value})", function)
        return OwnEvaluator(name, function)
    return None


def load_function(type_: str, root: Path) -> OwnEvaluator:
    """The evaluator `path/to/file.py:function` of the project at `root`.

    Raises UserError where the file is not there or not the project's, cannot be imported, or has no
    such function.
    """
    path, _, name = type_.rpartition(":")
    file = find_file(path, root)
    module = _import(file, path, root)
    function = getattr(module, name, None)
    if not callable(function):
        there = [other for other, value in vars(module).items() if inspect.isfunction(value)]
        raise no_function(path, name, there)
    _check_signature(type_, function)
    return OwnEvaluator(type_, function)


def find_file(path: str, root: Path) -> Path:
    """The file of an evaluator. Raises UserError if it is not a file of the project."""
    file = (root / path).resolve()
    if not file.is_relative_to(root.resolve()):
        raise UserError(
            f"{path} is outside of the project", hint="evaluators are versioned with it"
        )
    if not file.is_file():
        raise UserError(f"there is no file {path}", hint="the path is relative to the project")
    return file


def no_function(path: str, name: str, functions: list[str]) -> UserError:
    """The error of a file that lacks the function which a pipeline names."""
    listed = f"it has: {', '.join(functions)}" if functions else "it has no functions"
    return UserError(f"{path} has no function {name}", hint=did_you_mean(name, functions) or listed)


def _import(file: Path, path: str, root: Path) -> ModuleType:
    name = f"loom_evaluator_{digest(str(file))[:16]}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up
    try:
        with _importable(root):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # a user's file may fail in any way
        del sys.modules[name]
        raise UserError(f"{path}{_line(error, str(file))}: {describe(error)}") from error
    return module


@contextmanager
def _importable(root: Path) -> Iterator[None]:
    """Let the project's own modules be imported, also where another tree's are loaded by the same
    names: two revisions of a project may be judged in one process."""
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    hiding = {name for name in _names_in(root) & sys.modules.keys() if _is_other(name)}
    elsewhere = _loaded(hiding)
    for name in elsewhere:
        del sys.modules[name]
    try:
        yield
    finally:
        sys.path.remove(str(root))
        for name in _loaded(hiding):
            del sys.modules[name]
        sys.modules.update(elsewhere)


def _names_in(root: Path) -> set[str]:
    return {path.stem for path in root.iterdir()} - {"__main__", *sys.builtin_module_names}


def _loaded(packages: set[str]) -> dict[str, ModuleType]:
    """The loaded modules of these top-level packages and modules, by their full names."""
    return {
        name: module for name, module in sys.modules.items() if name.partition(".")[0] in packages
    }


def _is_other(package: str) -> bool:
    """Whether a module of a loaded top-level package is not the file that an import finds now."""
    return any(_is_elsewhere(name, module) for name, module in _loaded({package}).items())


def _is_elsewhere(name: str, module: ModuleType) -> bool:
    file: str | None = getattr(module, "__file__", None)
    spec = _find(name)
    if spec is None:  # the package of this tree has no such module; a top-level one is not of files
        return file is not None and "." in name
    if file is None or spec.origin is None:  # a folder without `__init__.py`
        return file != spec.origin
    return os.path.realpath(file) != os.path.realpath(spec.origin)


def _find(name: str) -> ModuleSpec | None:
    """Where an import finds a module now, whatever is loaded."""
    parent = name.rpartition(".")[0]
    if not parent:
        return PathFinder.find_spec(name)
    package = _find(parent)
    if package is None or package.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, list(package.submodule_search_locations))


def _check_signature(name: str, function: Callable[..., object]) -> None:
    try:
        inspect.signature(function).bind("output", {})
    except TypeError as error:
        raise UserError(f"{name}: {error}", hint=SIGNATURE) from error
    except ValueError:
        return  # a function of a C library has no signature: calling it tells


def describe(error: BaseException) -> str:
    """The type and the text of an error, in one line."""
    text = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def _line(error: BaseException, file: str | None) -> str:
    """`:line` for the last place in `file` that the error came through."""
    if isinstance(error, SyntaxError) and error.filename == file:
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == file]
    return f":{lines[-1]}" if lines else ""
