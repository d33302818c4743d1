"""Shows which versions of apps depend on which shared artifacts, and compares all hashes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.apps import SharedArtifact, VersionState, is_app_id
from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import LoomError, UserError

if TYPE_CHECKING:
    from loomgit.wiring.apps import Apps
    from loomgit.wiring.project import Wiring

SHARED_PREFIXES = ("/loopai-data/shared/", "/shared/", ".loom/shared/")


class DependentVersion(Struct, frozen=True):
    """A version that depends on a shared artifact. `sha256` is the hash that the version pins."""

    app: str
    version: str
    state: VersionState
    title: str
    sha256: str
    matches: bool


class AuditedArtifact(Struct, frozen=True):
    """A shared artifact, given by its path relative to `.loom/shared`.

    `sha256` is the hash of its files, or None if it does not exist.
    """

    path: str
    sha256: str | None
    dependents: tuple[DependentVersion, ...]


class Audit(Struct, frozen=True):
    """The result of an audit.

    `faults` are the shared artifacts that are missing or differ, and the changed files of versions.
    Shared artifacts of deprecated versions are no faults, because they may have been replaced.
    `errors` are the apps that cannot be read, by their names.
    """

    artifacts: tuple[AuditedArtifact, ...]
    faults: tuple[str, ...]
    errors: dict[str, LoomError]


class _Dependency(Struct, frozen=True):
    app: str
    version: str
    state: VersionState
    artifact: SharedArtifact


def audit_artifacts(wiring: Wiring, name: str | None) -> Audit:
    """Audit one shared artifact, or all of them and the files of all versions if `name` is None.

    `name` is the name of an artifact (`base`, `base@v2`) or its path. Raises UserError if no
    version depends on it and no such file exists, and WorldError.
    """
    apps = wiring.apps
    everything, faults, errors = _read_all(apps)
    dependencies = everything
    if name is not None:
        chosen = [each for each in dependencies if _matches(each.artifact, name)]
        paths = {each.artifact.path for each in chosen}
        # Two names can refer to the same files, so all versions that use these files are shown.
        dependencies = [each for each in dependencies if each.artifact.path in paths]
        paths = paths or {_existing_path(apps, name, everything)}
        users = {(each.app, each.version) for each in dependencies}
        faults = {key: texts for key, texts in faults.items() if key in users}
    else:
        paths = {each.artifact.path for each in dependencies}
    found = {path: apps.shared_sha256(path) for path in sorted(paths)}
    artifacts = tuple(
        AuditedArtifact(
            path,
            sha256,
            tuple(_dependent(each, sha256) for each in dependencies if each.artifact.path == path),
        )
        for path, sha256 in found.items()
    )
    lines = [
        f"{each.app} {each.version}: {fault}"
        for each in dependencies
        if each.state != "deprecated" and (fault := apps.artifact_fault(each.artifact))
    ]
    lines += [
        f"{app} {version}: {text}" for (app, version), texts in faults.items() for text in texts
    ]
    return Audit(artifacts, tuple(lines), errors)


def _read_all(
    apps: Apps,
) -> tuple[list[_Dependency], dict[tuple[str, str], list[str]], dict[str, LoomError]]:
    """Return the dependencies of all versions, the changed files, and the errors of apps.

    The changed files are given by (app, version). The errors are those of the apps that cannot be
    read.
    """
    dependencies: list[_Dependency] = []
    faults: dict[tuple[str, str], list[str]] = {}
    errors: dict[str, LoomError] = {}
    for app in filter(is_app_id, apps.names()):
        try:
            apps.settings(app)
            versions = apps.versions(app)
            if missing := apps.missing_versions(versions):
                faults[app, ", ".join(versions.missing)] = missing
            for version in versions.versions:
                if texts := apps.file_faults(app, version):
                    faults[app, version.name] = texts
                dependencies += [
                    _Dependency(app, version.name, version.state, artifact)
                    for artifact in apps.dependencies(app, version.name).shared
                ]
        except LoomError as error:
            errors[app] = error
    return dependencies, faults, errors


def _matches(artifact: SharedArtifact, name: str) -> bool:
    return name in (artifact.name, artifact.title) or _inside(name) == artifact.path


def _inside(name: str) -> str:
    """Return a path relative to `.loom/shared`, without a slash at the end."""
    prefix = next((each for each in SHARED_PREFIXES if name.startswith(each)), "")
    return name.removeprefix(prefix).rstrip("/")


def _existing_path(apps: Apps, name: str, dependencies: list[_Dependency]) -> str:
    path = _inside(name)
    is_inside = ".." not in path.split("/") and not path.startswith("/") and path
    for candidate in (path, f"artifacts/{path}"):
        if is_inside and apps.store.shared(candidate).exists():
            return candidate
    names = sorted({each.artifact.name for each in dependencies})
    hint = did_you_mean(name, names) or "`loom app audit` lists all shared artifacts"
    raise UserError(f"there is no shared artifact {name}", hint=hint)


def _dependent(dependency: _Dependency, sha256: str | None) -> DependentVersion:
    artifact = dependency.artifact
    return DependentVersion(
        dependency.app,
        dependency.version,
        dependency.state,
        artifact.title,
        artifact.sha256,
        matches=artifact.sha256 == sha256,
    )
