"""What a report's page holds, read as a browser's parser reads it."""

import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from msgspec.structs import replace

from loomgit.domain.comparison import Comparison, Revision
from loomgit.report.charts import Charts
from loomgit.report.evidence import ComparisonEvidence, ScoreDistribution, score_distributions
from loomgit.report.html import render_changes, render_comparison, render_overview, render_session
from loomgit.report.overview import Overview, PipelineHistory
from tests.report import samples

VOID = {"meta", "link", "br", "wbr", "img", "hr"}
WHOLE = samples.comparison()
KNOWN = {"customer_sentiment": samples.evidence(WHOLE.pipelines[0])}


class Parsed(HTMLParser):
    """Elements in order, with their attributes and the text in them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self._open, self.unbalanced = [], [], []
        self.feed(text)
        self.close()
        self.unbalanced += [tag for tag, _, _ in self._open]

    def handle_starttag(self, tag, attrs):
        element = (tag, dict(attrs), [])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        if self._open and self._open[-1][0] == tag:
            self._open.pop()
        else:
            self.unbalanced.append(f"/{tag}")

    def handle_data(self, data):
        for _, _, words in self._open:
            words.append(data)

    def all(self, *tags):
        return [(t, attrs, "".join(words)) for t, attrs, words in self.elements if t in tags]

    def text(self):
        return " ".join(self.all("main")[0][2].split())


MAKE = {
    "comparison": lambda: render_comparison(WHOLE, KNOWN),
    "session": lambda: render_session(samples.tables(), KNOWN, commit=samples.HEAD),
    "overview": lambda: render_overview(samples.overview()),
    "changes": lambda: render_changes(samples.change_log()),
    "hostile": lambda: render_comparison(*samples.hostile()),
}


@cache
def page_of(name):
    return MAKE[name]()


@cache
def parsed(name):
    return Parsed(page_of(name))


EVERY = pytest.mark.parametrize("name", list(MAKE))


@EVERY
def test_a_page_is_whole_and_asks_for_nothing(name):
    page = parsed(name)
    assert page.unbalanced == []
    assert not page.all("script", "iframe", "object", "embed", "form", "input", "img", "base")
    for tag, attrs, _ in page.elements:
        assert not [key for key in attrs if key.startswith("on")], (tag, attrs)
        for key in ("href", "src", "xlink:href", "action", "srcset", "poster"):
            assert attrs.get(key, "#").startswith(("#", "data:,")), (tag, attrs)
    assert "@import" not in page_of(name)
    assert set(re.findall(r"url\((.)", page_of(name))) <= {"#"}
    policy = next(a["content"] for _, a, _ in page.all("meta") if "http-equiv" in a)
    assert policy.startswith("default-src 'none'")


@EVERY
def test_what_is_referred_to_is_there_and_names_are_given_once(name):
    page = parsed(name)
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    asked = set(re.findall(r"url\(#([^)]+)\)", page_of(name)))
    for _, attrs, _ in page.elements:
        asked |= set((attrs.get("aria-labelledby") or "").split())
        asked |= {v[1:] for k, v in attrs.items() if k.endswith("href") and v[:1] == "#"}
    assert asked <= set(ids)


@EVERY
def test_headings_go_down_by_one_and_charts_and_tables_are_named(name):
    page = parsed(name)
    levels = [int(tag[1]) for tag, _, _ in page.all("h1", "h2", "h3", "h4", "h5")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels)), levels
    assert all(attrs.get("scope") in ("col", "row") for _, attrs, _ in page.all("th"))
    charts = page.all("svg")
    assert len(page.all("title")) == 1 + len(charts)
    assert all(words.strip() for _, _, words in page.all("title"))
    assert all(words.strip() for _, _, words in page.all("desc"))
    assert all(attrs["role"] == "img" for _, attrs, _ in charts)


def test_hostile_text_is_text_and_nothing_else():
    page = parsed("hostile")
    shown = re.sub("[\x1b\u202e]", "\N{REPLACEMENT CHARACTER}", samples.HOSTILE)
    assert "".join(shown.split()) in "".join(page.text().split())
    assert "\x1b" not in page_of("hostile")
    assert "49" not in page.all("h2")[0][2]  # {{ 7*7 }} was not computed
    assert {tag for tag, _, _ in page.elements} >= {"svg", "table", "details"}


def test_what_no_file_can_hold_is_replaced():
    odd = Comparison(Revision("a\ud800b\x00c", samples.BASE), Revision("d"), "inconclusive")
    page = render_comparison(odd, notes=["e\ud83df"])
    assert "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}c" in page
    assert page.encode()


def test_the_same_values_are_the_same_page_in_another_process():
    script = (
        "import sys, hashlib; sys.path.insert(0, '.')\n"
        "from tests.report.samples import hostile\n"
        "from loomgit.report.html import render_comparison\n"
        "print(hashlib.sha256(render_comparison(*hostile()).encode()).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", script], env={"PYTHONHASHSEED": seed, "TZ": f"UTC-{seed}"},
            check=True, capture_output=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


def test_a_comparison_tells_verdicts_figures_cases_and_both_commits():
    page = parsed("comparison")
    assert page.all("h1")[0][2] == "Degraded: customer_sentiment"
    whole = " ".join("".join(words for _, _, words in page.all("body")).split())
    assert samples.BASE in whole
    assert samples.HEAD in whole
    text = page.text()
    for part in (
        "-0.066", "[-0.094, -0.038]", "< 0.001", "31 cases got worse", "9 cases got better",
        "6 more cases", "expected neutral, got negative", "baseline: 2 commits older",
        "1 case removed, not in the gate: review-0990", "pipeline old_router is gone",
        "the shorter answers are worth it", "judge: gpt-4o-2024-08-06 → gpt-4o-2024-11-20",
    ):  # fmt: skip
        assert part in text, part
    badges = [words for _, attrs, words in page.all("span") if "badge" in attrs.get("class", "")]
    assert {"degraded, and accepted", "not comparable", "unchanged", "new"} <= set(badges)
    cases = [words for _, attrs, words in page.all("summary") if "review-" in words]
    worst = WHOLE.pipelines[0].worse[0]
    assert worst.id in cases[0]
    assert f"{worst.base:.2f} → {worst.head:.2f}" in cases[0]


def test_what_is_new_is_not_called_inconclusive():
    new = replace(WHOLE, pipelines=WHOLE.pipelines[-1:], outcome="unchanged")
    page = Parsed(render_comparison(new))
    assert page.all("h1")[0][2] == "Nothing to compare: translations is new"


def test_a_session_puts_what_failed_first_and_opens_it():
    page = parsed("session")
    assert page.all("h1")[0][2] == "3 of 7 tests failed"
    opened = ["".join(w) for t, attrs, w in page.elements if t == "details" and "open" in attrs]
    assert [next(n for n in ("sarcasm", "label_quality", "test_refund_tone") if n in one)
            for one in opened] == ["sarcasm", "label_quality", "test_refund_tone"]  # fmt: skip
    for part in ("[-∞, 1.900], n = 150", "weak inconclusive", "needs n >= 620", "cost $0.20"):
        assert part in page.text(), part


@pytest.mark.parametrize(
    ("verdicts", "heading"),
    [
        (["pass", "pass"], "All 2 tests passed"),
        (["pass", "unverified"], "1 of 2 tests passed, none failed"),
        ([], "No test was run"),
    ],
)
def test_the_heading_never_says_more_than_is_known(verdicts, heading):
    table = samples.tables()[1]
    lines = tuple(replace(table.lines[0], verdict=verdict) for verdict in verdicts)
    page = render_session([replace(table, lines=lines)] if verdicts else [])
    assert Parsed(page).all("h1")[0][2] == heading


def test_an_overview_tells_trend_cost_versions_runs_and_the_latest_comparison():
    page = parsed("overview")
    text = page.text()
    for part in ("Trend over commits", "Cost by run", "v2.6.0", "2 older versions", "16 older runs",
                 "The cost of 1 run is unknown", "No run is stored", "something to know",
                 "Latest comparison: Degraded: customer_sentiment"):  # fmt: skip
        assert part in text, part
    costs = next(w for _, _, w in page.all("desc") if "in USD" in w)
    assert "unknown" in costs


def test_an_empty_project_has_a_page():
    nothing = Overview("new", samples.overview().commit, ())
    assert "0 pipelines" in "".join(w for _, _, w in Parsed(render_overview(nothing)).all("header"))
    bare = replace(nothing, pipelines=(PipelineHistory("demo", None, "", (), note="broken"),))
    assert "broken" in Parsed(render_overview(bare)).text()


def test_changes_name_who_approved_and_what_nobody_did():
    page = parsed("changes")
    assert page.all("h1")[0][2] == "2 of 3 changes have no approval by another person"
    rows = [" ".join(words.split()) for _, _, words in page.all("tr")][1:]
    assert "merged by Grace" in rows[0]
    assert "Reviewed-by: Linus <linus@example.org>" in rows[0]
    assert "label 0.871" in rows[0]
    assert "by no other person merged by Ada (the author)" in rows[1]
    assert "(removed)" in rows[2]


def test_two_thousand_changed_cases_stay_small():
    many = replace(WHOLE, pipelines=(samples.degraded(1000, 1000),))
    long = {f"review-{n:04}": "x" * 5000 for n in range(7000)}
    known = samples.evidence(many.pipelines[0])
    texts = {k: replace(e, input=long[k]) for k, e in known.examples.items()}
    page = render_comparison(many, {"customer_sentiment": replace(known, examples=texts)})
    assert len(page.encode()) < 1_000_000
    shown = Parsed(page).text()
    assert all(change.id in shown for change in many.pipelines[0].worse)


def test_beyond_that_the_page_says_where_the_rest_is():
    many = replace(WHOLE, pipelines=(samples.degraded(2_010, 0),))
    text = Parsed(render_comparison(many)).text()
    assert "10 more cases: loom compare --json lists all of them" in text


def test_the_time_is_shown_only_where_it_is_given():
    assert "on 2026-11-22 10:15 UTC" in render_comparison(WHOLE, generated="2026-11-22 10:15 UTC")
    assert f"at commit <code>{samples.HEAD}</code>." in page_of("comparison")


# -- charts


def test_bars_are_the_shares_of_each_side():
    svg = Charts().spread(ScoreDistribution("label", (1.0,) * 3 + (0.0,), (1.0, 0.0)))
    assert re.findall(r">\s*(\d+%)\s*<", svg).count("50%") >= 2
    assert {"25%", "75%"} <= set(re.findall(r">\s*(\d+%)\s*<", svg))
    assert "base: mean 0.750 over 4 cases; head: mean 0.500 over 2 cases" in svg
    assert "var(--base)" in svg
    assert "#0101" not in svg


def test_a_score_of_one_lies_in_the_last_of_ten_bars():
    graded = tuple(n / 20 for n in range(21))
    svg = Charts().spread(ScoreDistribution("x", graded, ()))
    assert svg.count("fill: var(--base)") == 10


def test_intervals_without_bounds_have_a_picture():
    metric = replace(samples.COST, low=float("-inf"), high=float("inf"), limit=None)
    svg = Charts().intervals([metric], "cost")
    assert "between -∞ and ∞" in svg
    assert "nan" not in svg


def test_users_words_in_a_chart_stay_as_they_are():
    name = '$x$ id="b" #010101 0.12345 url(#z)'
    svg = Charts().intervals([replace(samples.LABEL, name=name)], "x")
    assert name in re.sub(r"<[^>]*>", "", svg)


def test_spreads_are_of_the_cases_that_are_compared():
    from loomgit.domain.comparison import MeasuredSide
    from loomgit.domain.runs import Case

    def case(name, definition, value):
        return Case(name, "k", definition, {"label": [value, None]}, 2, 1, None, None)

    one = {n: case(n, d, 1.0) for n, d in (("same", "d"), ("changed", "old"), ("gone", "d"))}
    two = {n: case(n, d, 0.0) for n, d in (("same", "d"), ("changed", "new"))}
    base, head = (MeasuredSide(samples.SIDES[0], cases, {}) for cases in (one, two))
    assert score_distributions(base, head) == (ScoreDistribution("label", (1.0,), (0.0,)),)
    assert score_distributions(base, None) == (ScoreDistribution("label", (1.0,) * 3, ()),)
    assert score_distributions(None, None) == ()
    assert ComparisonEvidence().spreads == ()
