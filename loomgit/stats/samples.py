"""Converts measured values to arrays, in which NaN means missing, and checks their range."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from loomgit.stats.errors import NoValues, OutOfRange
from loomgit.stats.lazy_numpy import np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

Floats: TypeAlias = "npt.NDArray[np.float64]"
Flags: TypeAlias = "npt.NDArray[np.bool_]"
Values: TypeAlias = "Sequence[float] | npt.NDArray[np.generic]"

ROUNDING = 1e-12  # differences up to this size are rounding errors


def observed(values: Values) -> Floats:
    """Return the values that are not missing (NaN) as a flat float array.

    Raises NoValues if all are missing.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    flat = flat[~np.isnan(flat)]
    if not flat.size:
        raise NoValues("no value was observed")
    return flat


def observed_in_range(values: Values, lo: float, hi: float) -> Floats:
    """Return the values that are not missing (NaN) as a flat float array.

    Raises NoValues if all are missing, and OutOfRange if a value is not in [lo, hi].
    """
    flat = observed(values)
    least, most = float(np.min(flat)), float(np.max(flat))
    if least < lo or most > hi:
        wrong = least if least < lo else most
        raise OutOfRange(f"{wrong:g} is outside [{lo:g}, {hi:g}]")
    return flat
