"""Sentences are found in many languages, and in time that grows with the length of the text."""
# ruff: noqa: E501, RUF001 - long examples; marks that resemble ASCII characters

import time

import pytest

from loomgit.pipeline.sentences import split_sentences
from tests.soak import sized

SPLIT = {
    "Rain fell. Trams stopped! Why?": ["Rain fell.", "Trams stopped!", "Why?"],
    "Wait... what? He left… She stayed.": ["Wait... what?", "He left…", "She stayed."],
    "今天下雨。電車停了！為什麼？「好。」完": [
        "今天下雨。",
        "電車停了！",
        "為什麼？",
        "「好。」",
        "完",
    ],
    "मेघ आए। वर्षा हुई।": ["मेघ आए।", "वर्षा हुई।"],
    "هل وصل؟ نعم.": ["هل وصل؟", "نعم."],
    "First line\nSecond line\r\n\r\nThird": ["First line", "Second line", "Third"],
    "Dr. Smith met J. R. R. Tolkien in the U.S. in 1911. Good.": [
        "Dr. Smith met J. R. R. Tolkien in the U.S. in 1911.",
        "Good.",
    ],
    "Ein Neubau (z. B. ein Haus) kostet ca. 5 Mio. Euro. Gut.": [
        "Ein Neubau (z. B. ein Haus) kostet ca. 5 Mio. Euro.",
        "Gut.",
    ],
    "Pay 3.14 at example.com, i.e. today. OK": ["Pay 3.14 at example.com, i.e. today.", "OK"],
    '"Stop!" he said. "Go." She (the judge.) Went.': [
        '"Stop!" he said.',
        '"Go."',
        "She (the judge.)",
        "Went.",
    ],
    "1. Apples are red.\n2. Pears are green.": ["1. Apples are red.", "2. Pears are green."],
    "The quick brown fox jumps over the lazy dog and then runs\naway into the deep forest. It\nslept.": [
        "The quick brown fox jumps over the lazy dog and then runs away into the deep forest.",
        "It",
        "slept.",
    ],
    "  spaces \t within\u00a0a   sentence  ": ["spaces within a sentence"],
    "No end": ["No end"],
    "": [],
    " \n\t ": [],
    "… . !\n---\n***": [],
}


@pytest.mark.parametrize("text", SPLIT)
def test_sentences(text):
    assert split_sentences(text) == SPLIT[text]


@pytest.mark.parametrize(
    "unit",
    [".", "a.", ". ", "\n", "1. ", '."', " ", "。", "A b c. ", "\t.", "!?", "J. ", "(", "- a\n"],
)
def test_the_time_is_linear(unit):
    text = unit * (sized(200_000, 600_000) // len(unit))
    started = time.thread_time()
    split_sentences(text)
    assert time.thread_time() - started < sized(3, 15), "a quadratic scan takes minutes"
