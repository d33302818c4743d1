"""A project whose versions can be told apart, and what changes it for better or worse."""

import json
import shutil
from pathlib import Path

from tests.projects import PIPELINE, PROMPT, TAXONOMY, make_project

CUES = {"positive": ("great", "good", "love"), "negative": ("bad", "broken", "hate")}
SUITE = """\
pipeline: demo
dataset: data/reviews.csv
unit_tests:
  - name: plain
    input: {review: "I love it"}
    expected: {sentiment: positive}
distributional_tests:
  - {name: quality, type: statistical, assertions: ["mean(evaluation_scores) > 0.1"]}
"""
WORSE = {"context/taxonomy.md": "There are two kinds of reviews.\n"}
NEUTRAL = {"prompts/classify.txt": PROMPT + "\nBe brief.\n"}
BETTER = {"context/taxonomy.md": TAXONOMY}


def reviews(count: int = 60, start: int = 0) -> str:
    """So many reviews, each with one cue word, labels in turn."""
    lines = ["review_id,review,expected"]
    for number in range(start, start + count):
        label = ("positive", "negative")[number % 2]
        lines.append(f"r-{number},number {number} is {CUES[label][number % 3]},{label}")
    return "\n".join(lines) + "\n"


FILES = {"data/reviews.csv": reviews(), "tests/demo_test.yaml": SUITE}


def make_comparable(folder: Path, **files: str) -> Path:
    """A committed project on the embedded model, with 60 reviews and a test file."""
    return make_project(folder, **{**FILES, **files})


def copy_project(template: Path, folder: Path) -> Path:
    """A copy of a repository, links and all."""
    shutil.copytree(template, folder, symlinks=True)
    return folder


def with_transform(line: str, text: str = PIPELINE) -> str:
    """The pipeline with another line in its `transform`."""
    return text.replace("  prompt:", f"  {line}\n  prompt:")


def classify(request: dict) -> str:
    """A model that goes by its taxonomy: without one, all is negative."""
    text = request["messages"][-1]["content"]
    review = text.partition("Review:")[2].partition("Classify")[0]
    good = "Cue words" in text and any(word in review for word in CUES["positive"])
    return json.dumps({"sentiment": "positive" if good else "negative", "confidence": 0.9})
