"""`loom app list|show|audit`: shows apps, versions and shared artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from loomgit.commands.options import Common, common
from loomgit.domain.values import to_plain
from loomgit.errors import error_lines
from loomgit.report.apps import (
    NOTHING,
    VERSION_HEAD,
    dependencies_document,
    dependency_lines,
    figure_lines,
    milliseconds,
    settings_document,
    settings_lines,
    share,
    table,
    verdict_line,
    version_row,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.commands.options import Console
    from loomgit.domain.values import Json, JsonObject
    from loomgit.errors import LoomError
    from loomgit.workflows.apps.audit import Audit
    from loomgit.workflows.apps.overview import AppDetails, VersionDetails


@click.command("list")
@common
def list_all(options: Common) -> int:
    """List the apps with their active versions."""
    from loomgit.workflows.apps.overview import list_apps  # noqa: PLC0415 - keeps `--help` fast

    console = options.console
    listing = list_apps(options.project().wiring)
    rows = [["ID", "STATE", "ACTIVE", "VERSIONS", "ACCURACY", "P95", "NAME"]]
    rows += [
        [
            app.id,
            app.state,
            app.active or NOTHING,
            str(app.versions),
            share(app.accuracy),
            milliseconds(app.p95_ms),
            app.name,
        ]
        for app in listing.apps
    ]
    if listing.apps:
        for line in table(rows):
            console.answer(line)
    elif not listing.errors:
        console.answer("The project has no apps.")
    errors = _report_errors(console, listing.errors)
    apps = [asdict(app) for app in listing.apps]
    console.document({"schema_version": 1, "apps": apps, "errors": errors})
    return max((error.exit_code for error in listing.errors.values()), default=0)


def _report_errors(console: Console, errors: Mapping[str, LoomError]) -> list[Json]:
    """Print the errors of apps to stderr, and return them for a JSON document."""
    for app, error in errors.items():
        for line, hint in error_lines(error):
            console.error(line if app in line else f"{app}: {line}", hint)
    documents: list[Json] = [
        {"app": app, "problems": [*error.documents()]} for app, error in errors.items()
    ]
    return documents


@click.command("show")
@click.argument("app", metavar="ID")
@click.option("--version", metavar="VERSION", help="Show only this version, with its files.")
@common
def show(options: Common, app: str, version: str | None) -> int:
    """Show an app and its versions, or one version with its files.

    Exit codes: 0 success, 2 a file of a version or a shared artifact has changed.
    """
    from loomgit.workflows.apps import overview  # noqa: PLC0415 - keeps `--help` fast

    wiring, console = options.project().wiring, options.console
    if version is None:
        details = overview.show_app(wiring, app)
        lines, faults = _app_lines(details), details.faults
        document: JsonObject = {
            "app": settings_document(details.settings),
            "active": details.active,
            "versions": [_version_document(each) for each in details.versions],
            "missing": [*details.missing],
        }
    else:
        shown = overview.show_version(wiring, app, version)
        lines, faults = _version_lines(app, shown), list(shown.faults)
        document = {"app": app, "version": _version_document(shown)}
    for line in lines:
        console.answer(line)
    for fault in faults:
        console.error(fault)
    console.document({"schema_version": 1, **document})
    return 2 if faults else 0


def _app_lines(details: AppDetails) -> Iterator[str]:
    yield from settings_lines(details.settings, details.active)
    if details.versions:
        yield ""
        rows = [
            version_row(each.version, each.created_at, each.strategy) for each in details.versions
        ]
        yield from table([VERSION_HEAD, *rows])


def _version_lines(app: str, shown: VersionDetails) -> Iterator[str]:
    yield f"Version:   {app} {shown.name}"
    yield f"State:     {shown.state}"
    yield f"Created:   {shown.created_at or NOTHING}"
    yield f"Strategy:  {shown.strategy or NOTHING}"
    if shown.version.figures is not None:
        yield from figure_lines(shown.version.figures)
    if shown.files:
        yield ""
        yield "Files:"
        for path, sha256 in shown.files.items():
            yield f"  {path} sha256:{sha256}"
    elif not shown.faults:
        yield "Files:     not recorded, because Loom did not write this version"
    dependencies = list(dependency_lines(shown.dependencies))
    if dependencies:
        yield ""
        yield "Dependencies:"
        yield from dependencies


def _version_document(shown: VersionDetails) -> JsonObject:
    faults: list[Json] = [*shown.faults]
    return {
        "version": shown.name,
        "state": shown.state,
        "created_at": shown.created_at,
        "strategy": shown.strategy,
        "report": None if shown.report is None else dict(shown.report),
        "files": dict(shown.files),
        "figures": None if shown.version.figures is None else to_plain(shown.version.figures),
        "dependencies": dependencies_document(shown.dependencies),
        "faults": faults,
    }


@click.command("audit")
@click.argument("artifact", required=False, metavar="[SHARED_ARTIFACT]")
@common
def audit(options: Common, artifact: str | None) -> int:
    """Show which versions depend on a shared artifact, and compare the hashes.

    SHARED_ARTIFACT is a name (base or base@v2) or a path. Without it, all shared artifacts and the
    files of all versions are compared with their hashes.

    Exit codes: 0 all hashes are equal, 1 a file is missing or differs, 2 an app cannot be read.
    """
    from loomgit.workflows.apps.audit import audit_artifacts  # noqa: PLC0415 - for `--help`

    console = options.console
    result = audit_artifacts(options.project().wiring, artifact)
    for line in _audit_lines(result):
        console.answer(line)
    errors = _report_errors(console, result.errors)
    artifacts = to_plain(result.artifacts)
    faults = list(result.faults)
    console.document(
        {"schema_version": 1, "artifacts": artifacts, "faults": faults, "errors": errors}
    )
    if result.errors:
        return max(error.exit_code for error in result.errors.values())
    return 1 if result.faults else 0


def _audit_lines(result: Audit) -> Iterator[str]:
    for artifact in result.artifacts:
        yield f".loom/shared/{artifact.path}"
        yield f"  sha256:{artifact.sha256}" if artifact.sha256 else "  missing"
        for each in artifact.dependents:
            text = f"{each.app} {each.version} ({each.state}): {each.title}"
            yield "  " + verdict_line(passed=each.matches, text=text)
        if not artifact.dependents:
            yield "  no version depends on it"
    if not result.artifacts:
        yield "No version depends on a shared artifact."
    for fault in result.faults:
        yield verdict_line(passed=False, text=fault)
