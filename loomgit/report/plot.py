"""Plot the scores of a file's versions as an image. Equal data give the same image file."""
# ruff: noqa: PLC0415 - the import of matplotlib takes a second; only plotting needs it

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Literal

from loomgit.report.log import series_scores
from loomgit.report.mpl_style import draw_lines, literal, plain_style, score_range, spaced

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from loomgit.domain.log import FileLog, LogEntry

ImageFormat = Literal["png", "svg"]
INCHES = 5.0  # height of the image in inches
FLAT = 4  # maximum number of labels that fit without rotation
LABELS = 12  # maximum number of labels under the axis; more labels would overlap


def plot_scores(log: FileLog, picture: ImageFormat) -> bytes:
    """Return the bytes of an image: a line of mean scores for each evaluator.

    A result is left out if its inputs differ from the inputs at the version's commit. The oldest
    version is on the left. A version without a score is a gap in the line. The image does not
    depend on the user's matplotlib configuration or on the date.
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
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)  # beside the plot
    else:
        axes.text(0.5, 0.5, "no version has a score", ha="center", transform=axes.transAxes)


def _label(entry: LogEntry) -> str:
    return literal(f"{entry.name}\n{entry.time[:10] or 'not committed'}")
