"""Reports, one HTML file each: nothing is fetched, nothing runs, and what comes from data is text.

The pages stand as templates in `pages/`; what they show is decided elsewhere.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from loomgit import __version__
from loomgit.report.changes import other_words, score_words
from loomgit.report.charts import Charts
from loomgit.report.comparison import (
    SHOWN_CASES,
    WORDS,
    counted,
    row,
    sentence,
    shift,
    versions,
    word,
)
from loomgit.report.evidence import Evidence
from loomgit.report.log import series_scores
from loomgit.report.overview import ends, trends
from loomgit.report.session import TITLES, counts, spent
from loomgit.report.text import money, named, title

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loomgit.domain.changes import ChangeLog
    from loomgit.domain.comparison import Comparison, Metric, PipelineComparison
    from loomgit.domain.log import FileLog
    from loomgit.domain.samples import Check
    from loomgit.report.overview import Overview, PipelineHistory, Trend
    from loomgit.report.session import Line, PipelineTable

PAGES = Path(__file__).parent / "pages"
CARDS = 25  # cases each way that are shown with their replies
ROWS = 2_000  # cases each way in all
RUNS = 20  # of a pipeline
LONGEST = 1_500  # letters of an input or a reply
NOTHING = Evidence()
TONES = {
    "degraded": "bad", "improved": "good", "no_worse": "good", "unchanged": "calm",
    "inconclusive": "warn", "not_comparable": "warn",
    "pass": "good", "fail": "bad", "error": "bad", "unverified": "warn",
    "success": "good", "partial": "warn", "failed": "bad", "budget_exceeded": "bad",
}  # fmt: skip
SIGNS = {"good": "✓", "bad": "✕", "warn": "!", "calm": "="}
# What no HTML may hold, what no file of UTF-8 can, and what would turn the words around it.
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)
BREAKS = re.compile(r"(?<=[_/.-])(?=\w)")
SPACES = re.compile(r"\n\s*(?=<)")


def render_comparison(
    comparison: Comparison,
    evidence: Mapping[str, Evidence] | None = None,
    *,
    notes: Sequence[str] = (),
    generated: str = "",
) -> str:
    """The page of a comparison; `evidence` by pipeline, where more is known than the verdict.

    `notes` are more lines to show (what is unverified). The same values make the same page;
    `generated`, a time in words, is the only clock.
    """
    accepted = any(found.accepted for found in comparison.pipelines)
    tone = TONES[comparison.outcome]
    return _page(
        "comparison",
        evidence,
        heading=sentence(comparison),
        tone="warn" if accepted and tone in ("good", "calm") else tone,
        commit=comparison.head.commit,
        generated=generated,
        comparison=comparison,
        extra=list(notes),
    )


def render_session(
    tables: Sequence[PipelineTable],
    evidence: Mapping[str, Evidence] | None = None,
    *,
    commit: str = "",
    generated: str = "",
) -> str:
    """The page of a session of prompt tests at `commit`; else as `render_comparison`."""
    lines = [line for table in tables for line in table.lines]
    bad = sum(line.verdict in ("fail", "error") for line in lines)
    good = sum(line.verdict == "pass" for line in lines)
    if bad:
        heading = f"{bad:,} of {len(lines):,} tests failed"
    elif good == len(lines):
        heading = f"All {len(lines):,} tests passed" if lines else "No test was run"
    else:
        heading = f"{good:,} of {len(lines):,} tests passed, none failed"
    tone = "bad" if bad else "calm" if not lines else "good" if good == len(lines) else "warn"
    return _page(
        "session", evidence, heading=heading, tone=tone, commit=commit, generated=generated,
        tables=list(tables),
    )  # fmt: skip


def render_overview(overview: Overview, *, generated: str = "") -> str:
    """The page of a project: its pipelines' runs, trends and cost, the latest comparison."""
    latest = [history.runs[0].status for history in overview.pipelines if history.runs]
    tones = [TONES[status] for status in latest]
    tone = next((tone for tone in ("bad", "warn", "good") if tone in tones), "calm")
    return _page(
        "overview", overview.evidence, heading=overview.project, tone=tone,
        commit=overview.commit.id, generated=generated, overview=overview,
    )  # fmt: skip


def render_changes(log: ChangeLog, *, generated: str = "") -> str:
    """The page of who changed and approved what."""
    alone = sum(not change.approved for change in log.changes)
    count = len(log.changes)
    if not count:
        heading = "No prompt, context file or pipeline changed"
    elif alone:
        heading = f"{alone:,} of {count:,} changes were approved by nobody else"
    else:
        heading = f"{'All ' if count > 1 else ''}{counted(count, 'change')} approved by another"
    tone = "warn" if alone else "good" if count else "calm"
    return _page(
        "changes", {}, heading=heading, tone=tone, commit=log.head, generated=generated, log=log
    )


def _page(name: str, evidence: Mapping[str, Evidence] | None, **values: object) -> str:
    known = evidence or {}
    page = _pages().get_template(f"{name}.html.j2")
    text = page.render(
        charts=Charts(), evidence_of=lambda pipeline: known.get(pipeline, NOTHING), **values
    )
    return SPACES.sub("\n", FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)) + "\n"


@cache
def _pages() -> Environment:
    found = Environment(
        loader=FileSystemLoader(PAGES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {
        "loom_version": __version__, "badge": _badge, "mark": _mark, "shown_cards": CARDS,
        "shown_rows": ROWS, "shown_runs": RUNS,
    }  # fmt: skip
    found.filters |= {
        "anchor": _anchor, "count": counted, "counts": counts, "cut": _cut, "ends": _ends,
        "evaluators": _evaluators, "interval": _interval, "kinds": _kinds, "money": money,
        "moved": _moved, "moves": _moves, "named": _named, "other_words": other_words,
        "pipeline_tone": _pipeline_tone,
        "plain_word": lambda name: name.replace("_", " "), "remarks": _remarks, "rises": _rises,
        "row": _row, "row_delta": lambda metric: shift(metric, metric.delta),
        "score": lambda value: "-" if value is None else f"{value:.2f}",
        "score3": lambda value: "-" if value is None else f"{value:.3f}",
        "score_words": score_words, "scored": _scored, "sentence": sentence,
        "series_scores": series_scores, "soft": _soft, "spent": spent,
        "table_tone": _table_tone, "title_of": title, "tone": TONES.__getitem__,
        "trends": trends, "versions": _versions, "way": _way,
        "word": word, "words": WORDS.__getitem__,
    }  # fmt: skip
    return found


# -- small parts


def _badge(text: str, tone: str) -> Markup:
    return Markup('<span class="badge {}">{}</span>').format(tone, text)


def _mark(tone: str) -> Markup:
    return Markup('<span class="mark {}" aria-hidden="true">{}</span>').format(tone, SIGNS[tone])


def _soft(text: str) -> Markup:
    """The text with places where a narrow page may break a long name."""
    parts = [escape(part) for part in BREAKS.split(text)]
    return Markup("<wbr>").join(parts)


def _cut(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} letters more)"


def _way(delta: float) -> str:
    return "down" if delta < 0 else "up" if delta > 0 else ""


# -- comparisons


def _anchor(found: PipelineComparison) -> str:
    """A place in the page that no other pipeline has, whatever it is called."""
    return f"pipeline-{found.pipeline.encode('utf-8', 'surrogatepass').hex()}"


def _pipeline_tone(found: PipelineComparison) -> str:
    return "warn" if found.accepted else "calm" if found.new else TONES[found.outcome]


def _versions(found: PipelineComparison) -> str:
    assert found.base is not None
    assert found.head is not None
    return versions(found.base, found.head)


def _row(metric: Metric) -> tuple[str, ...]:
    """The cells of the metric's line; a chance that is not nothing is not shown as 0."""
    cells = row(metric)
    return tuple("< 0.001" if n == 6 and cell == "0.000" else cell for n, cell in enumerate(cells))


def _moved(metric: Metric) -> str:
    """The colour of a shift: only of one that is more than noise."""
    return {"degraded": "down", "improved": "up"}.get(metric.outcome, "")


def _scored(found: PipelineComparison) -> list[Metric]:
    return [metric for metric in found.metrics if metric.kind == "score" and _is_shown(metric)]


def _rises(found: PipelineComparison) -> list[Metric]:
    return [metric for metric in found.metrics if metric.kind != "score" and _is_shown(metric)]


def _is_shown(metric: Metric) -> bool:
    return metric.delta is not None and metric.outcome != "not_comparable"


def _remarks(found: PipelineComparison) -> list[str]:
    """What to know of a comparison besides its figures."""
    said = [f"{title(metric.name)}: {metric.reason}" for metric in found.metrics if metric.reason]
    for metric in found.metrics:
        if metric.gated and metric.outcome == "inconclusive" and metric.detects is not None:
            least = f"drops of {metric.detects:.3f}"
            if metric.kind != "score":
                least = f"rises of {metric.detects:.1%}"
            said.append(f"{title(metric.name)}: {counted(metric.cases)} would show {least} or more")
    for what, names in (
        ("not comparable, since their input or what is expected of them differs", found.changed),
        ("removed, not in the gate", found.removed),
        ("new, not in the gate", found.added),
    ):
        if names:
            listed = ", ".join(_cut(name, 80) for name in names[:SHOWN_CASES])
            more = f" and {len(names) - SHOWN_CASES:,} more" if len(names) > SHOWN_CASES else ""
            said.append(f"{counted(len(names), 'case')} {what}: {listed}{more}")
    return [*said, *found.notes]


# -- sessions


def _table_tone(table: PipelineTable) -> str:
    tones = [TONES[line.verdict] for line in table.lines]
    return next((tone for tone in ("bad", "warn", "good") if tone in tones), "calm")


def _kinds(table: PipelineTable) -> Iterator[tuple[str, list[Line]]]:
    """The tests by kind; what went wrong comes first."""
    order = {"bad": 0, "warn": 1}
    for kind, heading in TITLES.items():
        lines = [line for line in table.lines if line.kind == kind]
        if lines:
            yield heading, sorted(lines, key=lambda line: order.get(TONES[line.verdict], 2))


def _moves(table: PipelineTable) -> list[Metric]:
    return [found.moved for found in table.scores if found.moved and _is_shown(found.moved)]


def _interval(check: Check) -> str:
    if check.low is None and check.high is None:
        return f"n = {check.n:,}" if check.n is not None else ""
    low, high = ("∞" if end is None else f"{end:.3f}" for end in (check.low, check.high))
    low = f"-{low}" if check.low is None else low
    return f"[{low}, {high}]{f', n = {check.n:,}' if check.n is not None else ''}"


# -- overviews


def _named(found: PipelineTable | PipelineHistory) -> str:
    name = found.pipeline if hasattr(found, "pipeline") else found.name
    return named(name, found.version)


def _ends(trend: Trend) -> list[tuple[str, tuple[float, float]]]:
    return list(ends(trend).items())


def _evaluators(log: FileLog) -> list[str]:
    return list(dict.fromkeys(n for entry in log.entries for n in series_scores(log, entry)))
