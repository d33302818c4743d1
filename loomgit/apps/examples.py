"""Examples of an app: inputs with their expected outputs, and the figures of a version."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.apps import VersionFigures
from loomgit.domain.values import Json, JsonObject
from loomgit.stats.quantiles import quantile_interval
from loomgit.stats.rates import rate_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.apps import AppExecution, AppSettings

LABEL = "label"  # the field with the expected output, unless the user names another one
_TYPED = frozenset({"integer", "number", "boolean", "null", "array", "object"})


class AppExample(Struct, frozen=True):
    """An input and its expected output (label), which may be unknown: `labelled` is then false.

    `place` is the file and the number of the example.
    """

    input: JsonObject
    expected: Json = None
    labelled: bool = False
    place: str = ""


def make_example(
    row: JsonObject, label: str, settings: AppSettings, *, texts: bool, place: str = ""
) -> AppExample:
    """Return the example in a row.

    The field `label` contains the expected output. The other fields are the input; if the input
    schema declares properties, only these fields. If `texts` is true, all fields are texts (CSV);
    a text is parsed as JSON if the schema of its field has another type than text.
    """
    properties = settings.input_schema.get("properties")
    names = properties if isinstance(properties, dict) and properties else None
    fields = {
        name: value
        for name, value in row.items()
        if name != label and (names is None or name in names)
    }
    if texts:
        schemas = names or {}
        fields = {name: _parse(value, schemas.get(name)) for name, value in fields.items()}
    if label not in row:
        return AppExample(fields, place=place)
    expected = row[label]
    if texts:
        expected = _parse(expected, dict(settings.output_schema))
    return AppExample(fields, expected, labelled=True, place=place)


def _parse(value: Json, schema: Json) -> Json:
    """Parse a text as JSON if its schema allows no text. An invalid text is returned unchanged."""
    kind = schema.get("type") if isinstance(schema, dict) else None
    kinds = kind if isinstance(kind, list) else [kind]
    if not isinstance(value, str) or not all(each in _TYPED for each in kinds):
        return value
    try:
        parsed: Json = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return parsed


def measure(
    examples: Sequence[AppExample],
    executions: Sequence[AppExecution],
    *,
    file: str,
    sha256: str,
    validated_at: str,
) -> VersionFigures:
    """Return the figures of a version from the executions of the examples, at least one.

    An execution without a valid output counts as a wrong output.
    """
    valid = [execution for execution in executions if execution.status == "ok"]
    times = [execution.latency_ms for execution in valid]
    interval = None
    if all(example.labelled for example in examples):
        pairs = zip(examples, executions, strict=True)
        right = sum(e.status == "ok" and is_equal(e.output, x.expected) for x, e in pairs)
        interval = rate_interval(right, len(examples))
    levels = {execution.isolation for execution in executions if execution.isolation}
    return VersionFigures(
        examples=len(examples),
        failed=len(executions) - len(valid),
        accuracy=interval.estimate if interval else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        p50_ms=quantile_interval(times, 0.5).estimate if times else None,
        p95_ms=quantile_interval(times, 0.95).estimate if times else None,
        isolation=min(levels, key=["none", "landlock", "bubblewrap"].index, default="none"),
        examples_file=file,
        examples_sha256=sha256,
        validated_at=validated_at,
    )


def missed_targets(settings: AppSettings, figures: VersionFigures) -> list[str]:
    """Return the reasons why figures are not sufficient for the targets of an app.

    Without targets, all examples must have a valid output.
    """
    reasons = []
    if settings.accuracy_target is not None:
        if figures.accuracy is None:
            reasons.append("the accuracy is unknown, because the examples have no labels")
        elif figures.accuracy < settings.accuracy_target:
            reasons.append(
                f"accuracy {figures.accuracy:.2%} is below accuracy_target "
                f"{settings.accuracy_target:.2%}"
            )
    elif figures.failed:
        reasons.append(f"{figures.failed:,} of {figures.examples:,} examples have no valid output")
    if settings.latency_target_ms is not None:
        if figures.p95_ms is None:
            reasons.append("no example has a latency, because all of them failed")
        elif figures.p95_ms > settings.latency_target_ms:
            reasons.append(
                f"p95 latency {figures.p95_ms:.2f} ms is above latency_target_ms "
                f"{settings.latency_target_ms:g}"
            )
    return reasons


def is_equal(a: Json, b: Json) -> bool:
    """Whether two JSON values are equal. The numbers 1 and 1.0 are equal; true is no number."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_equal(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(is_equal, a, b))
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return a == b
