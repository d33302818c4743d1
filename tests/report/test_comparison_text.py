"""A comparison as text, as JSON, as Markdown; whatever stands in the data."""

import json
import math
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
    QuestionDifference,
    Revision,
    Side,
)
from loomgit.report.comparison import document, sentence, table
from loomgit.report.markdown import escape, markdown

SCORE = Metric(
    "label", "score", True, "degraded", 0.95, 0.8, -0.15, -0.2, -0.1, 0.001, 0.004, 0.02, 0.08,
    50, 150, method="permutation",
)  # fmt: skip
COST = Metric(
    "cost", "cost", False, "inconclusive", 0.001, 0.002, 1.0, 0.5, math.inf, 0.2, 0.2, 0.1, None,
    50, 50,
)  # fmt: skip
LATENCY = replace(COST, name="latency", kind="latency", base=0.0123, head=1.5, high=2.0)
FOUND = PipelineComparison(
    "reviews",
    "degraded",
    base=Side("a" * 40, "f", "v1.0", "small", ("run-1",)),
    head=Side("b" * 40, "g", "v1.0+1.g1a2b3c4d", "big", ("run-2",)),
    metrics=(SCORE, COST, LATENCY),
    compared=50,
    worse=(CaseChange("r-1", 1.0, 0.0, {"label": (1.0, 0.0), "tone": (0.5, 0.5)}),),
    inputs=("prompts/x.txt: 1 -> 2",),
)


def whole(*pipelines, outcome=None, **changes):
    outcome = outcome or pipelines[0].outcome
    revisions = Revision("main", "a" * 40), Revision("working tree", "b" * 40)
    return Comparison(*revisions, outcome, pipelines, **changes)


def lines(*pipelines, explain=False, **changes):
    return list(table(whole(*pipelines, **changes), explain=explain))


def test_the_table_has_a_line_for_each_metric():
    assert lines(FOUND)[3:9] == [
        "reviews: degraded",
        "  prompt v1.0 -> v1.0+1.g1a2b3c4d, model small -> big",
        "  changed: prompts/x.txt",
        "  METRIC          BASE    HEAD    Δ        90% INTERVAL       n     p      VERDICT",
        "  Label           0.950   0.800   -0.150   [-0.200, -0.100]   50x3  0.001  degraded",
        "  cost a case     $0.001  $0.002  +100.0%  [+50.0%, ∞]        50    0.200  (inconclusive)",
    ]
    assert lines(FOUND)[9].split()[:6] == ["latency", "a", "case", "12ms", "1.50s", "+100.0%"]


def test_the_ends_come_first_and_the_verdict_last():
    found = lines(FOUND)
    assert found[:2] == ["Base: main (aaaaaaaa)", "Head: working tree (bbbbbbbb)"]
    assert found[-1] == "❌ Degraded: reviews"


def test_cases_that_moved_name_the_evaluators_that_moved():
    assert "  worse: r-1  1.00 -> 0.00 (label 1.00 -> 0.00)" in lines(FOUND)
    many = replace(FOUND, worse=FOUND.worse * 9, removed=tuple(f"r-{n}" for n in range(7)))
    assert "    and 4 more cases worse" in lines(many)
    assert "  7 removed cases, not in the gate: r-0, r-1, r-2, r-3, r-4 and 2 more" in lines(many)


def test_explain_lists_the_inputs_that_differ():
    assert "  differs: prompts/x.txt: 1 -> 2" in lines(FOUND, explain=True)
    assert "  differs: prompts/x.txt: 1 -> 2" not in lines(FOUND)
    assert "  differs: nothing" in lines(replace(FOUND, inputs=()), explain=True)


def test_what_cannot_be_compared_shows_no_number():
    blank = PipelineComparison(
        "x", "not_comparable", differs=(QuestionDifference("judge", "a", "b"),)
    )
    found = lines(replace(blank, changed=("r-1",)))
    assert found[3:6] == [
        "x: not comparable",
        "  not comparable: judge: a -> b",
        "  not comparable: case r-1: its input or expectation differs",
    ]
    assert found[-1] == "⚠️ Not comparable: x"
    served = Metric("tone", "score", True, "not_comparable", 0.5, 0.4, -0.1, reason="another judge")
    found = lines(replace(FOUND, metrics=(served,)))
    assert found[7].split() == ["Tone", *"------", "not", "comparable"]
    assert "  tone: another judge" in found


def test_an_inconclusive_metric_says_what_it_would_have_seen():
    metric = replace(SCORE, outcome="inconclusive", detects=0.0789)
    found = lines(replace(FOUND, outcome="inconclusive", metrics=(metric,)))
    assert "  label: 50 cases can detect drops of 0.079 or more" in found
    cost = replace(COST, gated=True, detects=0.25, cases=1)
    found = lines(replace(FOUND, metrics=(cost,)))
    assert "  cost: 1 case can detect rises of 25.0% or more" in found


@pytest.mark.parametrize(
    ("pipelines", "outcome", "words"),
    [
        ([FOUND], "degraded", "Degraded: reviews"),
        ([replace(FOUND, outcome="no_worse")], "no_worse", "No worse: reviews"),
        (
            [replace(FOUND, outcome="no_worse", metrics=())],
            "no_worse",
            "No worse: every case scores as before in 1 pipeline",
        ),
        (
            [
                replace(FOUND, outcome="unchanged", metrics=(), pipeline=name)
                for name in ("reviews", "triage")
            ],
            "unchanged",
            "Unchanged: no relevant difference in 2 pipelines",
        ),
        (
            [replace(FOUND, outcome="unchanged", metrics=(), vars={"lang": n}) for n in "ab"],
            "unchanged",
            "Unchanged: no relevant difference in 1 pipeline",
        ),
        (
            [replace(FOUND, vars={"lang": "de", "n": 3}), replace(FOUND, outcome="no_worse")],
            "degraded",
            "Degraded: reviews (lang=de, n=3)",
        ),
        ([replace(FOUND, new=True)], "unchanged", "Nothing to compare: reviews is new"),
        ([replace(FOUND, new=True), FOUND], "degraded", "Degraded: reviews"),
        ([], "unchanged", "Nothing to compare"),
        ([], "inconclusive", "Nothing to compare"),
    ],
)
def test_the_verdict_is_one_sentence(pipelines, outcome, words):
    assert sentence(whole(*pipelines, outcome=outcome)) == words


def test_the_document_is_json_whatever_the_numbers():
    found = json.loads(json.dumps(document(whole(FOUND), blocked=True), allow_nan=False))
    assert found["pipelines"][0]["metrics"][1]["high"] is None
    assert found["blocked"] is True
    assert found["pipelines"][0]["worse"][0]["scores"]["tone"] == {"base": 0.5, "head": 0.5}


# -- hostile data

HOSTILE = [
    "a|b", "`code`", "**bold**", "_x_", "[link](http://evil.example)", "<script>alert(1)</script>",
    "<!-- hidden", "@somebody", "#12", "http://evil.example", "www.evil.example", ":tada:",
    "line\nbreak", "- item", "1. item", "+ item", "# heading", "> quote", "---", "~~gone~~",
    "![x](y)", "\\", "\x1b[31mred\x1b[0m", "a\u202eb", "\ufeff", "$x^2$", "&amp;", "\x00", "| x |",
]  # fmt: skip


def hostile(text):
    return replace(
        FOUND,
        worse=(replace(FOUND.worse[0], id=text),),
        removed=(text,),
        added=(text,),
        changed=(text,),
        notes=(text,),
        accepted=(text,),
        differs=(QuestionDifference(text, text, text),),
        metrics=(replace(SCORE, name=text, reason=text),),
        inputs=(text,),
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_no_terminal_code_and_no_second_line(text):
    for line in lines(hostile(text), explain=True):
        assert all(character.isprintable() for character in line.replace("⚠️", "")), line
    assert len(lines(hostile(text))) == len(lines(hostile("plain")))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_no_markup(text):
    found = markdown(whole(hostile(text)))
    plain = markdown(whole(hostile("plain")))
    assert found.count("\n") == plain.count("\n")
    assert re.sub(r"</?(details|summary)>", "", found).count("<") == 0
    for row, same in zip(found.splitlines(), plain.splitlines(), strict=True):
        assert len(re.findall(r"(?<!\\)\|", row)) == len(re.findall(r"(?<!\\)\|", same))
    for mark in ("`", "*", "[", "]", "_", "~", "$", "!"):
        assert not re.search(rf"(?<!\\){re.escape(mark)}", body(found))
    assert not re.search(r"[@#]\w|https?://|www\.\w|:tada:", body(found))


def body(text):
    """Without our own headings and table rules."""
    kept = (line for line in text.splitlines() if not line.startswith("|---"))
    return "\n".join(re.sub(r"^#+ ", "", line) for line in kept)


@given(st.text(max_size=30))
def test_escaped_text_is_one_line_that_keeps_its_words(text):
    found = escape(text)
    assert "\n" not in found
    words = re.findall(r"[a-zA-Z0-9]+", " ".join(text.split()))
    kept = re.sub(r"&(amp|lt|gt);", "", found)
    assert all(word in kept for word in words if word not in ("amp", "lt", "gt"))


def test_markdown_says_what_the_table_says():
    found = markdown(whole(FOUND, notes=("pipeline old is gone",)))
    assert found.startswith("## ❌ Loom: Degraded: reviews\n\nmain (aaaaaaaa) → working tree ")
    assert "### reviews: degraded" in found
    assert (
        "| Label | 0.950 | 0.800 | -0.150 | \\[-0.200, -0.100\\] | 50x3 | 0.001 | degraded |"
        in found
    )
    assert "<details><summary>1 case got worse</summary>" in found
    assert found.endswith("pipeline old is gone\n")


def test_markdown_keeps_so_many_cases():
    found = markdown(whole(replace(FOUND, worse=FOUND.worse * 30)), cases=10)
    assert found.count("r-1") == 10
    assert "and 20 more" in found
