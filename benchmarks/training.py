"""Measures the training of a text classifier on generated messages, and the trained program.

The script prints the CPU seconds of training without imports, the size of the files, the accuracy
on held-out messages, and the CPU time of one execution.
"""

import argparse
import json
import random
import time

from measure import parse

from loomgit.domain.training import LabelledExample
from loomgit.training import fitting  # noqa: F401 - its import is not measured
from loomgit.training.text_classifier import TextClassifier
from loomgit.training.train import train_text_classifier


def generate(count: int, labels: int) -> list[LabelledExample]:
    """Messages of 5 to 30 words. A fifth of the words occurs under one label only."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 8))) for _ in range(5000)]
    examples = []
    for number in range(count):
        own = words[number % labels :: labels]
        chosen = [
            rng.choice(own if rng.random() < 0.2 else words) for _ in range(rng.randint(5, 30))
        ]
        examples.append(LabelledExample({"text": " ".join(chosen)}, f"label {number % labels}"))
    return examples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("examples", type=int, nargs="?", default=4000)
    parser.add_argument("--labels", type=int, default=2)
    options = parse(parser, examples=200)
    examples = generate(options.examples, options.labels)
    began = time.process_time()
    program = train_text_classifier(examples, fields=["text"])
    seconds = time.process_time() - began
    classifier = TextClassifier(program.files["model.json"], program.files["weights.npy"])
    times = []
    for each in examples:
        began = time.thread_time()
        classifier.classify(each.input)
        times.append(time.thread_time() - began)
    times.sort()
    figures = {
        "CPU seconds of training": round(seconds, 2),
        "size of the artifact in bytes": program.report.size,
        "held-out accuracy": round(program.report.accuracy, 4),
        "CPU milliseconds of an execution, p50": round(times[len(times) // 2] * 1000, 3),
        "CPU milliseconds of an execution, p99": round(times[len(times) * 99 // 100] * 1000, 3),
    }
    for name, value in figures.items():
        print(f"{name}: {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
