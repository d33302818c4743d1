"""Converts the values that PostgreSQL returns to JSON values.

Booleans, integers, floats, numerics, JSON and arrays of these become JSON values. All other types
become the text of the server, because Python types lose information: an `interval` of one month is
not 30 days, and `infinity`, `24:00` and years before 1 do not exist in Python's datetime.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from math import isfinite, isnan
from typing import TYPE_CHECKING

import psycopg
from psycopg.adapt import AdaptersMap, Loader
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.types.bool import BoolLoader
from psycopg.types.numeric import FloatLoader, IntLoader
from psycopg.types.string import TextLoader

from loomgit.domain.exact_json import parse_exact

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from psycopg.abc import AdaptContext, Buffer
    from psycopg.abc import Loader as PsycopgLoader

    from loomgit.domain.values import Json

_LONGEST_INTEGER = 20  # characters of a 64-bit integer, with its sign
_INTEGERS = ("int2", "int4", "int8", "oid")
_FLOATS = ("float4", "float8")


class UnreadableValue(str):
    """The reason why JSON cannot represent a value. It takes the place of the value in the row."""

    __slots__ = ()


class NumericTextLoader(Loader):
    """Loads numeric as a number if an integer or a float represents it exactly, else as text."""

    def load(self, data: Buffer) -> Json:
        """Return the number if it is exact, else the text that the server sent."""
        text = bytes(data).decode()
        if text in ("NaN", "Infinity", "-Infinity"):
            return text
        if "." not in text:
            value = int(text) if len(text) <= _LONGEST_INTEGER else 2**64
            return value if -(2**63) <= value < 2**64 else text
        nearest_float = float(text)
        return nearest_float if Decimal(repr(nearest_float)) == Decimal(text) else text


class JsonTextLoader(Loader):
    """Loads json and jsonb. The value is an UnreadableValue if Loom cannot keep it exactly."""

    def load(self, data: Buffer) -> object:
        """Return the JSON value, or an UnreadableValue."""
        try:
            return parse_exact(bytes(data))
        except ValueError as fault:
            return UnreadableValue(str(fault))


def _array_loader(inner: type[PsycopgLoader], *, has_floats: bool) -> type[Loader]:
    """Return a loader that loads an array as a list, or as text if a lower bound is not 1.

    Such a text starts with the bounds of the array, as in `[0:1]={a,b}`. `inner` loads the list.
    """

    class ArrayTextLoader(Loader):  # not a subclass of `inner`: C code would bypass its `load`
        def __init__(self, oid: int, context: AdaptContext | None = None) -> None:
            super().__init__(oid, context)
            self._inner = inner(oid, context)

        def load(self, data: Buffer) -> object:
            text = bytes(data)
            if text.startswith(b"["):
                return text.decode()
            loaded: Json = self._inner.load(data)
            return _with_special_floats_as_text(loaded) if has_floats else loaded

    return ArrayTextLoader


def _with_special_floats_as_text(value: Json) -> Json:
    """Replace NaN and infinities in a value or a list with the text that the server sends."""
    if isinstance(value, list):
        return [_with_special_floats_as_text(item) for item in value]
    if not isinstance(value, float) or isfinite(value):
        return value
    return "NaN" if isnan(value) else "Infinity" if value > 0 else "-Infinity"


def replace_special_floats(
    rows: Sequence[Sequence[Json]], positions: Collection[int]
) -> Sequence[Sequence[Json]]:
    """Replace NaN and infinities with text, because JSON has no such numbers.

    `rows` come from `reading_context`, and `positions` are those of the float columns. The texts
    are those of the server. A loader in Python would be called for each number.
    """
    columns = ([row[position] for row in rows] for position in positions)
    if all(isfinite(sum(filter(None, numbers))) for numbers in columns):  # type: ignore[arg-type]
        return rows
    return [
        tuple(
            _with_special_floats_as_text(value) if position in positions else value
            for position, value in enumerate(row)
        )
        for row in rows
    ]


def is_float(oid: int) -> bool:
    """Whether the type with this object id is float4 or float8."""
    known = types.get(oid)
    return known is not None and known.name in _FLOATS and known.oid == oid


def may_be_unreadable(oid: int) -> bool:
    """Whether `reading_context` can return an UnreadableValue for a type. `oid` is its object id.

    This concerns JSON and arrays. The type of an unknown object id is text.
    """
    known = types.get(oid)
    return known is not None and (known.name in ("json", "jsonb") or known.array_oid == oid)


@cache
def reading_context() -> AdaptContext:
    """Return a psycopg context that converts values as the docstring of this module describes.

    NaN and infinities in float columns stay floats. `replace_special_floats` replaces them.
    """

    class Context:
        adapters = AdaptersMap(psycopg.adapters)
        connection = None

    adapters = Context.adapters
    for known in types:
        adapters.register_loader(known.oid, TextLoader)
        if known.array_oid and (loader := adapters.get_loader(known.array_oid, Format.TEXT)):
            array_loader = _array_loader(loader, has_floats=known.name in _FLOATS)
            adapters.register_loader(known.array_oid, array_loader)
    adapters.register_loader("bool", BoolLoader)
    for name in _INTEGERS:
        adapters.register_loader(name, IntLoader)
    for name in _FLOATS:
        adapters.register_loader(name, FloatLoader)
    adapters.register_loader("numeric", NumericTextLoader)
    for name in ("json", "jsonb"):
        adapters.register_loader(name, JsonTextLoader)
    return Context()
