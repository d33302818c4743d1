"""Runs a version of an app: checks inputs and outputs, and writes the execution log."""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.apps.execution_lines import render_line
from loomgit.apps.lifecycle import require_running
from loomgit.apps.outputs import AppSchemas
from loomgit.domain.apps import AppExecution
from loomgit.errors import WorldError
from loomgit.history.execution_log import append_executions
from loomgit.wiring.program_hosts import open_program_host

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loomgit.domain.programs import IsolationChoice, ProgramHost, ProgramResult
    from loomgit.domain.values import Json
    from loomgit.wiring.apps import LoadedVersion
    from loomgit.wiring.project import Wiring

PRIVACY_WARNING = (
    "privacy: balanced: this version of Loom cannot mask personal data, so the execution log "
    "contains only hashes (as with strict)"
)


class AppExecutor:
    """Runs one version of an app in a host, and checks the inputs and the outputs."""

    def __init__(
        self, loaded: LoadedVersion, host: ProgramHost, now: Callable[[], datetime]
    ) -> None:
        self._loaded = loaded
        self._host = host
        self._now = now
        settings = loaded.settings
        self._schemas = AppSchemas(settings.input_schema, settings.output_schema)

    async def execute(self, inputs: Sequence[Json]) -> list[AppExecution]:
        """Run the program once for each input that matches the schema.

        Returns one execution for each input, in the same order. Raises WorldError if no worker can
        be started.
        """
        faults = [self._schemas.input_fault(value) for value in inputs]
        accepted = [value for value, fault in zip(inputs, faults, strict=True) if not fault]
        results = iter(await self._host.execute(accepted) if accepted else ())
        return [
            self._refused(fault) if fault else self._executed(next(results)) for fault in faults
        ]

    def _refused(self, fault: str) -> AppExecution:
        message = f"the input does not match input_schema: {fault}"
        return replace(self._blank(), status="input", error=message)

    def _executed(self, result: ProgramResult) -> AppExecution:
        execution = replace(
            self._blank(),
            status=result.status,
            error=result.error,
            latency_ms=result.latency * 1000,
            isolation=result.isolation,
        )
        if result.status != "ok":
            return execution
        output, fault = self._schemas.read_output(result.output)
        if fault:
            message = f"the output does not match output_schema: {fault}"
            return replace(execution, status="output", error=message)
        return replace(execution, output=output.value, details=output.details)

    def _blank(self) -> AppExecution:
        now = self._now()
        return AppExecution(
            execution_id=f"{now:%Y%m%dT%H%M%S}Z-{secrets.token_hex(6)}",
            app=self._loaded.settings.id,
            version=self._loaded.version.name,
            status="ok",
            output=None,
            details={},
            error="",
            latency_ms=0.0,
            isolation=None,
            timestamp=f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z",
        )


def utc_now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def execute_version(
    wiring: Wiring, loaded: LoadedVersion, inputs: Sequence[Json], isolation: IsolationChoice
) -> list[AppExecution]:
    """Run a loaded version once for each input, without the execution log.

    Raises WorldError if the isolation is not available, or if no worker can be started.
    """
    return asyncio.run(_execute(wiring, loaded, inputs, isolation))


async def _execute(
    wiring: Wiring, loaded: LoadedVersion, inputs: Sequence[Json], isolation: IsolationChoice
) -> list[AppExecution]:
    settings = loaded.settings
    host = open_program_host(
        loaded.files,
        limits=settings.limits,
        mode=settings.worker,
        isolation=isolation,
        warn=wiring.warn,
    )
    try:
        return await AppExecutor(loaded, host, utc_now).execute(inputs)
    finally:
        await host.close()


def run_app(
    wiring: Wiring,
    app: str,
    version: str | None,
    inputs: Sequence[Json],
    isolation: IsolationChoice,
) -> list[AppExecution]:
    """Run an app once for each input, and log the executions.

    If `version` is None, the active version is run. If the log cannot be written, the executions
    are returned with a warning. Raises UserError, ProblemsFound or WorldError.
    """
    settings = wiring.apps.settings(app)
    require_running(settings)
    loaded = wiring.apps.load_version(settings, wiring.apps.versions(app), version)
    if loaded.version.state == "deprecated":
        wiring.warn(f"{app} {loaded.version.name} is deprecated")
    if settings.privacy == "balanced":
        wiring.warn(PRIVACY_WARNING)
    executions = execute_version(wiring, loaded, inputs, isolation)
    lines = [
        render_line(execution, value, settings.privacy)
        for execution, value in zip(executions, inputs, strict=True)
    ]
    try:
        append_executions(wiring.apps.store.datasets(app), f"{utc_now():%Y-%m-%d}", lines)
    except WorldError as error:
        wiring.warn(f"the executions are not logged: {error.message}")
    return executions
