"""The extractive fallback without a model: which sentences, and which form of output."""
# ruff: noqa: E501 - long examples

import math
import subprocess
import sys
from pathlib import Path

import pytest

from loomgit.domain.definitions import ExtractiveFallback
from loomgit.errors import UserError
from loomgit.pipeline.extractive import centrality, make_summarizer, summarize

STORY = (
    "The mill in Bergen burned down on Sunday night. I had coffee with my aunt. "
    "Firefighters fought the fire at the mill until Monday morning. The weather was mild. "
    "Nobody was hurt in the fire, said the owner of the mill in Bergen. Cats sleep a lot."
)


def test_the_sentences_about_the_topic_are_kept_in_their_order():
    assert summarize(STORY, 3) == (
        "The mill in Bergen burned down on Sunday night. "
        "Firefighters fought the fire at the mill until Monday morning. "
        "Nobody was hurt in the fire, said the owner of the mill in Bergen."
    )
    assert (
        summarize(STORY, 1) == "Nobody was hurt in the fire, said the owner of the mill in Bergen."
    )


def test_the_score_is_the_sum_of_the_cosines_to_all_other_sentences():
    sentences = ["a b b", "b c", "a d", "e"]
    idf = {"a": math.log(2), "b": math.log(2), "c": math.log(4), "d": math.log(4), "e": math.log(4)}
    counts = [{w: s.split().count(w) for w in s.split()} for s in sentences]
    vectors = [{w: n * idf[w] for w, n in words.items()} for words in counts]

    def cosine(one, other):
        norms = [math.sqrt(sum(x * x for x in v.values())) for v in (one, other)]
        return sum(x * other.get(w, 0) for w, x in one.items()) / norms[0] / norms[1]

    expected = [
        sum(cosine(v, w) for j, w in enumerate(vectors) if j != i) for i, v in enumerate(vectors)
    ]
    assert centrality(sentences) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("text", "count", "summary"),
    [
        ("", 3, ""),
        (" \n … ", 3, ""),
        ("One alone", 3, "One alone"),
        ("A cat. A dog.", 5, "A cat. A dog."),
        ("Red fox. Blue sea. Old man. New car.", 2, "Red fox. Blue sea."),  # equal scores
        (
            "Buy now! Rain fell on Oslo. BUY NOW. Oslo flooded. Buy - now",
            2,
            "Rain fell on Oslo. Oslo flooded.",
        ),
        (
            "東京は雨。電車は止まった。東京の電車は雨で止まった。猫が好き。",
            1,
            "東京の電車は雨で止まった。",
        ),
        ("雨。雪。", 2, "雨。雪。"),
    ],
)
def test_summaries(text, count, summary):
    assert summarize(text, count) == summary


def test_another_process_gets_the_same_summary():
    text = " ".join(f"Word{n % 7} and thing{n % 5} in place{n % 3}, number {n}." for n in range(60))
    script = f"from loomgit.pipeline.extractive import summarize; print(summarize({text!r}, 4))"
    results = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2", "3")
    }
    assert results == {summarize(text, 4)}


def summarizer(declared=None, load_schema=None, **settings):
    return make_summarizer(ExtractiveFallback(**settings), declared, load_schema)


def fields(required=(), **properties):
    return {"type": "object", "properties": properties, "required": list(required)}


TEXT, NUMBER = {"type": "string"}, {"type": "number"}
OPTIONAL = {"type": ["number", "null"]}
RECORD = {"id": "r-1", "title": "Fire", "document": "Rain fell.", "n": 5}

FORMS = {
    "no declared output": (None, None, {}, {"text": "Rain fell."}),
    "named without a declared output": (
        None, None, {"output": "summary"}, {"summary": "Rain fell."},
    ),
    "a named input": (None, None, {"field": "title"}, {"text": "Fire"}),
    "the first text field": (
        fields(score=OPTIONAL, label={"enum": ["a"]}, summary=TEXT, why=TEXT | {"type": ["string", "null"]}),
        None, {}, {"summary": "Rain fell.", "score": None, "why": None},
    ),
    "an optional field without null is left out": (
        fields(["summary"], summary=TEXT, why=TEXT), None, {}, {"summary": "Rain fell."},
    ),
    "a field that load.schema keeps": (
        fields(reason=TEXT | {"type": ["string", "null"]}, summary=TEXT), fields(summary=TEXT),
        {}, {"summary": "Rain fell.", "reason": None},
    ),
    "load.schema alone": (None, fields(title=TEXT, n=OPTIONAL), {}, {"title": "Rain fell.", "n": None}),
    "a reference": (
        {**fields(a={"$ref": "#/$defs/t"}, b={"$ref": "#/$defs/n"}), "$defs": {"t": TEXT, "n": OPTIONAL}},
        None, {}, {"a": "Rain fell.", "b": None},
    ),
    "a schema without properties": ({"type": "object"}, None, {}, {"text": "Rain fell."}),
    "a short text": (fields(summary={**TEXT, "maxLength": 10}), None, {}, {"summary": "Rain fell."}),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_the_output_has_the_declared_form(form):
    output, load_schema, settings, expected = FORMS[form]
    assert summarizer(output, load_schema, **settings).summarize(RECORD) == expected


@pytest.mark.parametrize(
    ("output", "load_schema", "settings", "message"),
    [
        (fields(score=NUMBER), None, {}, "has no field for a text"),
        (fields(label={"enum": ["a"]}), None, {}, "has no field for a text"),
        (fields(label=TEXT), fields(score=NUMBER), {}, "has no field for a text"),
        (fields(summary=TEXT), None, {"output": "sumary"}, "has no field 'sumary'"),
        (fields(summary=TEXT, n=NUMBER), None, {"output": "n"}, "'n' does not accept every text"),
        (fields(["n"], summary=TEXT, n=NUMBER), None, {}, "no value for the output field 'n'"),
        (fields(summary=TEXT), fields(["m"], summary=TEXT, m=NUMBER), {}, "output field 'm'"),
        ({**fields(summary=TEXT), "required": ["x"]}, None, {}, '"x" is a required property'),
        (fields(summary=TEXT) | {"minProperties": 2}, None, {}, "does not match the output"),
    ],
)
def test_what_can_never_fit_is_known_before_the_run(output, load_schema, settings, message):
    with pytest.raises(UserError, match=message):
        summarizer(output, load_schema, **settings)


@pytest.mark.parametrize(
    "record",
    [{}, {"document": ""}, {"document": None}, {"document": "… "}, {"document": 5}, {"other": "x"}],
)
def test_a_record_without_text_has_no_fallback(record):
    assert summarizer(field="document").summarize(record) is None
    if "other" not in record:
        assert summarizer().summarize(record) is None


def test_a_summary_that_does_not_match_the_declared_output_is_not_used():
    output = fields(summary={**TEXT, "maxLength": 5})
    assert summarizer(output).summarize(RECORD) is None
