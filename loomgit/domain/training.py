"""Training of programs from labelled examples: the examples, the result, and its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.values import Json, JsonMapping

if TYPE_CHECKING:
    from loomgit.domain.values import JsonObject


class LabelledExample(Struct, frozen=True):
    """An example for training: an input, and the output that the program must return for it.

    Unlike `AppExample`, it always has a label. `place` is the file and the number of the example;
    errors begin with it.
    """

    input: JsonMapping
    label: Json
    place: str = ""


class LabelFigures(Struct, frozen=True):
    """The examples of a label on each side, and how well the program finds the label.

    `precision` is None if the program never chose the label, and `recall` is None if no held-out
    example has the label.
    """

    label: Json
    training: int
    held_out: int
    precision: float | None
    recall: float | None


class TrainingReport(Struct, frozen=True):
    """The quality of a trained program on held-out examples, which training never saw.

    `examples` is the number of all examples. `training` and `held_out` are those in use; the
    limits of training leave out the others. `accuracy_low` and `accuracy_high` are the bounds of
    the 90 % interval of `accuracy`. `confusion[i][j]` counts the held-out examples with the label
    `labels[i]` for which the program chose `labels[j]`. `latency_p50` and `latency_p99` are
    quantiles of the time of one execution in seconds, without a worker. `size` is the size of all
    files in bytes.
    """

    examples: int
    training: int
    held_out: int
    correct: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    labels: tuple[LabelFigures, ...]
    confusion: tuple[tuple[int, ...], ...]
    latency_p50: float
    latency_p99: float
    size: int

    def document(self) -> JsonObject:
        """Return the report as JSON types, for `metadata.json` and `--json`."""
        figures = {name: getattr(self, name) for name in self.__struct_fields__}
        labels = [
            {name: getattr(each, name) for name in each.__struct_fields__} for each in self.labels
        ]
        return {**figures, "labels": labels, "confusion": [list(row) for row in self.confusion]}


class TrainedProgram(Struct, frozen=True):
    """The files of an artifact by their paths in it, the report, and the settings of training.

    `files` and `metadata` depend on the examples and the versions of the libraries only.
    """

    files: Mapping[str, bytes]
    report: TrainingReport
    metadata: JsonMapping
