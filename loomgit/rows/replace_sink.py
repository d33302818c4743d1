"""The sink for `mode: replace`: collects the rows of a run, then replaces the rows of a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from loomgit.errors import UserError
from loomgit.rows.refused_rows import RowsRefusedError
from loomgit.rows.stage import key_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.ports import LoadReceipt
    from loomgit.domain.values import JsonObject
    from loomgit.rows.stage import Stage

# The stage orders rows by their part. A negative part replaces refused rows, so it comes after all
# batches: the stage stores it with this number added to its absolute value.
_FIRST_REPLACEMENT = 1 << 48


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
        """Replace all rows of the table with the rows in the stage, in one transaction.

        Raises RowsRefusedError if the database refuses rows. The table then stays unchanged.
        """
        ...


class ReplaceSink:
    """A table as a destination. After `publish`, the table contains only this run's rows.

    `load` stores the rows in a stage: a temporary database. `publish` copies them to the table in
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
        return frozenset(map(_part_number, self._stage.parts()))

    def load(
        self, part: int, rows: Sequence[JsonObject], rejected: Sequence[JsonObject] = ()
    ) -> Mapping[int, str]:
        """Store one batch of rows until `publish`. Do nothing if this `part` is already stored.

        The keys in `rejected` have no effect, because no row of an earlier run remains.
        """
        key = self._table.key
        keys = [key_text(row, key, self._table.shown) if key else None for row in rows]
        self._stage.add(part if part >= 0 else _FIRST_REPLACEMENT - part, rows, keys)
        return {}

    def publish(self) -> bool:
        """Replace the rows of the table with the staged rows, in one transaction.

        Returns False if the database refuses rows. The table is then unchanged, and the stage
        contains only the other rows. If an earlier attempt of the run has replaced the rows, and
        this attempt has loaded nothing else, do nothing.
        """
        if self._stage.receipt() is not None and not self._stage.has_unpublished():
            return True
        try:
            receipt = self._table.replace_rows(self._stage)
        except RowsRefusedError as refusal:
            self._stage.refuse(refusal.reasons)
            return False
        self._stage.finish(receipt)
        return True

    def refused_rows(self) -> Mapping[tuple[int, int], str]:
        """Return the reasons for the refused rows of all attempts, by part and index."""
        return {
            (_part_number(part), at): reason for (part, at), reason in self._stage.refused().items()
        }

    def commit(self) -> LoadReceipt:
        """Publish the staged rows, if this has not been done, and return the receipt.

        If the database refuses a row, UserError is raised, and the table stays unchanged.
        """
        if not self.publish():
            reason = next(iter(self._stage.refused().values()))
            raise UserError(f"{self._table.shown}: {reason}")
        receipt = self._stage.receipt()
        assert receipt is not None  # `publish` has stored it
        return receipt

    def abort(self) -> None:
        """Delete the staged rows. The table stays unchanged."""
        self._stage.discard()


def _part_number(stored: int) -> int:
    """Return the number of a part from its number in the stage."""
    return stored if stored < _FIRST_REPLACEMENT else _FIRST_REPLACEMENT - stored
