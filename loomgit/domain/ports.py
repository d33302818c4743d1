"""The ports: what the working rooms need of the outside, as Protocols that adapters fulfil."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.domain.values import Json, JsonMapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.models import Completion, Request, Spent
    from loomgit.domain.passages import Passage
    from loomgit.domain.records import RefusedRow, Score, Subject
    from loomgit.domain.values import JsonObject


class Gateway(Protocol):
    """The one way to a model; gateways wrap each other and are closed from the outside in."""

    async def complete(self, request: Request) -> Completion:
        """Return the reply; raise one of the `ModelError` children when there is none."""
        ...

    async def close(self) -> None:
        """Let go of connections; nothing is asked afterwards."""
        ...


class Retriever(Protocol):
    """Finds passages of documents that answer a question."""

    async def retrieve(self, question: str, count: int) -> Sequence[Passage]:
        """The best passages, best first, `count` at most; the same each time.

        Any text is a question, the empty one too. Raises WorldError.
        """
        ...


class Evaluator(Protocol):
    """Gives a score in [0, 1] with a reason and keeps nothing."""

    async def score(self, subject: Subject) -> Score:
        """Judge one output.

        Raises EvaluatorFailure when there can be no score, a ModelError when a judge's call failed.
        """
        ...


class EvaluatorFailure(Exception):
    """An evaluator could not judge this output; the text is the one-line reason.

    `spent` is what was paid for it all the same, None where no model was asked. `product` says that
    the output is to blame (it lacks the field to judge), and not the evaluator or its judge.
    """

    def __init__(self, reason: str, spent: Spent | None = None, *, product: bool = False) -> None:
        super().__init__(reason)
        self.spent = spent
        self.product = product


class QueryValues(Struct, frozen=True):
    """What a query may refer to: bound as parameters, never text."""

    execution_date: datetime
    watermark: Json = None
    variables: JsonMapping | None = None


class Source(Protocol):
    """Rows in the source's own order; blocking, so callers read it off the event loop."""

    def check(self) -> None:
        """Raise WorldError or UserError where the source cannot be read; read no data for it."""
        ...

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Stream the rows, and those that cannot be kept exactly; memory does not grow with them.

        Raises WorldError or UserError where the source as a whole cannot be read.
        """
        ...


class LoadReceipt(Struct, frozen=True):
    """What loading did to the destination, in rows.

    `duplicates` are rows whose key came again later in the same run (the last one wins), `kept_out`
    those that the destination itself keeps out, by a trigger or `ON CONFLICT IGNORE`.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicates: int = 0
    kept_out: int = 0

    def __add__(self, other: LoadReceipt) -> LoadReceipt:
        return LoadReceipt(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.duplicates + other.duplicates,
            self.kept_out + other.kept_out,
        )

    @property
    def rows(self) -> int:
        """Rows of the destination that this load accounts for."""
        return self.inserted + self.updated + self.unchanged


class Sink(Protocol):
    """A destination. Blocking; called from one thread at a time."""

    def check(self) -> None:
        """Raise WorldError or UserError where the destination may not be written; write nothing."""
        ...

    def refusal(self, row: JsonObject) -> str:
        """Why the destination cannot hold the row exactly; empty if it can, or cannot tell."""
        ...

    def load(self, part: int, rows: Sequence[JsonObject]) -> None:
        """Take one batch: wholly or, where it raises, not at all."""
        ...

    def commit(self) -> LoadReceipt:
        """Make everything taken visible and say what it changed. Called once, at the end."""
        ...

    def abort(self) -> None:
        """Give up what `commit` has not made visible; leave no half-written file."""
        ...
