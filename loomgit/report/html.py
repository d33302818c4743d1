"""Render reports as single HTML files, which load no other files and run no scripts.

All data are escaped. The templates of the pages are in `pages/`.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from loomgit import __version__
from loomgit.report.changes import other_result_lines, score_text
from loomgit.report.charts import Charts
from loomgit.report.comparison import (
    OUTCOME_TEXT,
    SHOWN_CASES,
    counted,
    format_change,
    metric_cells,
    sentence,
    verdict_text,
    versions,
)
from loomgit.report.evidence import ComparisonEvidence
from loomgit.report.log import series_scores
from loomgit.report.overview import first_and_last_scores, trends
from loomgit.report.session import TITLES, cost_text, counts
from loomgit.report.text import money, named, title

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loomgit.domain.changes import ChangeLog
    from loomgit.domain.comparison import Comparison, Metric, PipelineComparison
    from loomgit.domain.log import FileLog
    from loomgit.domain.samples import CheckResult
    from loomgit.report.overview import Overview, PipelineHistory, Trend
    from loomgit.report.session import PipelineTable, TestLine

PAGES = Path(__file__).parent / "pages"
CARDS = 25  # maximum number of worse cases that are shown with replies; the same for better cases
ROWS = 2_000  # maximum number of worse cases that are shown in total; the same for better cases
RUNS = 20  # maximum number of runs that are shown for a pipeline
LONGEST = 1_500  # maximum length of an input or a reply in characters
NO_EVIDENCE = ComparisonEvidence()
TONES = {
    "degraded": "bad", "improved": "good", "no_worse": "good", "unchanged": "calm",
    "inconclusive": "warn", "not_comparable": "warn",
    "pass": "good", "fail": "bad", "error": "bad", "unverified": "warn",
    "success": "good", "partial": "warn", "failed": "bad", "budget_exceeded": "bad",
}  # fmt: skip
SIGNS = {"good": "✓", "bad": "✕", "warn": "!", "calm": "="}
# Characters that HTML forbids, that UTF-8 cannot encode, or that change the direction of text.
FORBIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)
BREAKS = re.compile(r"(?<=[_/.-])(?=\w)")
SPACES = re.compile(r"\n\s*(?=<)")


def render_comparison(
    comparison: Comparison,
    evidence: Mapping[str, ComparisonEvidence] | None = None,
    *,
    notes: Sequence[str] = (),
    generated: str = "",
) -> str:
    """Return the HTML page of a comparison.

    `evidence` maps pipelines to the data behind their verdicts. `notes` are additional lines, for
    example about unverified tests. `generated` is the time of creation as text. Equal arguments
    always give the same page.
    """
    accepted = any(result.accepted for result in comparison.pipelines)
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
    evidence: Mapping[str, ComparisonEvidence] | None = None,
    *,
    commit: str = "",
    generated: str = "",
) -> str:
    """Return the HTML page of a session of prompt tests at `commit`.

    `evidence` and `generated` are as in `render_comparison`.
    """
    lines = [line for table in tables for line in table.lines]
    failed = sum(line.verdict in ("fail", "error") for line in lines)
    passed = sum(line.verdict == "pass" for line in lines)
    if failed:
        heading = f"{failed:,} of {len(lines):,} tests failed"
    elif passed == len(lines):
        heading = f"All {len(lines):,} tests passed" if lines else "No test was run"
    else:
        heading = f"{passed:,} of {len(lines):,} tests passed, none failed"
    tone = "bad" if failed else "calm" if not lines else "good" if passed == len(lines) else "warn"
    return _page(
        "session", evidence, heading=heading, tone=tone, commit=commit, generated=generated,
        tables=list(tables),
    )  # fmt: skip


def render_overview(overview: Overview, *, generated: str = "") -> str:
    """Return the HTML page of a project.

    It shows the runs, trends and costs of all pipelines, and the latest comparison. `generated` is
    the time of creation as text.
    """
    latest = [history.runs[0].status for history in overview.pipelines if history.runs]
    tones = [TONES[status] for status in latest]
    tone = next((tone for tone in ("bad", "warn", "good") if tone in tones), "calm")
    return _page(
        "overview", overview.evidence, heading=overview.project, tone=tone,
        commit=overview.commit.id, generated=generated, overview=overview,
    )  # fmt: skip


def render_changes(log: ChangeLog, *, generated: str = "") -> str:
    """Return the HTML page with the changes to a pipeline's files and their approvals."""
    unapproved = sum(not change.approved for change in log.changes)
    count = len(log.changes)
    if not count:
        heading = "No prompt, context file or pipeline changed"
    elif unapproved:
        heading = f"{unapproved:,} of {count:,} changes have no approval by another person"
    else:
        changes = f"{'All ' if count > 1 else ''}{counted(count, 'change')}"
        heading = f"{changes} approved by another person"
    tone = "warn" if unapproved else "good" if count else "calm"
    return _page(
        "changes", {}, heading=heading, tone=tone, commit=log.head, generated=generated, log=log
    )


def _page(name: str, evidence: Mapping[str, ComparisonEvidence] | None, **values: object) -> str:
    by_pipeline = evidence or {}
    page = _pages().get_template(f"{name}.html.j2")
    text = page.render(
        charts=Charts(),
        evidence_of=lambda pipeline: by_pipeline.get(pipeline, NO_EVIDENCE),
        **values,
    )
    return SPACES.sub("\n", FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)) + "\n"


@cache
def _pages() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(PAGES, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "loom_version": __version__, "badge": _badge, "mark": _mark, "shown_cards": CARDS,
        "shown_rows": ROWS, "shown_runs": RUNS,
    }  # fmt: skip
    environment.filters |= {
        "anchor": _anchor, "count": counted, "counts": counts, "cut": _cut, "ends": _ends,
        "evaluators": _evaluators, "interval": _interval, "kinds": _kinds, "money": money,
        "moved": _moved, "moves": _moves, "named": _named, "other_words": other_result_lines,
        "pipeline_tone": _pipeline_tone,
        "plain_word": lambda name: name.replace("_", " "), "remarks": _remarks, "rises": _rises,
        "row": _row, "row_delta": lambda metric: format_change(metric, metric.delta),
        "score": lambda value: "-" if value is None else f"{value:.2f}",
        "score3": lambda value: "-" if value is None else f"{value:.3f}",
        "score_words": score_text, "scored": _scored, "sentence": sentence,
        "series_scores": series_scores, "soft": _soft, "spent": cost_text,
        "table_tone": _table_tone, "title_of": title, "tone": TONES.__getitem__,
        "trends": trends, "versions": _versions, "way": _way,
        "word": verdict_text, "words": OUTCOME_TEXT.__getitem__,
    }  # fmt: skip
    return environment


# -- small parts


def _badge(text: str, tone: str) -> Markup:
    return Markup('<span class="badge {}">{}</span>').format(tone, text)


def _mark(tone: str) -> Markup:
    return Markup('<span class="mark {}" aria-hidden="true">{}</span>').format(tone, SIGNS[tone])


def _soft(text: str) -> Markup:
    """Return the text with optional line breaks in long names, for narrow pages."""
    parts = [escape(part) for part in BREAKS.split(text)]
    return Markup("<wbr>").join(parts)


def _cut(text: str, most: int = LONGEST) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def _way(delta: float) -> str:
    return "down" if delta < 0 else "up" if delta > 0 else ""


# -- comparisons


def _anchor(result: PipelineComparison) -> str:
    """Return the HTML id of the pipeline's section.

    The id contains the title of the section in hex, so that the id is valid for every title.
    """
    return f"pipeline-{result.title.encode('utf-8', 'surrogatepass').hex()}"


def _pipeline_tone(result: PipelineComparison) -> str:
    return "warn" if result.accepted else "calm" if result.new else TONES[result.outcome]


def _versions(result: PipelineComparison) -> str:
    assert result.base is not None
    assert result.head is not None
    return versions(result.base, result.head)


def _row(metric: Metric) -> tuple[str, ...]:
    """Return the cells of the metric's row. A p-value that rounds to 0 is shown as `< 0.001`."""
    cells = metric_cells(metric)
    return tuple("< 0.001" if n == 6 and cell == "0.000" else cell for n, cell in enumerate(cells))


def _moved(metric: Metric) -> str:
    """Return the CSS class of a metric's change.

    The class is "down" if the metric degraded, "up" if it improved, and "" otherwise.
    """
    return {"degraded": "down", "improved": "up"}.get(metric.outcome, "")


def _scored(result: PipelineComparison) -> list[Metric]:
    return [metric for metric in result.metrics if metric.kind == "score" and _is_shown(metric)]


def _rises(result: PipelineComparison) -> list[Metric]:
    return [metric for metric in result.metrics if metric.kind != "score" and _is_shown(metric)]


def _is_shown(metric: Metric) -> bool:
    return metric.delta is not None and metric.outcome != "not_comparable"


def _remarks(result: PipelineComparison) -> list[str]:
    """Return the notes on the comparison of a pipeline.

    The notes contain the reasons for the outcomes, the smallest changes that the cases can detect,
    and the cases that the gate ignores.
    """
    remarks = [
        f"{title(metric.name)}: {metric.reason}" for metric in result.metrics if metric.reason
    ]
    for metric in result.metrics:
        if metric.gated and metric.outcome == "inconclusive" and metric.detects is not None:
            least = f"drops of {metric.detects:.3f}"
            if metric.kind != "score":
                least = f"rises of {metric.detects:.1%}"
            cases = counted(metric.cases)
            remarks.append(f"{title(metric.name)}: {cases} can detect {least} or more")
    for what, names in (
        ("not comparable, since their input or expectation differs", result.changed),
        ("removed, not in the gate", result.removed),
        ("new, not in the gate", result.added),
    ):
        if names:
            listed = ", ".join(_cut(name, 80) for name in names[:SHOWN_CASES])
            more = f" and {len(names) - SHOWN_CASES:,} more" if len(names) > SHOWN_CASES else ""
            remarks.append(f"{counted(len(names), 'case')} {what}: {listed}{more}")
    return [*remarks, *result.notes]


# -- sessions


def _table_tone(table: PipelineTable) -> str:
    tones = [TONES[line.verdict] for line in table.lines]
    return next((tone for tone in ("bad", "warn", "good") if tone in tones), "calm")


def _kinds(table: PipelineTable) -> Iterator[tuple[str, list[TestLine]]]:
    """Yield (heading, tests) for each type of test. Failed tests come first."""
    order = {"bad": 0, "warn": 1}
    for kind, heading in TITLES.items():
        lines = [line for line in table.lines if line.kind == kind]
        if lines:
            yield heading, sorted(lines, key=lambda line: order.get(TONES[line.verdict], 2))


def _moves(table: PipelineTable) -> list[Metric]:
    return [score.moved for score in table.scores if score.moved and _is_shown(score.moved)]


def _interval(check: CheckResult) -> str:
    if check.low is None and check.high is None:
        return f"n = {check.n:,}" if check.n is not None else ""
    low, high = ("∞" if end is None else f"{end:.3f}" for end in (check.low, check.high))
    low = f"-{low}" if check.low is None else low
    return f"[{low}, {high}]{f', n = {check.n:,}' if check.n is not None else ''}"


# -- overviews


def _named(section: PipelineTable | PipelineHistory) -> str:
    name = section.pipeline if hasattr(section, "pipeline") else section.name
    return named(name, section.version)


def _ends(trend: Trend) -> list[tuple[str, tuple[float, float]]]:
    return list(first_and_last_scores(trend).items())


def _evaluators(log: FileLog) -> list[str]:
    return list(dict.fromkeys(n for entry in log.entries for n in series_scores(log, entry)))
