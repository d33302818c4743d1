"""The pydantic models of the `monitoring` section in a pipeline file."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Struct
from pydantic import Field

from loomgit.config.document import UnquotedScalar
from loomgit.config.file_model import FileModel
from loomgit.config.scalars import (
    NonBlankText,
    NotNegative,
    Reader,
    SecondsOrDuration,
    Share,
    choice,
    expected,
    parse_number,
)
from loomgit.domain.definitions import AlertType  # noqa: TC001 - pydantic reads it

MULTIPLE = re.compile(r"([0-9]+(?:\.[0-9]+)?)x")


class AlertThreshold(Struct, frozen=True):
    """The threshold of an alert: a number, such as `0.7`, or a multiple of the baseline (`2x`).

    For a multiple, `relative` is True and `value` is the factor.
    """

    value: float
    relative: bool


def _read_level(value: object) -> AlertThreshold:
    multiple = MULTIPLE.fullmatch(value) if isinstance(value, str) else None
    if multiple and float(multiple[1]) > 0:
        return AlertThreshold(float(multiple[1]), relative=True)
    number = parse_number(value) if isinstance(value, UnquotedScalar) else None
    if number is None or number < 0:
        raise expected("a number such as 0.7 or a multiple such as 2x", value)
    return AlertThreshold(float(number), relative=False)


class LatencySlaModel(FileModel):
    """Limits for latency"""

    p95: SecondsOrDuration = Field(description="The 95th percentile, in seconds")


class QualityThresholdModel(FileModel):
    """Limits for scores"""

    min_score: Share = Field(description="The lowest mean score")


class AlertModel(FileModel):
    """An alert: its condition and its channel"""

    type: Annotated[
        AlertType,
        choice("alert", ("score_degradation", "cost_spike", "latency_sla", "batch_quality")),
    ]
    threshold: Annotated[
        AlertThreshold,
        Reader(
            _read_level,
            {
                "anyOf": [
                    {"type": "number", "minimum": 0},
                    {"type": "string", "pattern": f"^{MULTIPLE.pattern}$"},
                ]
            },
        ),
    ] = Field(description="0.7, or 2x for a multiple of the baseline")
    channel: NonBlankText = Field(description="A channel of .loom/config.yaml")


class MonitoringModel(FileModel):
    """Limits and alerts for the runs of a pipeline"""

    cost_budget: NotNegative | None = Field(default=None, description="USD")
    latency_sla: LatencySlaModel | None = None
    quality_threshold: QualityThresholdModel | None = None
    alerts: tuple[AlertModel, ...] = ()
