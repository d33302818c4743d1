"""The shared style of all matplotlib figures. Equal data give equal files for every user."""
# ruff: noqa: PLC0415 - the import of matplotlib takes a second; only plotting needs it

from __future__ import annotations

import math
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matplotlib.axes import Axes

MARKERS = "osD^vPX*"


@contextmanager
def plain_style(**settings: object) -> Iterator[None]:
    """Context in which matplotlib's defaults and `settings` replace the user's configuration."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams["svg.hashsalt"] = "loom"
        mpl.rcParams.update(cast("dict[Any, Any]", settings))
        # Do not warn about characters that the font lacks. They appear as boxes in the image.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        yield


def literal(text: str) -> str:
    """Return the text with escaped dollar signs.

    Matplotlib would parse text between dollar signs as math.
    """
    return text.replace("$", r"\$")


def draw_lines(axes: Axes, series: Mapping[str, Sequence[float]], *, markers: str = "o") -> None:
    """Draw one line for each name in `series`, at the x positions 0, 1, ...

    NaN leaves a gap in the line. Each character of `markers` is a marker style of matplotlib. The
    lines use these styles in turn.
    """
    for number, (name, values) in enumerate(series.items()):
        # Add a space, because the legend omits labels that begin with `_`.
        label = literal(f" {name}" if name.startswith("_") else name)
        marker = markers[number % len(markers)]
        places = range(len(values))
        axes.plot(places, values, marker=marker, linewidth=1.8, markersize=5, label=label)


def score_range(series: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """Return the lowest and the highest score for the y axis.

    The axis contains all scores and a margin of 0.1 on each side, but nothing outside [-0.03,
    1.03]. Its range is so small that a drop of 0.02 is visible.
    """
    scores = [value for values in series.values() for value in values if not math.isnan(value)]
    means = scores or [0.0, 1.0]
    return max(min(means) - 0.1, -0.03), min(max(means) + 0.1, 1.03)


def spaced(count: int, most: int) -> list[int]:
    """Return up to `most` evenly spaced positions from 0 to count - 1, including the last one."""
    step = math.ceil(count / most) or 1
    return list(range(count))[::-1][::step][::-1]
