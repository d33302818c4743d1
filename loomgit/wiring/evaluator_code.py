"""Finds the code of Python evaluators: their own files, and the project files that they use."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loomgit.history.git_objects import TreeEntry
    from loomgit.history.trees import Tree

SOURCE_FOLDERS = ("", "src")  # the folders that may contain modules
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")  # a text that may be the dotted name of a module
LONGEST = 200  # the maximum number of characters of a text that may be a path


def find_code(tree: Tree, types: Iterable[str]) -> dict[str, TreeEntry]:
    """Return the files of the Python evaluators in `types`, as tree entries by path.

    The type of a Python evaluator is `path/to/file.py:function`. Other types are ignored. The
    result contains the files of the functions, the project's modules that these files import
    directly or indirectly, and the project's files whose paths occur as text in the code
    (`open("checks/words.txt")`). The code is not executed. Therefore, a path that is computed at
    run time is not found.
    """
    files: dict[str, TreeEntry] = {}
    wanted = {type_.partition(":")[0] for type_ in types if ".py:" in type_}
    seen: set[str] = set()
    while wanted := wanted - seen:
        seen |= wanted
        entries = tree.entries(sorted(wanted))
        files |= entries
        modules = [path for path in entries if path.endswith(".py")]
        contents = tree.read(modules)
        wanted = {path for module in modules for path in _named(module, contents.get(module, b""))}
    return dict(sorted(files.items()))


def _named(path: str, content: bytes) -> Iterator[str]:
    """Yield the possible paths of the files that a module imports or reads.

    An import has several possible paths, and any text in the code may be a path. Therefore, most of
    these paths do not exist.
    """
    try:
        parsed = ast.parse(content)
    except (SyntaxError, ValueError):
        return  # the import of the evaluator reports the error
    for node in ast.walk(parsed):
        for name in _modules(node, path):
            yield from _files_of_module(name, str(PurePosixPath(path).parent))
        for text in _texts(node):
            yield from _files_of_text(text, path)


def _modules(node: ast.AST, path: str) -> Iterator[str]:
    """Yield the dotted names of the modules that a statement may import."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = PurePosixPath(path).parts[: -node.level] if node.level else ()
        base = [*above, *(node.module.split(".") if node.module else ())]
        yield ".".join(base)
        yield from (".".join([*base, alias.name]) for alias in node.names)


def _texts(node: ast.AST) -> Iterator[str]:
    """Yield each text in an expression that may be a file path. For `folder / "a" / "b"`, the text
    is `a/b`."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield "/".join(_parts(node))
    elif isinstance(node, ast.Call):
        parts = [part for argument in node.args for part in _parts(argument)]
        if len(parts) > 1:
            yield "/".join(parts)


def _parts(node: ast.AST) -> list[str]:
    """Return the texts in a path expression such as `folder / "name"`, from left to right."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return [*_parts(node.left), *_parts(node.right)]
    if isinstance(node, ast.Call):
        return [part for argument in node.args for part in _parts(argument)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _files_of_module(name: str, beside: str) -> Iterator[str]:
    """Yield the possible paths of a module and of the packages that contain it.

    The module can be in a source folder or in the folder `beside`.
    """
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        for folder in (*SOURCE_FOLDERS, beside.removeprefix(".")):
            stem = "/".join([*([folder] if folder else []), *parts[:count]])
            yield f"{stem}.py"
            yield f"{stem}/__init__.py"


def _files_of_text(text: str, path: str) -> Iterator[str]:
    """Yield the paths of the files to which a text in the module `path` may refer.

    The text may be a path that is relative to the project's folder or to any folder above the
    module. It may also be the dotted name of a module.
    """
    if not text or len(text) > LONGEST or set(text) & {"\n", "\0"} or text.startswith("/"):
        return
    if MODULE.fullmatch(text):
        yield from _files_of_module(text, str(PurePosixPath(path).parent))
    for folder in PurePosixPath(path).parents:  # the last parent is the project's folder
        name = posixpath.normpath(f"{folder}/{text}")
        if name != "." and not name.startswith("../"):
            yield name
