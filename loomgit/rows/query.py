"""The result of rendering an SQL template: the SQL text and the values of its parameters."""

from __future__ import annotations

from datetime import date  # noqa: TC003 - msgspec reads it
from typing import Literal, TypeAlias

from msgspec import Struct

Scalar: TypeAlias = "bool | int | float | str | None"
Parameter: TypeAlias = "Scalar | date"
Placeholder = Literal["?", "$n", ":n"]


class BoundQuery(Struct, frozen=True):
    """One SQL statement with a placeholder for each parameter. It has no comments and no final `;`.

    The placeholders are `?`; for PostgreSQL `$1`, `$2` and so on; for SQLAlchemy the names
    `:loom_1`, `:loom_2` and so on, and every other `:` in the text is `\\:`.
    """

    text: str
    parameters: tuple[Parameter, ...] = ()
