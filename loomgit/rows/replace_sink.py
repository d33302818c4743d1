"""The sink for `mode: replace`: collects the rows of a run, then replaces the rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from loomgit.rows.stage import key_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.ports import LoadReceipt
    from loomgit.domain.values import JsonObject
    from loomgit.rows.stage import Stage


class ReplaceableTable(Protocol):
    """A table of a database whose rows can be replaced. `shown` is its database in messages."""

    key: tuple[str, ...]
    shown: str

    def check_replacement(self) -> None:
        """Raise UserError or WorldError if the rows of the table cannot be replaced."""
        ...

    def refusal_at_rest(self, row: JsonObject) -> str:
        """Return the reason why the table cannot store the row exactly, or ""."""
        ...

    def replace_rows(self, stage: Stage) -> LoadReceipt:
        """Replace all rows of the table with the rows in the stage, in one transaction."""
        ...


class ReplaceSink:
    """A table as a destination. After `commit`, the table contains only this run's rows.

    `load` stores the rows in a stage: a temporary database. `commit` copies them to the table in
    one transaction. Until it ends, other connections see the old rows. The definition, indexes,
    triggers and privileges of the table do not change.
    """

    def __init__(self, table: ReplaceableTable, stage: Stage) -> None:
        self._table = table
        self._stage = stage

    def check(self) -> None:
        """Raise UserError or WorldError if a load into the table would fail."""
        self._table.check_replacement()

    def refusal(self, row: JsonObject) -> str:
        """Return the reason why the table cannot store the row exactly.

        The reason is empty if the table can store the row, or does not exist yet.
        """
        return self._table.refusal_at_rest(row)

    def loaded_parts(self) -> frozenset[int]:
        """Return the numbers of the batches in the stage."""
        return self._stage.parts()

    def load(
        self, part: int, rows: Sequence[JsonObject], rejected: Sequence[JsonObject] = ()
    ) -> Mapping[int, str]:
        """Store one batch of rows until `commit`. Do nothing if this `part` is already stored.

        The keys in `rejected` have no effect, because `commit` keeps no row of an earlier run.
        """
        key = self._table.key
        keys = [key_text(row, key, self._table.shown) if key else None for row in rows]
        self._stage.add(part, rows, keys)
        return {}

    def commit(self) -> LoadReceipt:
        """Replace the rows of the table with the staged rows, and return the receipt.

        If an earlier attempt of the run has replaced the rows, and this attempt has loaded nothing
        else, only return the receipt of that attempt. If the database refuses a row, UserError is
        raised, and the table stays unchanged.
        """
        receipt = self._stage.receipt()
        if receipt is None or self._stage.has_unpublished():
            receipt = self._table.replace_rows(self._stage)
            self._stage.finish(receipt)
        return receipt

    def abort(self) -> None:
        """Delete the staged rows. The table stays unchanged."""
        self._stage.discard()
