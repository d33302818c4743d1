"""A query once its values are bound: what sources take instead of text with templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Scalar: TypeAlias = "bool | int | float | str | None"


@dataclass(frozen=True, slots=True)
class BoundQuery:
    """One SQL statement with `?` for each parameter; comments and a closing `;` are gone."""

    text: str
    parameters: tuple[Scalar, ...] = ()
