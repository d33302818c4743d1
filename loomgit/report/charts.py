"""Draws charts for HTML pages: matplotlib figures as inline SVG in the style of the page."""
# ruff: noqa: PLC0415 - the import of matplotlib takes a second; only plotting needs it

from __future__ import annotations

import io
import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from loomgit.report.comparison import OUTCOME_TEXT, format_change
from loomgit.report.mpl_style import (
    MARKERS,
    draw_lines,
    literal,
    plain_style,
    score_range,
    spaced,
)
from loomgit.report.text import money, title

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from loomgit.domain.comparison import Metric
    from loomgit.domain.runs import RunSummary
    from loomgit.report.evidence import ScoreDistribution
    from loomgit.report.overview import Trend

# Placeholder colours, which `_restyle` replaces with CSS variables. The values of the variables
# differ between light mode and dark mode.
INK, MUTED, LINE, BASE, HEAD = "#010101", "#010102", "#010103", "#010104", "#010105"
GOOD, BAD, WARN = "#010106", "#010107", "#010108"
SERIES = tuple(f"#0102{number:02x}" for number in range(1, 7))
VARIABLES = {
    INK: "ink", MUTED: "muted", LINE: "line", BASE: "base", HEAD: "head",
    GOOD: "good", BAD: "bad", WARN: "warn",
    **{colour: f"s{number}" for number, colour in enumerate(SERIES, 1)},
}  # fmt: skip
TONES = {"degraded": BAD, "improved": GOOD, "no_worse": GOOD, "unchanged": MUTED}
STYLE: dict[str, object] = {
    "svg.fonttype": "none",  # writes text as text elements, not as paths
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "grid.color": LINE,
    "legend.frameon": False,
    "legend.fontsize": 11,
}
NARROW, WIDE = 316, 860  # widths of charts in CSS pixels, for phones and for wide pages
PIXELS = 72.0  # pixels per inch in matplotlib's SVG
BINS = 10
MAX_SINGLE_BARS = 6  # up to this number of different scores, each score has its own bar
LONGEST = 34  # maximum length of a name in a chart
SHOWN_RUNS = 40
SHOWN_POINTS = 60
SVG_ELEMENT = re.compile(r"<svg[^>]*viewBox=\"([^\"]+)\"[^>]*>(.*)</svg>", re.DOTALL)
# Matches parts of a chart that only a standalone SVG file needs, or that conflict with the page.
NEEDLESS = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|(?<=>)\s+(?=<)", re.DOTALL)
TAG = re.compile(r"<[^>]+>")
IN_TAG = re.compile(r"(?<=^<g) id=\"[^\"]*\"|font-family: [^;\"]*;? ?|(?<=\.\d\d)\d+")
FONT = re.compile(r"font: ((?:bold |\d+ )?[\d.]+px) [^;\"]*")
NAMES = re.compile(r"\b(id=\"|xlink:href=\"#|url\(#)")
BACKGROUND = re.compile(r'<g id="patch_1">.*?</g>\s*', re.DOTALL)


class Charts:
    """Draws the charts of one page. A prefix makes the ids in each chart unique on the page."""

    def __init__(self) -> None:
        self._count = 0

    def spread(self, spread: ScoreDistribution) -> Markup:
        """Return a bar chart of one evaluator's scores on both sides.

        Each bar stands for a score or a range of scores. Its height is the percentage of the side's
        cases with such a score.
        """
        descriptions = [
            f"{side}: mean {sum(values) / len(values):.3f} over {len(values):,} cases"
            for side, values in (("base", spread.base), ("head", spread.head))
            if values
        ]
        return self._svg(
            f"{title(spread.name)}: distribution of scores",
            "; ".join(descriptions),
            (NARROW, 180),
            lambda axes: _draw_spread(axes, spread),
        )

    def intervals(self, metrics: Sequence[Metric], about: str) -> Markup:
        """Return a chart with the change of each metric and its 90 % interval.

        The shaded area shows the changes for the worse that exceed the metric's limit. `about` is
        the title of the chart.
        """
        description = "; ".join(
            f"{metric.name}: {format_change(metric, metric.delta)}, "
            f"between {format_change(metric, metric.low)} "
            f"and {format_change(metric, metric.high)}, {OUTCOME_TEXT[metric.outcome]}"
            for metric in metrics
        )
        size = (NARROW, 46 + 44 * len(metrics))
        return self._svg(about, description, size, lambda axes: _draw_intervals(axes, metrics))

    def trend(self, trend: Trend) -> Markup:
        """Return a chart of the mean scores by commit, in a wide and a narrow version.

        The page shows the version that fits into the window.
        """
        points = trend.points[-SHOWN_POINTS:]
        names = dict.fromkeys(name for point in points for name in point.scores)
        series = {name: [point.scores.get(name, math.nan) for point in points] for name in names}
        labels = [point.label for point in points]
        description = "; ".join(
            f"{name}: {', '.join('none' if math.isnan(v) else f'{v:.3f}' for v in values)}"
            for name, values in series.items()
        )
        legend = 22 * math.ceil(len(names) / 2)

        def draw(axes: Axes) -> None:
            draw_lines(axes, {_short(name): values for name, values in series.items()},
                       markers=MARKERS)  # fmt: skip
            axes.set_ylim(*score_range(series))
            _label_ticks(axes, labels)
            axes.grid(visible=True, axis="y", alpha=0.7)
            axes.figure.legend(loc="outside lower left", ncols=2)

        about = f"Mean scores of {trend.title} by commit"
        span = f"From {labels[0]} to {labels[-1]}"
        return self._both(about, f"{span}: {description}", 200 + legend, draw)

    def costs(self, runs: Sequence[RunSummary]) -> Markup:
        """Return a bar chart with the costs of the latest runs, oldest first.

        A `?` stands for an unknown cost.
        """
        latest = sorted(runs, key=lambda run: (run.started, run.uid))[-SHOWN_RUNS:]
        labels = [run.started[5:10] for run in latest]
        amounts = ", ".join(money(run.cost) for run in latest)

        def draw(axes: Axes) -> None:
            _draw_costs(axes, latest)
            _label_ticks(axes, labels)

        about = f"Cost of the last {len(latest)} runs"
        return self._both(about, f"Oldest first, in USD: {amounts}", 190, draw)

    # -- embedding figures in the page

    def _both(
        self, about: str, description: str, height: int, draw: Callable[[Axes], None]
    ) -> Markup:
        wide = self._svg(about, description, (WIDE, height), draw, "wide")
        return wide + self._svg(about, description, (NARROW, height), draw, "narrow")

    def _svg(
        self,
        about: str,
        description: str,
        size: tuple[int, int],
        draw: Callable[[Axes], None],
        kind: str = "small",
    ) -> Markup:
        from cycler import cycler
        from matplotlib.figure import Figure

        self._count += 1
        name = f"c{self._count}"
        with plain_style(**STYLE, **{"axes.prop_cycle": cycler(color=SERIES)}):
            figure = Figure(figsize=(size[0] / PIXELS, size[1] / PIXELS), layout="constrained")
            draw(figure.add_subplot())
            return _embed(_render(figure), name, f"chart {kind}", about, description)


def _render(figure: Figure) -> str:
    target = io.StringIO()
    figure.savefig(target, format="svg", metadata={"Date": None}, transparent=True)
    return target.getvalue()


def _embed(svg: str, name: str, kind: str, about: str, description: str) -> Markup:
    """Convert an SVG file of matplotlib to an element of the page.

    The element has the colours and fonts of the page. Parts that only a standalone SVG file needs
    are removed.
    """
    match = SVG_ELEMENT.search(BACKGROUND.sub("", svg, count=1))
    assert match is not None  # matplotlib always writes this element
    box, inside = match.groups()
    inside = TAG.sub(lambda tag: _restyle(tag[0], name), NEEDLESS.sub("", inside))
    return Markup(  # noqa: S704 - matplotlib and this function escape all texts
        f'<svg class="{kind}" viewBox="{box}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(about)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{inside}</svg>'
    )


def _restyle(tag: str, name: str) -> str:
    """Return an SVG tag with the colours and fonts of the page.

    `name` is the prefix for ids. This function gets only tags, because the texts between the tags
    come from the user and must not change.
    """
    tag = FONT.sub(r"font: \1 var(--font)", IN_TAG.sub("", tag))
    tag = NAMES.sub(rf"\g<1>{name}-", tag).replace(" \n", " ").replace("\n", "")
    for colour, variable in VARIABLES.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return tag


# -- drawings


def _draw_spread(axes: Axes, spread: ScoreDistribution) -> None:
    edges, labels = _bins((*spread.base, *spread.head))
    bars = len(edges) + 1
    for values, colour, offset in ((spread.base, BASE, -0.21), (spread.head, HEAD, 0.21)):
        if not values:
            continue
        counts = [0] * bars
        for value in values:
            counts[sum(value >= edge for edge in edges)] += 1
        places = [number + offset for number in range(bars)]
        shares = [count / len(values) for count in counts]
        axes.bar(places, shares, width=0.4, color=colour)
        if bars <= MAX_SINGLE_BARS:
            for place, share in zip(places, shares, strict=True):
                axes.text(place, share, f" {share:.0%} ", ha="center", va="bottom", fontsize=10)
    axes.set_xticks(list(labels), list(labels.values()))
    axes.margins(y=0.16)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}" if value <= 1 else "")
    axes.set_ylim(bottom=0)
    axes.locator_params(axis="y", nbins=4)
    axes.grid(visible=True, axis="y", alpha=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def _bins(values: Sequence[float]) -> tuple[list[float], dict[float, str]]:
    """Return the scores that separate the bars, and the labels of the x axis.

    The labels map x positions to texts. The x positions 0, 1, 2, ... have one bar for each side. If
    there are at most MAX_SINGLE_BARS different scores, each score has its own position. Otherwise,
    there are BINS positions, and the labels are between the positions.
    """
    distinct = sorted({round(value, 4) for value in values})
    if len(distinct) <= MAX_SINGLE_BARS:
        edges = [(a + b) / 2 for a, b in pairwise(distinct)]
        return edges, {float(n): f"{value:.4g}" for n, value in enumerate(distinct)}
    edges = [number / BINS - 1e-9 for number in range(1, BINS)]
    return edges, {n - 0.5: f"{n / BINS:g}" for n in range(0, BINS + 1, 2)}


def _draw_intervals(axes: Axes, metrics: Sequence[Metric]) -> None:
    finite = [
        value
        for metric in metrics
        for value in (metric.delta, metric.low, metric.high, _limit(metric))
        if value is not None and math.isfinite(value)
    ]
    reach = max([abs(value) for value in finite] + [0.02]) * 1.15
    axes.set_xlim(-reach, reach)
    axes.set_ylim(len(metrics) - 0.35, -0.75)
    axes.axvline(0, color=MUTED, linewidth=1)
    for place, metric in enumerate(metrics):
        _draw_interval(axes, place, metric, reach)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    score = metrics[0].kind == "score"
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(
        lambda value, _: "0" if not value else f"{value:+.3g}" if score else f"{value:+.0%}"
    )


def _limit(metric: Metric) -> float | None:
    """Return the metric's limit as a change with a sign, or None if the metric has no limit.

    The sign is negative for scores, which may not drop by more than the limit. It is positive for
    cost and latency, which may not rise by more than the limit.
    """
    if metric.limit is None:
        return None
    return -metric.limit if metric.kind == "score" else metric.limit


def _draw_interval(axes: Axes, place: int, metric: Metric, reach: float) -> None:
    delta = metric.delta if metric.delta is not None else 0.0
    low = -reach if metric.low is None else max(metric.low, -reach)
    high = reach if metric.high is None else min(metric.high, reach)
    colour = TONES.get(metric.outcome, WARN) if metric.gated else MUTED
    limit = _limit(metric)
    if limit is not None and metric.gated:
        end = math.copysign(reach, limit)
        axes.fill_betweenx([place - 0.25, place + 0.25], limit, end, color=BAD, alpha=0.12,
                           linewidth=0)  # fmt: skip
    axes.plot([low, high], [place, place], color=colour, linewidth=3, solid_capstyle="round")
    axes.plot([min(max(delta, -reach), reach)], [place], "o", color=colour, markersize=8)
    name = title(metric.name) if metric.kind == "score" else metric.name.capitalize()
    axes.text(-reach, place - 0.36, _short(name), va="bottom", ha="left")
    delta_text = format_change(metric, metric.delta)
    axes.text(reach, place - 0.36, delta_text, va="bottom", ha="right", color=colour, weight="bold")


def _draw_costs(axes: Axes, runs: Sequence[RunSummary]) -> None:
    for kind, colour in (("pipeline", SERIES[0]), ("test", SERIES[1])):
        costs = [(place, run.cost) for place, run in enumerate(runs) if run.kind == kind]
        known = [(place, cost) for place, cost in costs if cost is not None]
        if costs:
            places, heights = [p for p, _ in known], [c for _, c in known]
            label = "pipeline run" if kind == "pipeline" else "prompt test"
            axes.bar(places, heights, width=0.7, color=colour, label=label)
        for place, cost in costs:
            if cost is None:
                axes.text(place, 0, "?", ha="center", va="bottom", color=MUTED)
    axes.yaxis.set_major_formatter(lambda value, _: money(value) if value >= 0 else "")
    axes.locator_params(axis="y", nbins=4)
    axes.set_ylim(bottom=0)
    if axes.get_ylim()[1] < 1e-9 or not any(run.cost for run in runs):
        axes.set_ylim(0, 1)
        axes.set_yticks([0])
    axes.grid(visible=True, axis="y", alpha=0.7)
    axes.set_axisbelow(True)
    axes.figure.legend(loc="outside lower left", ncols=2)


def _label_ticks(axes: Axes, labels: Sequence[str]) -> None:
    """Draw as many labels under the axis as fit into its width."""
    width = axes.figure.get_figwidth() * PIXELS  # type: ignore[union-attr]  # a Figure here
    longest = max(len(label) for label in labels)
    most = max(int((width - 60) / (longest * 7.0 + 12)), 1)
    shown = spaced(len(labels), most)
    axes.set_xticks(shown, [literal(labels[place]) for place in shown])
    axes.set_xlim(-0.6, max(len(labels) - 0.4, 0.6))
    axes.tick_params(axis="x", length=0)


def _short(name: str) -> str:
    """Return a name for a chart, with at most LONGEST characters.

    Names come from the user; a replacement character replaces each unprintable character.
    """
    plain = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in name
    )
    return literal(plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…")
