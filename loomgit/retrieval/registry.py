"""Opens the retriever that a pipeline names: Loom's own retriever or one from a package."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from loomgit.domain.passages import Passage
from loomgit.domain.suggestions import suggest_or_list
from loomgit.errors import LoomError, UserError, WorldError
from loomgit.retrieval.full_text import FullText

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from loomgit.domain.ports import Retriever

GROUP = "loomgit.retrievers"
FULL_TEXT = "full_text"


def open_retriever(
    name: str,
    documents: Mapping[str, str],
    read: Callable[[], Mapping[str, str]],
    folder: Path,
) -> Retriever:
    """Return the retriever `name` for the documents, ready for queries.

    `documents` maps the path of each document to its Git id. `read` returns a map from the path of
    each document to its text. If a package defines the retriever, its entry point is called with
    the result of `read` and must return a Retriever. Raises UserError if the name is unknown or the
    retriever cannot be created. Raises WorldError if the index cannot be written. Errors that
    `read` raises are passed on.
    """
    if name == FULL_TEXT:
        full_text = FullText(documents, read, folder)
        full_text.prepare()
        return full_text
    point, texts = _find(name), read()
    try:
        return _Guarded(name, cast("Retriever", point.load()(texts)))
    except LoomError:
        raise
    except Exception as error:  # a package may raise any exception
        raise UserError(f"retriever '{name}': {type(error).__name__}: {error}") from error


def check_name(name: str) -> None:
    """Raise UserError if no retriever has this name."""
    if name != FULL_TEXT:
        _find(name)


def _find(name: str) -> EntryPoint:
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise UserError(
            f"unknown retriever '{name}'",
            hint=suggest_or_list(name, [FULL_TEXT, *points], "available retrievers"),
        )
    return points[name]


class _Guarded:
    """Wraps a package's retriever.

    Raises WorldError if the retriever raises an exception or returns an invalid result. A LoomError
    of the retriever is passed on.
    """

    def __init__(self, name: str, retriever: Retriever) -> None:
        self._name = name
        self._retriever = retriever

    async def retrieve(self, question: str, count: int) -> Sequence[Passage]:
        try:
            results: list[object] = list(await self._retriever.retrieve(question, count))
        except LoomError:
            raise
        except Exception as error:  # a package may raise any exception
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise WorldError(f"retriever '{self._name}': {reason}") from error
        passages = [item for item in results if isinstance(item, Passage)]
        if len(passages) < len(results):
            raise WorldError(f"retriever '{self._name}' returned an object that is not a Passage")
        return passages[:count]
