"""What all of our matplotlib drawings share: the same bytes for the same values, whoever draws."""
# ruff: noqa: PLC0415 - matplotlib takes a second to load, and only who plots pays for it

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
    """While it lasts, nothing of the user's matplotlib configuration gets in, but `settings`."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rcParams["svg.hashsalt"] = "loom"
        mpl.rcParams.update(cast("dict[Any, Any]", settings))
        # A name in a script that the font lacks shows as boxes: no reason to talk on stderr.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        yield


def literal(text: str) -> str:
    """The text as it is: between two dollars matplotlib would read mathematics."""
    return text.replace("$", r"\$")


def draw_lines(axes: Axes, series: Mapping[str, Sequence[float]], *, markers: str = "o") -> None:
    """A line a name over 0, 1, ...; NaN is a gap. The markers take turns."""
    for number, (name, values) in enumerate(series.items()):
        label = literal(f" {name}" if name.startswith("_") else name)  # `_x` has no legend
        marker = markers[number % len(markers)]
        places = range(len(values))
        axes.plot(places, values, marker=marker, linewidth=1.8, markersize=5, label=label)


def score_range(series: Mapping[str, Sequence[float]]) -> tuple[float, float]:
    """A tenth more than the scores take, within [0, 1]: a loss of 0.02 has to be seen."""
    known = [value for values in series.values() for value in values if not math.isnan(value)]
    means = known or [0.0, 1.0]
    return max(min(means) - 0.1, -0.03), min(max(means) + 0.1, 1.03)


def spaced(count: int, most: int) -> list[int]:
    """At most `most` of the places 0 to count - 1, evenly, the last one among them."""
    every = math.ceil(count / most) or 1
    return list(range(count))[::-1][::every][::-1]
