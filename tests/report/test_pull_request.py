import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from loomgit.domain.comparison import (
    CaseChange,
    Comparison,
    Metric,
    PipelineComparison,
    Revision,
    Side,
)
from loomgit.report.pull_request import PullRequestFindings, heading, report

LIMIT = 65_136
NASTY = [
    "@ada please look",
    "#12 closes",
    "<img src=http://x onerror=alert(1)>",
    "</details><h1>hi</h1>",
    "```\ncode",
    "| cell | cell |",
    "[link](javascript:x)",
    "![picture](http://x/y.png)",
    "- [x] done",
    "www.example.org",
    "ghp:rocket:",
    "acme/bot@1a2b3c4d",
    "\x1b[31mred\u202e",
    "::error::x",
]


def pipeline(name: str, outcome="degraded", cases: int = 0, ids=None) -> PipelineComparison:
    label = "A very long identity of a case that somebody made out of a whole review "
    names = ids or [f"{label}{number}" for number in range(cases)]
    changes = tuple(CaseChange(n, 1.0, 0.0, {"label": (1.0, 0.0)}) for n in names)
    metrics = (
        Metric("label", "score", True, outcome, 0.9, 0.7, -0.2, -0.25, -0.15, 0.001, cases=2000),
        Metric("cost", "cost", False, "no_worse", 0.002, 0.003, 0.5, 0.4, 0.6, 0.5, cases=2000),
        Metric("latency", "latency", False, "no_worse", 1.2, 1.5, 0.25, 0.2, 0.3, 0.5, cases=2000),
    )
    return PipelineComparison(
        name, outcome, base=Side("a", "f"), head=Side("b", "g"), metrics=metrics, worse=changes
    )


def found(*pipelines: PipelineComparison, outcome="degraded", **more) -> PullRequestFindings:
    base, head = Revision("main", "1" * 40), Revision("feature", "2" * 40)
    return PullRequestFindings(Comparison(base, head, outcome, pipelines), **more)


def test_two_thousand_changed_cases_fit_and_no_verdict_is_lost():
    names = [f"pipeline_{number}" for number in range(5)]
    text = report(
        found(
            *(pipeline(name, cases=2000) for name in names),
            diff="+ a line\n" * 50_000,
            failures=tuple(f"tests/a.yaml::unit::t{n}: {'why ' * 200}" for n in range(2000)),
            blocked=True,
        ),
        limit=LIMIT,
    )
    assert len(text) <= LIMIT
    for name in names:
        assert f"### {name.replace('_', chr(92) + '_')}: degraded" in text
    assert text.count("2,000 cases got worse") == 5
    assert "and 1,950 more" in text
    assert "2,000 tests failed" in text


@pytest.mark.parametrize("count", [300, 1200])
def test_every_pipelines_verdict_stays_however_many_there_are(count):
    pipelines = [pipeline(f"p{number}", "no_worse") for number in range(count)]
    pipelines[count // 2] = pipeline("the_bad_one", "degraded", cases=2000)
    text = report(found(*pipelines), limit=LIMIT)
    assert len(text) <= LIMIT
    assert "the\\_bad\\_one" in text
    assert all(re.search(rf"\bp{number}\b", text) for number in (0, 1, count - 1))


def test_more_than_any_limit_is_cut_behind_what_is_worst():
    pipelines = [pipeline("x" * 50 + str(number), "no_worse") for number in range(1300)]
    text = report(found(*pipelines, pipeline("bad")), limit=LIMIT)
    assert len(text) <= LIMIT
    assert "- degraded (1): bad" in text
    assert text.endswith("(cut: too long)\n")


@pytest.mark.parametrize("nasty", NASTY)
def test_what_comes_from_data_is_inert(nasty):
    text = report(
        found(
            pipeline("p", ids=[nasty]),
            failures=(nasty,),
            accepted=(nasty,),
            unverified=(nasty,),
            faults=(nasty,),
            unmeasured=nasty,
            notes=(nasty,),
        ),
        limit=LIMIT,
    )
    ours = text.replace("<details><summary>", "").replace("</summary>", "")
    ours = ours.replace("</details>", "").replace("<sub>", "").replace("</sub>", "")
    assert "<" not in ours
    assert not re.search(r"(?<!\\)[`!\[]|@\w|(?<!&)#\d|://|\bwww\.", ours)
    assert not [c for c in text if not c.isprintable() and c not in "\n\u200b"]


@given(st.text())
def test_no_line_of_the_diff_closes_its_block(line):
    text = report(found(pipeline("p"), diff=f"+{line}\n"), limit=LIMIT)
    block = text.partition("<summary>Prompt diff</summary>\n\n")[2].partition("\n\n</details>")[0]
    fence = block.partition("diff\n")[0]
    inside = block.removeprefix(f"{fence}diff\n").removesuffix(f"\n{fence}")
    assert set(fence) == {"`"}
    assert fence not in inside


def test_cost_and_latency_are_told_for_a_thousand_records():
    text = report(found(pipeline("p")), limit=LIMIT)
    assert (
        "Per 1,000 records: cost $2.00 → $3.00 (+50.0%), latency 1200.0s → 1500.0s"
        in text.replace("\\", "")
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "✅ Loom: No worse: p"),
        ({"failures": ("a", "b")}, "❌ Loom: 2 tests failed"),
        ({"faults": ("a",)}, "❌ Loom: 1 problem in the project's files"),
        ({"unverified": ("a",)}, "⚠️ Loom: 1 test unverified"),
        ({"unverified": ("a",), "blocked": True}, "❌ Loom: 1 test unverified"),
        ({"unmeasured": "no key"}, "⚠️ Loom: The comparison could not be made"),
        ({"failures": ("a",), "unverified": ("b",)}, "❌ Loom: 1 test failed; 1 test unverified"),
        ({"blocked": True}, "❌ Loom: No worse: p"),
    ],
)
def test_the_heading_has_the_verdict(change, said):
    calm = found(pipeline("p", "no_worse"), outcome="no_worse")
    assert heading(replace(calm, **change)) == said


def test_many_names_do_not_fill_the_heading():
    line = heading(found(*(pipeline(f"p{n}") for n in range(100))))
    assert line.endswith("p19 and 80 more")
