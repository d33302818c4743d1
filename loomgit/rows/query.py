"""A query once its values are bound: what sources take instead of text with templates."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

Scalar: TypeAlias = "bool | int | float | str | None"


class BoundQuery(Struct, frozen=True):
    """One SQL statement with `?` for each parameter; comments and a closing `;` are gone."""

    text: str
    parameters: tuple[Scalar, ...] = ()
