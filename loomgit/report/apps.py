"""Render apps, versions and executions as text for the terminal, and as JSON documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.values import as_text, to_plain
from loomgit.report.signs import BAD, OK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loomgit.domain.apps import (
        AppExecution,
        AppSettings,
        AppVersion,
        Dependencies,
        VersionFigures,
    )
    from loomgit.domain.training import TrainingReport
    from loomgit.domain.values import JsonObject

NOTHING = "-"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table; the first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def share(value: float | None) -> str:
    """Return a share as a percentage: `98.20%`."""
    return NOTHING if value is None else f"{value:.2%}"


def milliseconds(value: float | None) -> str:
    """Return a time in milliseconds: `0.042 ms`, `12.5 ms`."""
    return NOTHING if value is None else f"{value:.3f} ms" if value < 1 else f"{value:.1f} ms"


def settings_lines(settings: AppSettings, active: str | None) -> Iterator[str]:
    """Yield the lines about the settings of an app."""
    yield f"App:       {settings.id} ({settings.name})"
    yield f"Task:      {settings.task}"
    yield f"State:     {settings.state}"
    yield f"Active:    {active or NOTHING}"
    yield f"Privacy:   {settings.privacy}"
    yield f"Worker:    {settings.worker}"
    targets = []
    if settings.accuracy_target is not None:
        targets.append(f"accuracy {share(settings.accuracy_target)}")
    if settings.latency_target_ms is not None:
        targets.append(f"p95 latency {settings.latency_target_ms:g} ms")
    yield f"Targets:   {', '.join(targets) or NOTHING}"


def version_row(version: AppVersion, created_at: str | None, strategy: str | None) -> list[str]:
    """Return the cells of a version in the table of versions."""
    figures = version.figures
    return [
        version.name,
        version.state,
        (created_at or NOTHING)[:10],
        strategy or NOTHING,
        f"{figures.examples:,}" if figures else NOTHING,
        share(figures.accuracy if figures else None),
        milliseconds(figures.p95_ms if figures else None),
    ]


VERSION_HEAD = ["VERSION", "STATE", "CREATED", "STRATEGY", "EXAMPLES", "ACCURACY", "P95"]


def figure_lines(figures: VersionFigures) -> Iterator[str]:
    """Yield the lines about the figures of a validation."""
    failed = f", {figures.failed:,} without a valid output" if figures.failed else ""
    yield f"Examples:  {figures.examples:,} in {figures.examples_file}{failed}"
    if figures.accuracy is not None:
        yield (
            f"Accuracy:  {share(figures.accuracy)} "
            f"(90 % interval: {share(figures.low)} to {share(figures.high)})"
        )
    yield f"Latency:   p50 {milliseconds(figures.p50_ms)}, p95 {milliseconds(figures.p95_ms)}"
    yield f"Isolation: {figures.isolation}"


def training_lines(report: TrainingReport) -> Iterator[str]:
    """Yield lines about the quality of a trained program on the examples that it never saw."""
    low, high = share(report.accuracy_low), share(report.accuracy_high)
    yield f"  Trained on:  {report.training:,} examples"
    yield f"  Measured on: {report.held_out:,} other examples"
    yield f"  Accuracy:    {share(report.accuracy)} (90 % interval: {low} to {high})"
    rows = [("LABEL", "EXAMPLES", "PRECISION", "RECALL")]
    for figures in report.labels:
        count = f"{figures.training + figures.held_out:,}"
        rows.append(
            (as_text(figures.label), count, share(figures.precision), share(figures.recall))
        )
    yield from (f"  {line}" for line in table(rows))


def dependency_lines(dependencies: Dependencies) -> Iterator[str]:
    """Yield a line for each file that a version depends on."""
    for shared in dependencies.shared:
        yield f"  {shared.title} ({shared.type}): .loom/shared/{shared.path} sha256:{shared.sha256}"
    for local in dependencies.local:
        about = f": {local.description}" if local.description else ""
        yield f"  {local.path} ({local.type}){about}"


def execution_lines(executions: Sequence[AppExecution], *, details: bool) -> Iterator[str]:
    """Yield one line for each execution: the output as text, or the error.

    If `details` is true, the version, the latency and the further fields that the program returned
    follow each output.
    """
    for execution in executions:
        if execution.status != "ok":
            yield f"{BAD} {execution.status}: {execution.error}"
            continue
        yield as_text(execution.output)
        if details:
            yield f"  {execution.version}, {milliseconds(execution.latency_ms)}"
            for name, value in execution.details.items():
                yield f"  {name}: {' '.join(as_text(value).split())}"


def verdict_line(*, passed: bool, text: str) -> str:
    """Return a line with the sign of success or failure."""
    return f"{OK if passed else BAD} {text}"


def settings_document(settings: AppSettings) -> JsonObject:
    """Return the settings of an app as a JSON object."""
    document: JsonObject = to_plain(settings)
    document.pop("places")
    return document


def dependencies_document(dependencies: Dependencies) -> JsonObject:
    """Return the dependencies of a version as a JSON object."""
    document: JsonObject = to_plain(dependencies)
    for artifacts in document.values():
        assert isinstance(artifacts, list)
        for artifact in artifacts:
            assert isinstance(artifact, dict)
            artifact.pop("place")
    return document


def execution_document(execution: AppExecution) -> JsonObject:
    """Return an execution as a JSON object."""
    document: JsonObject = to_plain(execution)
    document.pop("app")
    document.pop("version")
    return document
