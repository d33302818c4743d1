"""Renders a linear model as the files of a program. Equal models give equal bytes."""

from __future__ import annotations

import io
import json
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.values import Json
    from loomgit.training.fitting import LinearModel

LOADING = """

CLASSIFIER = load_classifier(Path(__file__).parent)


def execute(input_data: object) -> dict[str, object]:
    \"\"\"Return `result`, `confidence` and `reason` for one input.\"\"\"
    return CLASSIFIER.classify(input_data)
"""


def render_artifact(model: LinearModel, labels: Sequence[Json]) -> Mapping[str, bytes]:
    """Return the files of the artifact: the program, its model as JSON, and its weights."""
    source = resources.files(__package__).joinpath("text_classifier.py").read_text(encoding="utf-8")
    return {
        "program.py": (source + LOADING).encode(),
        "model.json": render_model(model, labels),
        "weights.npy": render_weights(model),
    }


def render_model(model: LinearModel, labels: Sequence[Json]) -> bytes:
    """Return the settings and terms as JSON: one line per setting and per block."""
    idf = iter(model.idf.tolist())
    blocks = [
        {
            "field": block.field,
            "kind": block.kind,
            "steps": list(block.steps),
            "terms": list(block.terms),
            "idf": [next(idf) for _ in block.terms],
        }
        for block in model.counts.blocks
    ]
    lines = ",\n".join(_compact(block) for block in blocks)
    text = (
        f'{{"labels": {_compact(list(labels))},\n'
        f'"scale": {_compact(model.scale)},\n'
        f'"intercepts": {_compact(list(model.intercepts))},\n'
        f'"blocks": [\n{lines}\n]}}\n'
    )
    return text.encode("utf-8", "backslashreplace")


def render_weights(model: LinearModel) -> bytes:
    """Return the weights in NumPy's format, without pickles."""
    buffer = io.BytesIO()
    # The program reads row after row, whatever the order in memory is.
    weights = np.ascontiguousarray(model.weights)
    np.lib.format.write_array(buffer, weights, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
