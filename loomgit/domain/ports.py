"""The ports: protocols that packages such as `loomgit.pipeline` use and adapters implement."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from msgspec import Struct

from loomgit.domain.values import Json, JsonMapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loomgit.domain.models import Completion, Request
    from loomgit.domain.passages import Passage
    from loomgit.domain.records import EvaluationInput, RefusedRow, RowBatch, Score
    from loomgit.domain.values import JsonObject


class Gateway(Protocol):
    """Access to models. Loom calls models only through gateways. A gateway may wrap another one."""

    async def complete(self, request: Request) -> Completion:
        """Return the reply to a request. Raises a subclass of ModelError if no reply arrives."""
        ...

    async def close(self) -> None:
        """Close all connections, including those of a wrapped gateway.

        After this call, no request is allowed.
        """
        ...


class Retriever(Protocol):
    """Searches documents for the passages that answer a question."""

    async def retrieve(self, question: str, count: int) -> Sequence[Passage]:
        """Return at most `count` passages, best first. Equal questions give equal passages.

        Any text is a valid question, including the empty text. Raises WorldError if the search
        fails.
        """
        ...


class Evaluator(Protocol):
    """A component that scores an output in [0, 1] and gives a reason. It has no state."""

    @property
    def waits(self) -> bool:
        """Whether `score` may wait, for example for the reply of a model."""
        ...

    async def score(self, subject: EvaluationInput) -> Score:
        """Judge one output.

        Raises EvaluatorFailure if no score is possible, and a ModelError if the call to a judge
        fails.
        """
        ...


class QueryValues(Struct, frozen=True):
    """The values that a query of a source may refer to.

    They are bound as parameters, and never inserted into the text of the query. `watermark` is the
    lowest cursor that the run reads (`extract.incremental`), or None.
    """

    execution_date: datetime
    watermark: Json | date = None
    variables: JsonMapping | None = None


class Source(Protocol):
    """A source of rows. The source defines their order.

    The methods block, so they must not be called in the thread of the event loop.
    """

    def check(self) -> None:
        """Raise WorldError or UserError if the source cannot be read. The check reads no data."""
        ...

    def rows(self) -> Iterator[JsonObject | RefusedRow]:
        """Yield the rows one by one. A row that Loom cannot store exactly becomes a RefusedRow.

        Memory use does not grow with the number of rows. Raises WorldError or UserError if the
        source as a whole cannot be read.
        """
        ...


@runtime_checkable
class BatchSource(Source, Protocol):
    """A source that can also yield its rows in batches, which is faster."""

    def batches(self) -> Iterator[RowBatch | RefusedRow]:
        """Yield the same rows as `rows`, in the same order. Raises the same errors."""
        ...


class LoadReceipt(Struct, frozen=True):
    """The effect of a load on the destination: a number of rows for each type of effect.

    `duplicates` are rows with a key that occurs again later in the same run; only the last row with
    the key is stored. `kept_out` are rows that the destination itself rejects, by a trigger or
    `ON CONFLICT IGNORE`. `kept_rows` and `deleted` are rows of records that a gate of this run has
    rejected: the destination contained them before, and the load kept or deleted them.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicates: int = 0
    kept_out: int = 0
    kept_rows: int = 0
    deleted: int = 0

    def __add__(self, other: LoadReceipt) -> LoadReceipt:
        return LoadReceipt(
            self.inserted + other.inserted,
            self.updated + other.updated,
            self.unchanged + other.unchanged,
            self.duplicates + other.duplicates,
            self.kept_out + other.kept_out,
            self.kept_rows + other.kept_rows,
            self.deleted + other.deleted,
        )

    @property
    def rows(self) -> int:
        """The number of rows from this load that the destination contains."""
        return self.inserted + self.updated + self.unchanged


class Sink(Protocol):
    """A destination of rows. The methods block. Only one thread at a time may call them."""

    def check(self) -> None:
        """Raise WorldError or UserError if the destination is not writable. Writes nothing."""
        ...

    def refusal(self, row: JsonObject) -> str:
        """Return the reason why the destination cannot store the row exactly.

        The reason is empty if the destination can store the row, or if Loom cannot check this.
        """
        ...

    def loaded_parts(self) -> frozenset[int]:
        """Return the numbers of the batches that this run has already loaded, in any attempt.

        A batch that has not changed the destination may be left out.
        """
        ...

    def load(
        self, part: int, rows: Sequence[JsonObject], rejected: Sequence[JsonObject] = ()
    ) -> Mapping[int, str]:
        """Accept one batch of rows. `part` is the number of the batch.

        `rejected` are the keys (the key fields with their values) of the records that a gate has
        rejected. If the destination contains rows with these keys, it keeps or deletes them, as
        `load.on_rejected` says, and counts them. A row that this run has loaded always stays.

        Returns the reasons for the rows that the destination refuses, by the index of the row. If
        this method raises an exception, it accepts no row of the batch.
        """
        ...

    def commit(self) -> LoadReceipt:
        """Make all accepted rows visible, and return the effect of the load.

        Called once, at the end.
        """
        ...

    def abort(self) -> None:
        """Discard all rows that are not yet visible. No partial file remains."""
        ...


@runtime_checkable
class ReplacingSink(Sink, Protocol):
    """A destination that writes all rows at the end of a run, and only then may refuse some."""

    def publish(self) -> bool:
        """Replace the earlier rows with the accepted rows, and make them visible.

        Returns False if the destination refuses a row. Then the destination is unchanged, and
        `refused_rows` returns the refused rows, which do not count as accepted any longer. Call
        `publish` again to publish the others, and `commit` for the receipt.
        """
        ...

    def refused_rows(self) -> Mapping[tuple[int, int], str]:
        """Return the reasons for the rows that `publish` has found refused, in all attempts.

        The keys are the part of the row and its index in the part.
        """
        ...


@runtime_checkable
class BatchSink(Sink, Protocol):
    """A destination that can also load a batch of rows with the same fields, which is faster."""

    def expect_batches(self) -> None:
        """Prepare for `load_batch`. Called before the first row, if `load_batch` may be called."""
        ...

    def load_batch(self, part: int, batch: RowBatch) -> bool:
        """Load all rows of a batch, or none of them.

        Returns False if the destination may refuse a row, or could not keep a value exactly. Then
        no row was loaded, and `refusal` and `load` find out which rows these are.
        """
        ...
