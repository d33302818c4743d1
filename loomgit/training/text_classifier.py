"""Classifies an input by the words, word pairs and character sequences of its texts.

`model.json` contains the labels, and one block per field and kind of term. `weights.npy` contains
one row of weights per label, or a single row for the second of two labels. A label's score is the
sum of value * weight over the terms of the input; softmax makes probabilities of the scores.
"""

from __future__ import annotations

import json
import math
import re
import sys
import unicodedata
from array import array
from bisect import bisect_right
from collections import Counter
from heapq import nlargest
from itertools import pairwise
from operator import mul, neg
from pathlib import Path  # noqa: TC003 - `program.py` uses it at run time

MAX_CHARACTERS = 10_000  # of a text; the rest is not read
LONGEST_SEQUENCE = 4  # characters
REASON_TERMS = 3
REASON_CANDIDATES = 20  # terms that contain each other are named once
TOKEN = re.compile(r"\w+|[^\w\s]")
LONG_NUMBER = re.compile(r"\d{3,}")
NUMBER = re.compile(r"\s*[-+]?\d+(\.\d+)?([eE][-+]?\d{1,2})?\s*", re.ASCII)


def text_of(value: object) -> str:
    """Return a value of a text field as normalized text. A missing value is an empty text."""
    if not isinstance(value, str):
        value = "" if value is None else json.dumps(value, ensure_ascii=False)
    known = value[:MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8")
    return unicodedata.normalize("NFKC", known)


def number_of(value: object) -> float | None:
    """Return a value of a number field as a number, or None if it is missing or no number."""
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value) else None
    if isinstance(value, bool | int | float) and math.isfinite(value):
        return float(value)
    return None


def fold(text: str) -> str:
    """Return the text in lower case, with a 0 for each digit of a number of three digits or more.

    A text classifier learns more from the form of a telephone number than from its digits.
    """
    return LONG_NUMBER.sub(lambda number: "0" * len(number[0]), text.casefold())


def word_terms(text: str) -> list[str]:
    """Return the words, punctuation marks and pairs of them, and marks for capitals and length."""
    words = TOKEN.findall(fold(text))
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    capitals = sum(len(word) > 1 and word.isupper() for word in TOKEN.findall(text))
    length = f"<length {1 << len(text).bit_length() >> 1}+>"
    return [*words, *pairs, *["<capitals>"] * capitals, length]


def character_terms(text: str) -> list[str]:
    """Return all sequences of one to four characters, with a space before and after the text."""
    spaced = f" {' '.join(fold(text).split())} "
    return [
        spaced[start : start + length]
        for length in range(1, LONGEST_SEQUENCE + 1)
        for start in range(len(spaced) - length + 1)
    ]


def step_terms(value: object, steps: list[float]) -> list[str]:
    """Return a term for each step that a number reaches, or `<missing>`."""
    number = number_of(value)
    if number is None:
        return ["<missing>"]
    return [f">= {step:g}" for step in steps[: bisect_right(steps, number)]]


TERMS = {"words": word_terms, "characters": character_terms}


class TextClassifier:
    """A linear classifier. `model` and `weights` are the contents of its two files."""

    def __init__(self, model: bytes, weights: bytes) -> None:
        settings = json.loads(model)
        self.labels = settings["labels"]
        self._scale = settings["scale"]
        self._intercepts = settings["intercepts"]
        self._blocks = settings["blocks"]
        self._terms = [(block["field"], term) for block in self._blocks for term in block["terms"]]
        self._idf = [idf for block in self._blocks for idf in block["idf"]]
        self._index = []
        position = 0
        for block in self._blocks:
            terms = block["terms"]
            self._index.append({term: position + place for place, term in enumerate(terms)})
            position += len(terms)
        numbers = array("h", weights[10 + int.from_bytes(weights[8:10], "little") :])
        if sys.byteorder == "big":
            numbers.byteswap()
        self._rows = [numbers[at : at + position] for at in range(0, len(numbers), position)]

    def classify(self, inputs: object) -> dict[str, object]:
        """Return the label (`result`), its probability (`confidence`) and the strongest terms."""
        places, values = self._features(inputs)
        chances = self._chances(places, values)
        best = max(range(len(chances)), key=chances.__getitem__)
        return {
            "result": self.labels[best],
            "confidence": round(chances[best], 6),
            "reason": self._reason(best, chances, places, values),
        }

    def probabilities(self, inputs: object) -> list[float]:
        """Return the probability of each label, in the order of `labels`."""
        return self._chances(*self._features(inputs))

    def _features(self, inputs: object) -> tuple[list[int], list[float]]:
        """Return the places and the values of the known terms of an input.

        A text may stand for the whole input if there is only one field.
        """
        places: list[int] = []
        values: list[float] = []
        for block, index in zip(self._blocks, self._index, strict=True):
            value = inputs.get(block["field"]) if isinstance(inputs, dict) else inputs
            if block["kind"] == "steps":
                reached = [
                    index[term] for term in step_terms(value, block["steps"]) if term in index
                ]
                places += reached
                values += [1 / math.sqrt(len(index))] * len(reached)
                continue
            weighted: list[float] = []
            for term, count in Counter(TERMS[block["kind"]](text_of(value))).items():
                place = index.get(term)
                if place is not None:
                    places.append(place)
                    idf = self._idf[place]
                    weighted.append(idf if count == 1 else idf * (1 + math.log(count)))
            norm = math.sqrt(sum(map(mul, weighted, weighted)))
            values += [value / norm for value in weighted]
        return places, values

    def _chances(self, places: list[int], values: list[float]) -> list[float]:
        """Return the probability of each label: softmax of the scores."""
        scores = [
            sum(map(mul, values, map(row.__getitem__, places))) * self._scale + intercept
            for row, intercept in zip(self._rows, self._intercepts, strict=True)
        ]
        if len(scores) == 1:
            scores.insert(0, 0.0)
        highest = max(scores)
        powers = [math.exp(score - highest) for score in scores]
        total = sum(powers)
        return [power / total for power in powers]

    def _reason(
        self, best: int, chances: list[float], places: list[int], values: list[float]
    ) -> str:
        """Name the terms that favour the label most over the second most likely label."""
        second = max((at for at in range(len(chances)) if at != best), key=chances.__getitem__)
        if len(self._rows) == 1:
            sign, row = (1 if best == 1 else -1), self._rows[0]
            weights = [sign * row[place] for place in places]
        else:
            ours, theirs = self._rows[best], self._rows[second]
            weights = [ours[place] - theirs[place] for place in places]
        gains = zip(map(mul, values, weights), map(neg, places), strict=True)
        chosen: list[tuple[str, str]] = []
        for gain, negative in nlargest(REASON_CANDIDATES, gains):
            field, term = self._terms[-negative]
            term = term.strip()
            others = [other for same, other in chosen if same == field]
            if gain > 0 and term and not any(term in other or other in term for other in others):
                chosen.append((field, term))
        if not chosen:
            return "no known term favours a label"
        several = len({block["field"] for block in self._blocks}) > 1
        names = [f"{term!r} in {field}" if several else repr(term) for field, term in chosen]
        return f"strongest terms: {', '.join(names[:REASON_TERMS])}"


def load_classifier(folder: Path) -> TextClassifier:
    """Load the classifier from the two files in the folder."""
    model, weights = (folder / name for name in ("model.json", "weights.npy"))
    return TextClassifier(model.read_bytes(), weights.read_bytes())
