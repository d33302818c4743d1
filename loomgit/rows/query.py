"""SQL queries whose template values are bound as parameters."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

Scalar: TypeAlias = "bool | int | float | str | None"


class BoundQuery(Struct, frozen=True):
    """One SQL statement with a `?` for each parameter, without comments and without a final `;`."""

    text: str
    parameters: tuple[Scalar, ...] = ()
