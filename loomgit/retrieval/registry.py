"""Retrievers by the names that pipelines call them: Loom's own, and those that packages offer."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from loomgit.domain.passages import Passage
from loomgit.domain.words import one_of
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
    """The retriever `name` over documents (path: Git's id), ready to be asked.

    A package's is called with the texts by path and returns a Retriever. Raises UserError for an
    unknown name or a retriever that cannot be made, and what `read` raises.
    """
    if name == FULL_TEXT:
        own = FullText(documents, read, folder)
        own.prepare()
        return own
    point, texts = _find(name), read()
    try:
        return _Guarded(name, cast("Retriever", point.load()(texts)))
    except LoomError:
        raise
    except Exception as error:  # a package may fail in any way
        raise UserError(f"retriever '{name}': {type(error).__name__}: {error}") from error


def check_name(name: str) -> None:
    """Raise UserError unless there is a retriever of that name."""
    if name != FULL_TEXT:
        _find(name)


def _find(name: str) -> EntryPoint:
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise UserError(
            f"unknown retriever '{name}'", hint=one_of(name, [FULL_TEXT, *points], "there are")
        )
    return points[name]


class _Guarded:
    """A package's retriever: what it raises, or returns that is none, is a WorldError."""

    def __init__(self, name: str, retriever: Retriever) -> None:
        self._name = name
        self._retriever = retriever

    async def retrieve(self, question: str, count: int) -> Sequence[Passage]:
        try:
            found: list[object] = list(await self._retriever.retrieve(question, count))
        except LoomError:
            raise
        except Exception as error:  # a package may fail in any way
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise WorldError(f"retriever '{self._name}': {reason}") from error
        passages = [item for item in found if isinstance(item, Passage)]
        if len(passages) < len(found):
            raise WorldError(f"retriever '{self._name}' returned what is no Passage")
        return passages[:count]
