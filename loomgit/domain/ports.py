"""The ports: Protocols that the work packages use and the adapters implement."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.domain.values import Json, JsonMapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.passages import Passage
    from loomgit.domain.records import EvaluationInput, RefusedRow, Score
    from loomgit.domain.values import JsonObject


class Gateway(Protocol):
    """The only access to models. Gateways wrap each other."""

    async def complete(self, request: Request) -> Completion:
        """Return the reply. Raises a subclass of ModelError if there is no reply."""
        ...

    async def close(self) -> None:
        """Close the connections, including those of the wrapped gateways. No request may follow."""
        ...


class Retriever(Protocol):
    """A search for the passages of documents that answer a question."""

    async def retrieve(self, question: str, count: int) -> Sequence[Passage]:
        """Return at most `count` passages, best first. The result is deterministic.

        Any text is a valid question, including the empty text. Raises WorldError.
        """
        ...


class Evaluator(Protocol):
    """A component that gives an output a score in [0, 1] with a reason. It keeps no state."""

    async def score(self, subject: EvaluationInput) -> Score:
        """Judge one output.

        Raises EvaluatorFailure if no score is possible, and a ModelError if the call to a judge
        fails.
        """
        ...


class QueryValues(Struct, frozen=True):
    """The values that a query may refer to.

    They are bound as parameters, never inserted as text.
    """

    execution_date: datetime
    watermark: Json = None
    variables: JsonMapping | None = None


class Source(Protocol):
    """A source of rows, in its own order.

    Its methods block, so the event loop must not call them.
    """

    def check(self) -> None:
        """Raise WorldError or UserError if the source cannot be read. The check reads no data."""
        ...

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Stream the rows, with a RefusedRow for each row that cannot be kept exactly.

        Memory use does not grow with the number of rows. Raises WorldError or UserError if the
        source as a whole cannot be read.
        """
        ...


class LoadReceipt(Struct, frozen=True):
    """The effect of a load on the destination, in rows.

    `duplicates` are rows with a key that occurs again later in the same run; the last row with the
    key is stored. `kept_out` are rows that the destination itself rejects, by a trigger or
    `ON CONFLICT IGNORE`.
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
        """The number of rows in the destination that result from this load."""
        return self.inserted + self.updated + self.unchanged


class Sink(Protocol):
    """A destination of rows. Its methods block, and only one thread at a time may call them."""

    def check(self) -> None:
        """Raise WorldError or UserError if the destination is not writable. Writes nothing."""
        ...

    def refusal(self, row: JsonObject) -> str:
        """Return the reason why the destination cannot store the row exactly.

        The reason is empty if the destination can store the row, or if this is unknown.
        """
        ...

    def load(self, part: int, rows: Sequence[JsonObject]) -> None:
        """Accept one batch as a whole. If the call raises an exception, it accepts no row."""
        ...

    def commit(self) -> LoadReceipt:
        """Make all accepted rows visible and return the changes. Called once, at the end."""
        ...

    def abort(self) -> None:
        """Discard everything that `commit` has not made visible. Leaves no partial file."""
        ...
