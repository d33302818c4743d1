"""Lists apps, and shows one app or one version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.apps.lifecycle import get_version
from loomgit.domain.apps import (
    APP_ID_RULE,
    AppSettings,
    AppState,
    AppVersion,
    Dependencies,
    VersionState,
    is_app_id,
)
from loomgit.domain.values import JsonMapping
from loomgit.errors import LoomError, ProblemsFound, UserError

if TYPE_CHECKING:
    from loomgit.wiring.apps import Apps
    from loomgit.wiring.project import Wiring


class AppSummary(Struct, frozen=True):
    """One line of `loom app list`. The figures are those of the active version."""

    id: str
    name: str
    state: AppState
    active: str | None
    versions: int
    accuracy: float | None
    p95_ms: float | None


class AppListing(Struct, frozen=True):
    """All apps, and the errors of those that cannot be read, by the name of the folder."""

    apps: tuple[AppSummary, ...]
    errors: Mapping[str, LoomError]


class VersionDetails(Struct, frozen=True):
    """A version with its files.

    `created_at` is in UTC. `created_at` and `strategy` are None if Loom did not write the version.
    `files` maps the paths of the files to their recorded hashes. `faults` are the differences from
    these hashes, and the shared artifacts that are missing or differ.
    """

    version: AppVersion
    created_at: str | None
    strategy: str | None
    report: JsonMapping | None
    files: Mapping[str, str]
    dependencies: Dependencies
    faults: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the version."""
        return self.version.name

    @property
    def state(self) -> VersionState:
        """The state of the version."""
        return self.version.state


class AppDetails(Struct, frozen=True):
    """An app with all its versions, oldest first. `missing` are the faults of missing versions."""

    settings: AppSettings
    active: str | None
    versions: tuple[VersionDetails, ...]
    missing: tuple[str, ...]

    @property
    def faults(self) -> list[str]:
        """The missing versions, and the faults of all other versions."""
        return [*self.missing, *(fault for each in self.versions for fault in each.faults)]


def list_apps(wiring: Wiring) -> AppListing:
    """Return a summary of each app, sorted by id. Raises WorldError."""
    summaries, errors = [], {}
    for name in wiring.apps.names():
        try:
            summaries.append(_summary(wiring.apps, name))
        except LoomError as error:
            errors[name] = error
    return AppListing(tuple(summaries), errors)


def _summary(apps: Apps, app: str) -> AppSummary:
    if not is_app_id(app):
        raise UserError(f"the folder '{app}' is not the id of an app", hint=APP_ID_RULE)
    settings, versions = apps.settings(app), apps.versions(app)
    active = versions.find(versions.active) if versions.active else None
    figures = active.figures if active else None
    return AppSummary(
        id=app,
        name=settings.name,
        state=settings.state,
        active=versions.active,
        versions=len(versions.versions),
        accuracy=figures.accuracy if figures else None,
        p95_ms=figures.p95_ms if figures else None,
    )


def show_app(wiring: Wiring, app: str) -> AppDetails:
    """Return an app and its versions. Raises UserError or ProblemsFound if it cannot be read."""
    apps = wiring.apps
    settings, versions = apps.settings(app), apps.versions(app)
    details = tuple(_version(apps, app, version) for version in versions.versions)
    missing = tuple(apps.missing_versions(versions))
    return AppDetails(settings, versions.active, details, missing)


def show_version(wiring: Wiring, app: str, name: str) -> VersionDetails:
    """Return a version of an app. Raises UserError or ProblemsFound if it cannot be read."""
    return _version(wiring.apps, app, get_version(wiring.apps.versions(app), name))


def _version(apps: Apps, app: str, version: AppVersion) -> VersionDetails:
    faults = apps.file_faults(app, version)
    if faults:
        # A changed file must not prevent the display of the others.
        try:
            return _details(apps, app, version, faults)
        except UserError as error:
            return _unreadable(version, [*faults, error.first_problem])
    return _details(apps, app, version, faults)


def _details(apps: Apps, app: str, version: AppVersion, faults: list[str]) -> VersionDetails:
    metadata = apps.metadata(app, version.name)
    dependencies = apps.dependencies(app, version.name)
    missing = apps.local_problems(app, version.name, dependencies)
    if missing and not faults:
        raise ProblemsFound(missing)
    if version.state != "deprecated":  # the artifacts of such a version may have been replaced
        faults = [*faults, *filter(None, map(apps.artifact_fault, dependencies.shared))]
    return VersionDetails(
        version=version,
        created_at=metadata.created_at if metadata else None,
        strategy=metadata.strategy if metadata else None,
        report=metadata.report if metadata else None,
        files=metadata.files if metadata else {},
        dependencies=dependencies,
        faults=tuple(faults),
    )


def _unreadable(version: AppVersion, faults: list[str]) -> VersionDetails:
    return VersionDetails(version, None, None, None, {}, Dependencies(), tuple(faults))
