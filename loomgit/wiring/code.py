"""The code of Python evaluators: their files, and the project's files that these import or name."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from loomgit.history.objects import Entry
    from loomgit.history.trees import Tree

SOURCE_FOLDERS = ("", "src")  # where modules are looked for
MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")  # a dotted name of a module, as text
LONGEST = 200  # characters of a text that may be the name of a file


def find_code(tree: Tree, types: Iterable[str]) -> dict[str, Entry]:
    """The files that Python evaluators (`path/to/file.py:function`) consist of, with Git's mode and
    id, by path; other types of evaluators have none.

    These are the files of the functions, the project's modules that they import, directly or not,
    and the project's files that are named in their text (`open("checks/words.txt")`). The text is
    read and not run: a name that is put together while it runs is not found.
    """
    found: dict[str, Entry] = {}
    wanted = {type_.partition(":")[0] for type_ in types if ".py:" in type_}
    seen: set[str] = set()
    while wanted := wanted - seen:
        seen |= wanted
        entries = tree.entries(sorted(wanted))
        found |= entries
        modules = [path for path in entries if path.endswith(".py")]
        contents = tree.read(modules)
        wanted = {path for module in modules for path in _named(module, contents.get(module, b""))}
    return dict(sorted(found.items()))


def _named(path: str, content: bytes) -> Iterator[str]:
    """The files that a module may import or read: most of these paths do not exist."""
    try:
        parsed = ast.parse(content)
    except (SyntaxError, ValueError):
        return  # importing it reports the fault
    for node in ast.walk(parsed):
        for name in _modules(node, path):
            yield from _files_of_module(name, str(PurePosixPath(path).parent))
        for text in _texts(node):
            yield from _files_of_text(text, path)


def _modules(node: ast.AST, path: str) -> Iterator[str]:
    """The dotted names of the modules that a statement may import."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = PurePosixPath(path).parts[: -node.level] if node.level else ()
        base = [*above, *(node.module.split(".") if node.module else ())]
        yield ".".join(base)
        yield from (".".join([*base, alias.name]) for alias in node.names)


def _texts(node: ast.AST) -> Iterator[str]:
    """The texts of an expression that may name a file; parts of a path are joined."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        yield "/".join(_parts(node))
    elif isinstance(node, ast.Call):
        parts = [part for argument in node.args for part in _parts(argument)]
        if len(parts) > 1:
            yield "/".join(parts)


def _parts(node: ast.AST) -> list[str]:
    """The texts in a path that is written as `folder / "name"`, from left to right."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return [*_parts(node.left), *_parts(node.right)]
    if isinstance(node, ast.Call):
        return [part for argument in node.args for part in _parts(argument)]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _files_of_module(name: str, beside: str) -> Iterator[str]:
    """The files of a module and of the packages around it; it may also be looked for in the folder
    `beside`."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        for folder in (*SOURCE_FOLDERS, beside.removeprefix(".")):
            stem = "/".join([*([folder] if folder else []), *parts[:count]])
            yield f"{stem}.py"
            yield f"{stem}/__init__.py"


def _files_of_text(text: str, path: str) -> Iterator[str]:
    """The files that a text may name, from the project's folder or from one around the module."""
    if not text or len(text) > LONGEST or set(text) & {"\n", "\0"} or text.startswith("/"):
        return
    if MODULE.fullmatch(text):
        yield from _files_of_module(text, str(PurePosixPath(path).parent))
    for folder in PurePosixPath(path).parents:  # the last one is the project's folder
        name = posixpath.normpath(f"{folder}/{text}")
        if name != "." and not name.startswith("../"):
            yield name
