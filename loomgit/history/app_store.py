"""The files of loop apps below `.loom/loop-apps/`: settings, immutable versions, their states.

A version is a folder `artifacts/vN` that is written once, as a whole. The file `artifacts/active`
contains the name of the active version. `versions.json` contains what can change about versions.
The store needs no Git repository.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import msgspec
import orjson
from msgspec import Struct, field

from loomgit.domain.apps import (
    VERSION_NAME,
    AppVersion,
    AppVersions,
    VersionFigures,
    VersionMetadata,
    is_app_id,
    version_number,
)
from loomgit.domain.process_lock import ProcessLock
from loomgit.errors import UserError, WorldError
from loomgit.history.atomic_files import write_atomic
from loomgit.history.file_hashes import sha256_of
from loomgit.history.loom_folder import ignore_datasets, write_gitignore
from loomgit.history.new_folder import write_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from loomgit.domain.values import JsonObject

APPS = "loop-apps"
CONFIG, VERSIONS, METADATA = "config.yaml", "versions.json", "metadata.json"
FORMAT = 1  # of versions.json and metadata.json
LOCK_SECONDS = 30.0
# Git must not change the line ends of a version, because metadata.json contains its hashes.
ATTRIBUTES = b"*/artifacts/** -text\n"


class _StoredVersion(Struct, frozen=True):
    state: Literal["draft", "validated", "deprecated"] = "draft"
    metadata_sha256: str | None = None
    figures: VersionFigures | None = None


class _StoredVersions(Struct, frozen=True):
    schema_version: int = FORMAT
    versions: dict[str, _StoredVersion] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()


class AppStore:
    """The loop apps in a folder, which is `.loom` in a project.

    `tracked` returns whether Git tracks the run files of the project (see `RunStore`).
    """

    def __init__(self, folder: Path, *, tracked: Callable[[], bool] = lambda: False) -> None:
        self.folder = folder
        self._tracked = tracked

    # -- paths

    def app_folder(self, app: str) -> Path:
        """Return the folder of an app, which may not exist."""
        return self.folder / APPS / app

    def version_folder(self, app: str, version: str) -> Path:
        """Return the folder of a version, which may not exist."""
        return self.app_folder(app) / "artifacts" / version

    def require_no_link(self, app: str, version: str) -> None:
        """Raise UserError if a version, or a folder between `.loom` and it, is a symbolic link.

        Its program could otherwise read files that do not belong to the version.
        """
        folder = self.version_folder(app, version)
        for path in (folder, *folder.parents):
            if path == self.folder:
                return
            if path.is_symlink():
                raise UserError(f"{self._shown(path)} is a symbolic link", hint="copy the folder")

    def datasets(self, app: str) -> Path:
        """Return the folder of an app's executions, which may not exist. Git ignores it."""
        return self.app_folder(app) / "datasets"

    def shared(self, path: str) -> Path:
        """Return the path of a shared artifact, given relative to `.loom/shared`."""
        return self.folder / "shared" / path

    # -- reading

    def names(self) -> list[str]:
        """Return the names of all folders with a `config.yaml`, sorted; some may be no valid ids.

        Raises UserError or WorldError if the folder cannot be read.
        """
        return sorted(
            entry.name
            for entry in self._entries(self.folder / APPS)
            if not entry.name.startswith(".") and (self.app_folder(entry.name) / CONFIG).exists()
        )

    def _entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """Return the entries of a folder, or an empty list if it does not exist.

        Raises UserError if the path is a file, and WorldError if the folder cannot be read.
        """
        try:
            with os.scandir(folder) as entries:
                return list(entries)
        except FileNotFoundError:
            return []
        except NotADirectoryError as error:
            raise UserError(f"{self._shown(folder)}: is a file, not a folder") from error
        except OSError as error:
            raise WorldError(f"{self._shown(folder)} cannot be read: {error.strerror}") from error

    def has(self, app: str) -> bool:
        """Whether the app exists."""
        return is_app_id(app) and (self.app_folder(app) / CONFIG).exists()

    def versions(self, app: str) -> AppVersions:
        """Return the versions of an app with their states.

        A version that `versions.json` does not contain is a draft. Raises UserError if
        `versions.json` or `artifacts/active` is damaged, and WorldError.
        """
        stored = self._stored(app)
        names = self._version_names(app)
        active = self._active(app, names)
        versions = []
        for name in names:
            entry = stored.versions.get(name, _StoredVersion())
            state = "active" if name == active else entry.state
            versions.append(AppVersion(name, state, entry.metadata_sha256, entry.figures))
        missing = tuple(sorted(stored.versions.keys() - set(names)))
        return AppVersions(app, tuple(versions), active, stored.earlier, missing)

    def metadata(self, app: str, version: str) -> VersionMetadata | None:
        """Return the metadata of a version, or None if it has no `metadata.json`.

        Raises UserError if the file is damaged.
        """
        path = self.version_folder(app, version) / METADATA
        content = self._read(path)
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=VersionMetadata)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UserError(
                f"{self._shown(path)}: is damaged: {' '.join(str(error).split())}",
                hint="restore the file from Git",
            ) from error

    def _version_names(self, app: str) -> list[str]:
        entries = self._entries(self.app_folder(app) / "artifacts")
        folders = [e.name for e in entries if e.is_dir() and VERSION_NAME.fullmatch(e.name)]
        return sorted(folders, key=version_number)

    def _active(self, app: str, names: list[str]) -> str | None:
        path = self.app_folder(app) / "artifacts" / "active"
        shown = self._shown(path)
        hint = "`loom app promote` and `loom app rollback` write this file"
        if path.is_symlink():
            name = os.path.basename(os.readlink(path).rstrip("/\\"))  # noqa: PTH115, PTH119 - a text
        else:
            content = self._read(path)
            if content is None:
                return None
            name = content.decode("utf-8", "replace").strip()
        if not VERSION_NAME.fullmatch(name):
            message = "expected one line with the name of a version, such as v1"
            raise UserError(f"{shown}: {message}", hint=hint)
        if name not in names:
            raise UserError(f"{shown}: the version {name} does not exist", hint=hint)
        return name

    def _stored(self, app: str) -> _StoredVersions:
        path = self.app_folder(app) / VERSIONS
        content = self._read(path)
        if content is None:
            return _StoredVersions()
        try:
            stored = msgspec.json.decode(content, type=_StoredVersions)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UserError(
                f"{self._shown(path)}: is damaged: {' '.join(str(error).split())}",
                hint="restore the file from Git",
            ) from error
        if stored.schema_version > FORMAT:
            raise UserError(
                f"{self._shown(path)}: its format is {stored.schema_version}, this version of Loom "
                f"reads formats up to {FORMAT}",
                hint="use a newer version of Loom",
            )
        return stored

    def _read(self, path: Path) -> bytes | None:
        """Return the content of a file, or None. Raises UserError for a folder, and WorldError."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except IsADirectoryError as error:
            raise UserError(f"{self._shown(path)}: is a folder, not a file") from error
        except OSError as error:
            raise WorldError(f"{self._shown(path)} cannot be read: {error.strerror}") from error

    def _shown(self, path: Path) -> str:
        return path.relative_to(self.folder.parent).as_posix()

    # -- writing

    @contextmanager
    def lock(self, app: str) -> Iterator[None]:
        """Exclude other processes that change the app. Raises WorldError after 30 seconds."""
        folder = self.folder / "state" / "apps"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = ProcessLock(folder / f"{app}.lock")
            if not lock.acquire(seconds=LOCK_SECONDS):
                holder = lock.holder()
                raise WorldError(f"the app {app} is being changed by {holder}", hint="try again")
        except OSError as error:
            raise WorldError(f"{folder} cannot be written: {error.strerror or error}") from error
        with lock:
            yield

    def create(
        self, app: str, config: str, files: Mapping[str, bytes], metadata: VersionMetadata
    ) -> None:
        """Create an app with its version v1. Either the whole app is written, or nothing.

        Raises UserError if the app exists, and WorldError.
        """
        self._prepare()
        with self.lock(app):
            if os.path.lexists(self.app_folder(app)):
                shown = self._shown(self.app_folder(app))
                raise UserError(
                    f"the app {app} already exists: {shown}",
                    hint=f"`loom app add {app} --program FILE` adds a version",
                )
            version = metadata.version
            content = render_metadata(metadata)
            stored = _StoredVersions(
                versions={version: _StoredVersion("draft", sha256_of(content))}
            )
            artifact = {f"artifacts/{version}/{path}": data for path, data in files.items()}
            write_folder(
                self.app_folder(app),
                {
                    CONFIG: config.encode(),
                    VERSIONS: _render(stored),
                    f"artifacts/{version}/{METADATA}": content,
                    **artifact,
                },
            )

    def add_version(
        self, app: str, files: Mapping[str, bytes], describe: Callable[[str], VersionMetadata]
    ) -> str:
        """Add the next version of an app as a draft, and return its name.

        `describe` returns the metadata of the version with a given name. Either the whole version
        is written, or nothing. Raises UserError or WorldError.
        """
        self._prepare()
        with self.lock(app):
            stored = self._stored(app)
            numbers = map(version_number, (*self._version_names(app), *stored.versions))
            name = f"v{max(numbers, default=0) + 1}"
            content = render_metadata(describe(name))
            write_folder(self.version_folder(app, name), {METADATA: content, **files})
            entry = _StoredVersion("draft", sha256_of(content))
            self._write_stored(
                app, msgspec.structs.replace(stored, versions={**stored.versions, name: entry})
            )
            return name

    def change_versions(
        self, app: str, change: Callable[[AppVersions], AppVersions]
    ) -> AppVersions:
        """Replace the states of an app's versions by the result of `change`, and return it.

        No other process changes the app in the meantime. An exception of `change` changes nothing.
        """
        with self.lock(app):
            before = self.versions(app)
            after = change(before)
            entries = {
                version.name: _StoredVersion(
                    # The file `artifacts/active` states which version is active.
                    "validated" if version.state == "active" else version.state,
                    version.metadata_sha256,
                    version.figures,
                )
                for version in after.versions
            }
            stored = self._stored(app)
            self._write_stored(
                app,
                msgspec.structs.replace(
                    stored, versions={**stored.versions, **entries}, earlier=after.earlier
                ),
            )
            if after.active != before.active and after.active is not None:
                active = self.app_folder(app) / "artifacts" / "active"
                write_atomic(active, f"{after.active}\n".encode())
            return after

    def write_config(self, app: str, text: str) -> None:
        """Replace the `config.yaml` of an app. Raises WorldError."""
        write_atomic(self.app_folder(app) / CONFIG, text.encode())

    def _write_stored(self, app: str, stored: _StoredVersions) -> None:
        write_atomic(self.app_folder(app) / VERSIONS, _render(stored))

    def _prepare(self) -> None:
        """Write the files that tell Git how to treat the apps. Raises UserError or WorldError."""
        self._entries(self.folder / APPS)
        write_gitignore(self.folder, self._tracked)
        ignore_datasets(self.folder)
        attributes = self.folder / APPS / ".gitattributes"
        if not attributes.exists():
            write_atomic(attributes, ATTRIBUTES)


def render_metadata(metadata: VersionMetadata) -> bytes:
    """Return the content of `metadata.json`."""
    document: JsonObject = {"schema_version": FORMAT, **msgspec.to_builtins(metadata)}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n"


def _render(stored: _StoredVersions) -> bytes:
    return orjson.dumps(msgspec.to_builtins(stored), option=orjson.OPT_INDENT_2) + b"\n"
