"""Finds and reads the documents that a pipeline searches: the files that match its globs."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from loomgit.domain.place import Problem
from loomgit.domain.withheld_files import is_withheld
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.domain.definitions import Pipeline, Retrieve, Transform
    from loomgit.history.trees import Tree


def searching(pipeline: Pipeline) -> Iterator[tuple[str, Transform, Retrieve]]:
    """Yield each transform that searches documents, with its key and its retrieval settings.

    The key is the position in the pipeline file: `transform` or `load.fallback`.
    """
    fallback = pipeline.load.fallback
    second = None if fallback is None else fallback.transform
    for key, transform in (("transform", pipeline.transform), ("load.fallback", second)):
        if transform is not None and transform.retrieve is not None:
            yield key, transform, transform.retrieve


def is_outside(path: str) -> bool:
    """Whether a path points outside the project."""
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _is_withheld(tree: Tree, path: str) -> bool:
    """Whether a file must not be sent to a model, because it may contain secrets or is outside the
    project."""
    real = tree.real_path(path)
    return is_withheld(path) or real is None or is_withheld(real)


def find_documents(
    tree: Tree, pipeline: Pipeline, key: str, retrieve: Retrieve, problems: list[Problem]
) -> dict[str, str]:
    """Return a map from the path of each document to its blob id.

    Adds a problem to `problems` for each glob that matches no file. Globs that point outside the
    project are ignored, because `unsupported` reports them.
    """
    paths: dict[str, None] = {}
    for number, glob in enumerate(retrieve.documents):
        if is_outside(glob):
            continue
        matched = [path for path in tree.matching(glob) if not _is_withheld(tree, path)]
        if not matched:
            message = f"{key}.retrieve.documents: no file of the project matches '{glob}'"
            hint = "Loom does not search ignored files, .env files and links out of the project"
            if not set("*?[") & set(glob):
                folder = glob.rstrip("/")
                hint = f"'{folder}/**' matches the files of a folder, '*.md' files of one kind"
            place = pipeline.place(f"{key}.retrieve.documents.{number}")
            problems.append(Problem(place, message, hint))
        paths |= dict.fromkeys(matched)
    entries = tree.entries(sorted(paths))
    return {path: entry.blob for path, entry in sorted(entries.items())}


def read_documents(
    tree: Tree, pipeline: Pipeline, key: str, documents: dict[str, str]
) -> dict[str, str]:
    """Return a map from the path of each document to its text. `documents` maps paths to blob ids.

    Raises ProblemsFound if a file is not UTF-8 text, or has changed since `find_documents`.
    """
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    place = pipeline.place(f"{key}.retrieve.documents")
    contents = tree.read(list(documents))
    for path in documents:
        content = contents.get(path)
        if content is None:
            continue  # a deleted file is reported below as changed
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            message = f"{key}.retrieve.documents: {path} is not UTF-8 text"
            hint = "match text files only, as in 'docs/**/*.md'"
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
