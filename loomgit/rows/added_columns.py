"""The rules and hints for columns that `load.evolve: add` adds to an existing table or file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.rows.sqlite import fold_case

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.domain.values import JsonObject


def common_fields(rows: Sequence[JsonObject]) -> list[str]:
    """Return the fields that all rows have, in the order of the first row.

    A destination needs columns for them. If it lacks a column that only some rows have, only these
    rows fail.
    """
    return [name for name in rows[0] if all(name in row for row in rows)] if rows else []


def with_evolve_hint(hint: str | None) -> str:
    """Return the hint for a missing column, extended with the setting that adds the column."""
    setting = "`load.evolve: add` adds the column"
    if hint is None:
        return setting
    return f"{hint} {setting}" if hint.endswith("?") else f"{hint}; {setting}"


def case_clash(name: str, columns: Iterable[str]) -> str:
    """Return the reason why a column must not be added, or "".

    The reason is that a name in `columns` differs from `name` only in upper and lower case. SQL
    ignores the case of names that are not quoted, so such a column is usually a mistake.
    """
    folded = fold_case(name)
    for column in columns:
        if column != name and fold_case(column) == folded:
            return f"the column '{name}' differs from column '{column}' only in case"
    return ""
