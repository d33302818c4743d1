"""Plots: the scores of a file's versions as a picture, the same bytes for the same values."""
# ruff: noqa: PLC0415 - matplotlib takes a second to load, and only who plots pays for it

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Literal

from loomgit.report.drawing import draw_lines, literal, plain_style, score_range, spaced
from loomgit.report.log import series_scores

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from loomgit.domain.log import FileLog, LogEntry

Picture = Literal["png", "svg"]
INCHES = 5.0  # of height
FLAT = 4  # labels that fit side by side
LABELS = 12  # versions that have their name under the axis: more would lie on each other


def plot_scores(log: FileLog, picture: Picture) -> bytes:
    """The own scores of each version by evaluator, oldest on the left, as a picture's bytes.

    A version without a score is a gap in the line. Nothing of the user's matplotlib configuration,
    and no date, gets in.
    """
    from matplotlib.figure import Figure

    with plain_style():
        entries = log.entries[::-1]
        figure = Figure(
            figsize=(min(max(7.0, 0.8 * len(entries)), 14.0), INCHES),
            dpi=120,
            layout="constrained",
            facecolor="white",
        )
        axes = figure.add_subplot()
        _draw(axes, log, entries)
        target = io.BytesIO()
        about = {"Software": None} if picture == "png" else {"Date": None}
        figure.savefig(target, format=picture, metadata=about)
        return target.getvalue()


def _draw(axes: Axes, log: FileLog, entries: tuple[LogEntry, ...]) -> None:
    scores = [series_scores(log, entry) for entry in entries]
    names = dict.fromkeys(name for means in scores for name in means)
    series = {name: [means.get(name, math.nan) for means in scores] for name in names}
    draw_lines(axes, series)
    axes.set_title(literal(log.path))
    axes.set_xlabel("Version, oldest to newest, and the author's date")
    axes.set_ylabel("Mean score")
    axes.set_ylim(*score_range(series))
    axes.set_xlim(-0.5, max(len(entries) - 0.5, 0.5))
    shown = spaced(len(entries), LABELS)
    axes.set_xticks(shown, [_label(entries[place]) for place in shown])
    for tick in axes.get_xticklabels():
        tick.set_fontsize(8)
        if len(entries) > FLAT:
            tick.set(rotation=30, horizontalalignment="right", rotation_mode="anchor")
    axes.grid(visible=True, axis="y", alpha=0.3)
    if names:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)  # beside the lines
    else:
        axes.text(0.5, 0.5, "no version has a score", ha="center", transform=axes.transAxes)


def _label(entry: LogEntry) -> str:
    return literal(f"{entry.name}\n{entry.time[:10] or 'not committed'}")
