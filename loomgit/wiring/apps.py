"""The loop apps of a project: their parsed files, and the checks before a program may run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.apps.lifecycle import get_version
from loomgit.config.project_files import read
from loomgit.domain.apps import (
    APP_ID_RULE,
    DEPENDENCIES_FILE,
    PROGRAM_FILE,
    AppSettings,
    AppVersion,
    Dependencies,
    is_app_id,
)
from loomgit.domain.place import Problem
from loomgit.domain.programs import ProgramFiles
from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import ProblemsFound, UserError, WorldError
from loomgit.history.app_store import METADATA
from loomgit.history.file_hashes import FileHashes

if TYPE_CHECKING:
    from pathlib import Path

    from loomgit.config.parse_cache import ParseCache
    from loomgit.domain.apps import (
        AppVersions,
        SharedArtifact,
        VersionMetadata,
    )
    from loomgit.history.app_store import AppStore

MOUNT = "/loopai-data/shared"  # where a program finds the folder `.loom/shared`


class LoadedVersion(Struct, frozen=True):
    """A version of an app that has passed all checks, with the files that its program may read."""

    settings: AppSettings
    version: AppVersion
    files: ProgramFiles


class Apps:
    """The loop apps of a project. Errors name the app and do not affect other apps."""

    def __init__(self, store: AppStore, root: Path, parse_cache: ParseCache) -> None:
        self.store = store
        self._root = root
        self._parse_cache = parse_cache
        self._hashes = FileHashes()

    # -- files

    def names(self) -> list[str]:
        """Return the names of the folders of all apps, sorted; some may be no valid ids."""
        return self.store.names()

    def settings(self, app: str) -> AppSettings:
        """Return the settings of an app. Raises UserError or ProblemsFound."""
        self._require(app)
        text, path = self.config(app)
        return self._parse_cache.app(text, path, app)

    def config(self, app: str) -> tuple[str, str]:
        """Return the text of an app's `config.yaml`, and its path for messages."""
        return read(self.store.app_folder(app) / "config.yaml", self._root)

    def _require(self, app: str) -> None:
        if self.store.has(app):
            return
        if not is_app_id(app):
            raise UserError(f"'{app}' is not the id of an app", hint=APP_ID_RULE)
        names = self.names()
        hint = did_you_mean(app, names) or (
            f"the apps are: {', '.join(names)}" if names else "`loom app create` creates an app"
        )
        raise UserError(f"there is no app {app}", hint=hint)

    def versions(self, app: str) -> AppVersions:
        """Return the versions of an app with their states. Raises UserError or WorldError."""
        self._require(app)
        return self.store.versions(app)

    def metadata(self, app: str, version: str) -> VersionMetadata | None:
        """Return the metadata of a version, or None. Raises UserError if the file is damaged."""
        return self.store.metadata(app, version)

    def dependencies(self, app: str, version: str) -> Dependencies:
        """Return the dependencies of a version. Raises ProblemsFound."""
        path = self.store.version_folder(app, version) / DEPENDENCIES_FILE
        if not path.exists():
            return Dependencies()
        return self._parse_cache.dependencies(*read(path, self._root))

    def program(self, app: str, version: str) -> bytes | None:
        """Return the source of a version's program, or None if it does not exist."""
        path = self.store.version_folder(app, version) / PROGRAM_FILE
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error

    def shown(self, app: str, version: str) -> str:
        """Return the path of a version's folder for messages."""
        return self.store.version_folder(app, version).relative_to(self._root).as_posix()

    # -- checks

    def load_version(
        self, settings: AppSettings, versions: AppVersions, name: str | None
    ) -> LoadedVersion:
        """Return a version whose files and shared artifacts are unchanged, ready to run.

        If `name` is None, it is the active version. Raises UserError or ProblemsFound.
        """
        version = get_version(versions, name)
        self.require_unchanged(settings.id, version)
        dependencies = self.dependencies(settings.id, version.name)
        problems = self.local_problems(settings.id, version.name, dependencies)
        if problems:
            raise ProblemsFound(problems)
        mounts = {}
        for artifact in dependencies.shared:
            if fault := self.artifact_fault(artifact):
                raise UserError(
                    f"{settings.id} {version.name}: {fault}",
                    hint="restore the artifact, or add a version with another hash",
                )
            mounts[f"{MOUNT}/{artifact.path}"] = self.store.shared(artifact.path)
        folder = self.store.version_folder(settings.id, version.name)
        return LoadedVersion(settings, version, ProgramFiles(folder, mounts))

    def require_unchanged(self, app: str, version: AppVersion) -> None:
        """Raise UserError if a file of a version differs from its state at the time of writing."""
        faults = self.file_faults(app, version)
        if faults:
            more = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
            raise UserError(
                f"{app} {version.name}: {faults[0]}{more}; a version never changes",
                hint=f"restore it from Git, or run `loom app add {app} --artifact DIR`",
            )

    def missing_versions(self, versions: AppVersions) -> list[str]:
        """Return a fault for each version that was added and whose folder does not exist."""
        return [f"{self.shown(versions.app, name)} is missing" for name in versions.missing]

    def file_faults(self, app: str, version: AppVersion) -> list[str]:
        """Return the differences between the files of a version and its `metadata.json`.

        If Loom did not write the version, only a missing program is a fault. Raises UserError if
        the version contains a symbolic link or is reached through one, and WorldError.
        """
        folder = self.store.version_folder(app, version.name)
        shown = self.shown(app, version.name)
        self.store.require_no_link(app, version.name)
        hashes = self._hashes.files(folder)
        metadata_sha256 = hashes.pop(METADATA, None)
        if version.metadata_sha256 is not None and metadata_sha256 != version.metadata_sha256:
            verb = "is missing" if metadata_sha256 is None else "has changed"
            return [f"{shown}/{METADATA} {verb}"]
        metadata = self.metadata(app, version.name)
        written = {PROGRAM_FILE: hashes.get(PROGRAM_FILE)} if metadata is None else metadata.files
        faults = []
        for path, sha256 in written.items():
            if path not in hashes:
                faults.append(f"{shown}/{path} is missing")
            elif hashes[path] != sha256:
                faults.append(f"{shown}/{path} has changed")
        if metadata is not None:
            added = [path for path in hashes if path not in written]
            faults += [f"{shown}/{path} was added" for path in added]
        return faults

    def local_problems(self, app: str, version: str, dependencies: Dependencies) -> list[Problem]:
        """Return a problem for each local artifact that is not in the folder of the version."""
        folder = self.store.version_folder(app, version)
        return [
            Problem(artifact.place, f"local_artifacts: {artifact.path}: no such file")
            for artifact in dependencies.local
            if not (folder / artifact.path).exists()
        ]

    def artifact_fault(self, artifact: SharedArtifact) -> str:
        """Return the reason why a shared artifact must not be used, or "".

        The hash is calculated once for each state of the files.
        """
        shown = f"the shared artifact {artifact.title} (.loom/shared/{artifact.path})"
        found = self.shared_sha256(artifact.path)
        if found is None:
            return f"{shown} is missing: expected sha256:{artifact.sha256}, found nothing"
        if found != artifact.sha256:
            return f"{shown} differs: expected sha256:{artifact.sha256}, found sha256:{found}"
        return ""

    def shared_sha256(self, path: str) -> str | None:
        """Return the hash of a file or folder in `.loom/shared`, or None if it does not exist.

        Raises UserError if it contains a symbolic link, and WorldError if it cannot be read.
        """
        place = self.store.shared(path)
        return self._hashes.sha256(place) if place.exists() else None
