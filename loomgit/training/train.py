"""Trains a text classifier on labelled examples, and measures it on examples that it never saw."""

from __future__ import annotations

import time
from importlib import metadata
from typing import TYPE_CHECKING

from loomgit.domain.training import LabelFigures, TrainedProgram, TrainingReport
from loomgit.errors import UserError
from loomgit.stats.rates import rate_interval
from loomgit.training.corpus import divide, label_key
from loomgit.training.text_classifier import TextClassifier

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from loomgit.domain.training import LabelledExample
    from loomgit.domain.values import JsonMapping
    from loomgit.training.corpus import Corpus
    from loomgit.training.fitting import LinearModel

INSTALL = "pip install 'loom-aietl[ml]'"


def train_text_classifier(
    examples: Iterable[LabelledExample],
    *,
    fields: Sequence[str],
    clock: Callable[[], float] = time.perf_counter,
) -> TrainedProgram:
    """Train a program that predicts the label of an input from its `fields`, and measure it.

    At least one field contains text; the others may contain numbers and booleans. A third of the
    distinct texts is held out: the report is about these examples, and the program is trained on
    the others only. The files do not depend on the order of the examples.

    Raises UserError if scikit-learn is not installed, if the examples have fewer than two labels, a
    label with one example or more than 200 labels, or if a field is missing or not usable.
    """
    try:
        from loomgit.training import artifact, fitting  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "sklearn":
            raise
        raise UserError(f"training a classifier needs scikit-learn: {INSTALL}") from error

    corpus = divide(examples, fields)
    model = fitting.fit_corpus(corpus)
    files = artifact.render_artifact(model, corpus.labels)
    report = measure(files, corpus, clock)
    return TrainedProgram(files, report, _metadata(corpus, model))


def measure(
    files: Mapping[str, bytes], corpus: Corpus, clock: Callable[[], float]
) -> TrainingReport:
    """Run the program on all held-out examples; return the report."""
    classifier = TextClassifier(files["model.json"], files["weights.npy"])
    place_of = {label_key(label): at for at, label in enumerate(corpus.labels)}
    size = len(corpus.labels)
    confusion = [[0] * size for _ in range(size)]
    seconds = []
    for inputs, truth in zip(corpus.inputs(corpus.held_out), corpus.held_out_labels, strict=True):
        began = clock()
        output = classifier.classify(inputs)
        seconds.append(clock() - began)
        confusion[truth][place_of[label_key(output["result"])]] += 1
    return _report(corpus, confusion, sorted(seconds), sum(map(len, files.values())))


def _report(
    corpus: Corpus, confusion: list[list[int]], seconds: list[float], size: int
) -> TrainingReport:
    held_out = len(seconds)
    correct = sum(row[at] for at, row in enumerate(confusion))
    accuracy = rate_interval(correct, held_out)
    figures = []
    for at, label in enumerate(corpus.labels):
        actual, predicted = sum(confusion[at]), sum(row[at] for row in confusion)
        figures.append(
            LabelFigures(
                label,
                corpus.training_labels.count(at),
                actual,
                confusion[at][at] / predicted if predicted else None,
                confusion[at][at] / actual if actual else None,
            )
        )
    return TrainingReport(
        examples=corpus.examples,
        training=len(corpus.training),
        held_out=held_out,
        correct=correct,
        accuracy=accuracy.estimate,
        accuracy_low=accuracy.low,
        accuracy_high=accuracy.high,
        labels=tuple(figures),
        confusion=tuple(tuple(row) for row in confusion),
        latency_p50=seconds[held_out // 2],
        latency_p99=seconds[held_out * 99 // 100],
        size=size,
    )


def _metadata(corpus: Corpus, model: LinearModel) -> JsonMapping:
    """Return the settings of training, with which the files can be reproduced elsewhere."""
    return {
        "strategy": "ml",
        "fields": dict(corpus.kinds),
        "terms": sum(len(block.terms) for block in model.counts.blocks),
        "penalty": model.settings.penalty,
        "balance": model.settings.balance,
        "temperature": model.settings.temperature,
        "libraries": {name: metadata.version(name) for name in ("numpy", "scikit-learn", "scipy")},
    }
