"""Pair the cases of two versions. Only cases with the same definition are compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping


class DefinedCase(Protocol):
    """A case and its definition. Only results with the same definition can be compared.

    The definition is one hash of the input, the expectation and the evaluation settings.
    """

    @property
    def definition(self) -> str:
        """The hash of the input, the expectation, the evaluators and the judge."""
        ...


class PairedCases(Struct, frozen=True):
    """The ids of the cases of two sides, baseline and head.

    `common` cases have the same definition on both sides, and `changed` cases have different
    definitions. `removed` cases are only in the baseline, and `added` cases only in the head.
    `added` is in the order of the head. The other three are in the order of the baseline.
    """

    common: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]


def pair_cases(base: Mapping[str, DefinedCase], head: Mapping[str, DefinedCase]) -> PairedCases:
    """Pair the cases of the baseline and of the head by id and definition."""
    both = [name for name in base if name in head]
    same = {name for name in both if base[name].definition == head[name].definition}
    return PairedCases(
        common=tuple(name for name in both if name in same),
        changed=tuple(name for name in both if name not in same),
        removed=tuple(name for name in base if name not in head),
        added=tuple(name for name in head if name not in base),
    )
