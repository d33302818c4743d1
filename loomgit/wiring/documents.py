"""The documents that a pipeline searches: found by its globs in a tree, and read as text."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from loomgit.domain.place import Problem
from loomgit.domain.withheld import is_withheld
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.definitions import Pipeline, Retrieve, Transform
    from loomgit.history.trees import Tree


def searching(pipeline: Pipeline) -> Iterator[tuple[str, Transform, Retrieve]]:
    """The transforms of a pipeline that search documents, each with its key in the file."""
    fallback = pipeline.load.fallback
    instead = None if fallback is None else fallback.transform
    for key, transform in (("transform", pipeline.transform), ("load.fallback", instead)):
        if transform is not None and transform.retrieve is not None:
            yield key, transform, transform.retrieve


def is_outside(path: str) -> bool:
    """Whether a path leads out of the project."""
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _is_withheld(tree: Tree, path: str) -> bool:
    """Whether a file never reaches a model: it may hold secrets, or is outside of the project."""
    real = tree.real_path(path)
    return is_withheld(path) or real is None or is_withheld(real)


def find_documents(
    tree: Tree, pipeline: Pipeline, key: str, retrieve: Retrieve, problems: list[Problem]
) -> dict[str, str]:
    """Git's ids of the documents by path; a glob that matches none becomes a problem, and one that
    leads outside is left to who checks the file."""
    paths: dict[str, None] = {}
    for number, glob in enumerate(retrieve.documents):
        if is_outside(glob):
            continue
        matched = [path for path in tree.matching(glob) if not _is_withheld(tree, path)]
        if not matched:
            message = f"{key}.retrieve.documents: no file of the project matches '{glob}'"
            hint = (
                "files that Git ignores, .env files and links out of the project are not searched"
            )
            if not set("*?[") & set(glob):
                hint = f"the files of a folder are '{glob.rstrip('/')}/**', their kinds '*.md'"
            place = pipeline.place(f"{key}.retrieve.documents.{number}")
            problems.append(Problem(place, message, hint))
        paths |= dict.fromkeys(matched)
    entries = tree.entries(sorted(paths))
    return {path: entry.blob for path, entry in sorted(entries.items())}


def read_documents(
    tree: Tree, pipeline: Pipeline, key: str, documents: dict[str, str]
) -> dict[str, str]:
    """The texts by path. Raises ProblemsFound for a file that is no text, or that changed since it
    was found."""
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    place = pipeline.place(f"{key}.retrieve.documents")
    held = tree.read(list(documents))
    for path in documents:
        content = held.get(path)
        if content is None:
            continue  # gone since: the entries say so below
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            message = f"{key}.retrieve.documents: {path} is no UTF-8 text"
            hint = "name the text files alone, as in 'docs/**/*.md'"
            problems.append(Problem(place, message, hint))
        texts[path] = text
    if problems:
        raise ProblemsFound(problems)
    now = {path: entry.blob for path, entry in tree.entries(list(documents)).items()}
    if now != documents:
        changed = sorted(path for path in documents if now.get(path) != documents[path])
        message = f"{key}.retrieve.documents: {changed[0]} changed while it was read"
        raise ProblemsFound([Problem(place, message, "run it again")])
    return texts
