"""The result of rendering an SQL template: the SQL text and the values of its parameters."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

Scalar: TypeAlias = "bool | int | float | str | None"


class BoundQuery(Struct, frozen=True):
    """One SQL statement with a `?` for each parameter. It has no comments and no final `;`."""

    text: str
    parameters: tuple[Scalar, ...] = ()
