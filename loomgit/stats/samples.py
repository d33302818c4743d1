"""From what was measured to arrays of numbers: where NaN means missing, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from loomgit.stats.faults import NoValues, OutOfRange

if TYPE_CHECKING:
    from collections.abc import Sequence

Floats: TypeAlias = npt.NDArray[np.float64]
Flags: TypeAlias = npt.NDArray[np.bool_]
Values: TypeAlias = "Sequence[float] | npt.NDArray[np.generic]"

ROUNDING = 1e-12  # numbers nearer than this differ by binary fractions only


def observed(values: Values) -> Floats:
    """The values that are not missing (NaN), as a flat float array; NoValues where none is."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    flat = flat[~np.isnan(flat)]
    if not flat.size:
        raise NoValues("no value was observed")
    return flat


def within(values: Values, lo: float, hi: float) -> Floats:
    """The observed values; OutOfRange where one is not in [lo, hi]."""
    flat = observed(values)
    least, most = float(np.min(flat)), float(np.max(flat))
    if least < lo or most > hi:
        wrong = least if least < lo else most
        raise OutOfRange(f"{wrong:g} is outside [{lo:g}, {hi:g}]")
    return flat
