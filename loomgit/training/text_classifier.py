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
from itertools import pairwise
from operator import mul
from pathlib import Path  # noqa: TC003 - the program has a line more

MAX_CHARACTERS = 10_000  # of a text; the rest is not read
LONGEST_SEQUENCE = 4  # characters
REASON_TERMS = 3
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
        features = self.features(inputs)
        chances = self._chances(features)
        best = max(range(len(chances)), key=chances.__getitem__)
        return {
            "result": self.labels[best],
            "confidence": round(chances[best], 6),
            "reason": self._reason(best, chances, features),
        }

    def probabilities(self, inputs: object) -> list[float]:
        """Return the probability of each label, in the order of `labels`."""
        return self._chances(self.features(inputs))

    def features(self, inputs: object) -> dict[int, float]:
        """Return the values of the known terms of an input, by position.

        A text may stand for the whole input if there is only one field.
        """
        values: dict[int, float] = {}
        for block, index in zip(self._blocks, self._index, strict=True):
            value = inputs.get(block["field"]) if isinstance(inputs, dict) else inputs
            if block["kind"] == "steps":
                share = 1 / math.sqrt(len(index))
                values |= {index[term]: share for term in step_terms(value, block["steps"])}
                continue
            counts = Counter(TERMS[block["kind"]](text_of(value)))
            known = [(index[term], count) for term, count in counts.items() if term in index]
            weighted = {at: (1 + math.log(count)) * self._idf[at] for at, count in known}
            norm = math.sqrt(sum(value * value for value in weighted.values())) or 1.0
            values |= {at: value / norm for at, value in weighted.items()}
        return values

    def _chances(self, features: dict[int, float]) -> list[float]:
        """Return the probability of each label: softmax of the scores."""
        values = list(features.values())
        scores = [
            sum(map(mul, values, map(row.__getitem__, features))) * self._scale + intercept
            for row, intercept in zip(self._rows, self._intercepts, strict=True)
        ]
        if len(scores) == 1:
            scores.insert(0, 0.0)
        highest = max(scores)
        powers = [math.exp(score - highest) for score in scores]
        total = sum(powers)
        return [power / total for power in powers]

    def _reason(self, best: int, chances: list[float], features: dict[int, float]) -> str:
        """Name the terms that favour the label most over the second most likely label."""
        others = [label for label in range(len(chances)) if label != best]
        second = max(others, key=chances.__getitem__)
        if len(self._rows) == 1:
            sign = 1 if best == 1 else -1
            gain = {at: sign * value * self._rows[0][at] for at, value in features.items()}
        else:
            ours, theirs = self._rows[best], self._rows[second]
            gain = {at: value * (ours[at] - theirs[at]) for at, value in features.items()}
        chosen: list[tuple[str, str]] = []
        for at in sorted(gain, key=lambda at: (-gain[at], at)):
            if gain[at] <= 0 or len(chosen) == REASON_TERMS:
                break
            field, term = self._terms[at]
            short = term.strip()
            overlaps = any(
                short in other or other in short for same, other in chosen if same == field
            )
            if short and not overlaps:
                chosen.append((field, short))
        if not chosen:
            return "no known term favours a label"
        several = len({block["field"] for block in self._blocks}) > 1
        names = [f"{term!r} in {field}" if several else repr(term) for field, term in chosen]
        return f"strongest terms: {', '.join(names)}"


def load_classifier(folder: Path) -> TextClassifier:
    """Load the classifier from the two files in the folder."""
    model, weights = (folder / name for name in ("model.json", "weights.npy"))
    return TextClassifier(model.read_bytes(), weights.read_bytes())
