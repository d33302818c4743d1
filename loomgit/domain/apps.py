"""Loop apps: a versioned program for one task, its settings, and the files that it depends on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from msgspec import Struct, field
from msgspec.structs import asdict

from loomgit.domain.place import Place, Places
from loomgit.domain.programs import ExecutionStatus, IsolationLevel, ProgramLimits, WorkerMode
from loomgit.domain.values import Json, JsonMapping

AppState = Literal["active", "paused", "archived"]
VersionState = Literal["draft", "validated", "active", "deprecated"]
SamplingStrategy = Literal["random", "uncertainty", "stratified"]
Privacy = Literal["strict", "balanced", "permissive"]

APP_STATES: tuple[AppState, ...] = get_args(AppState)
SAMPLING_STRATEGIES: tuple[SamplingStrategy, ...] = get_args(SamplingStrategy)
PRIVACIES: tuple[Privacy, ...] = get_args(Privacy)

PROGRAM_FILE = "program.py"
DEPENDENCIES_FILE = "dependencies.yaml"
APP_ID = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")
APP_ID_RULE = (
    "the form is {task-name}-{instance}: lower-case letters, digits and hyphens, "
    "for example spam-detector-001"
)
VERSION_NAME = re.compile(r"v[1-9][0-9]{0,8}")
LONGEST_APP_ID = 100  # characters; an id is the name of a folder


class Sampling(Struct, frozen=True):
    """The executions that are selected for validation. `rate` is the share of all executions."""

    rate: float = 0.0
    strategy: SamplingStrategy = "random"


class Retention(Struct, frozen=True):
    """How long executions are stored. None means no limit. `total_bytes` is their total size."""

    days: int | None = None
    total_bytes: int | None = None


class AppSettings(Struct, frozen=True):
    """The settings of an app. The file `config.yaml` of the app contains them.

    `accuracy_target` is a share, and `latency_target_ms` is in milliseconds. A target of None
    requires nothing.
    """

    id: str
    name: str
    task: str
    input_schema: JsonMapping
    output_schema: JsonMapping
    sampling: Sampling = Sampling()
    privacy: Privacy = "strict"
    retention: Retention = Retention()
    accuracy_target: float | None = None
    latency_target_ms: float | None = None
    worker: WorkerMode = "warm"
    limits: ProgramLimits = ProgramLimits()
    state: AppState = "active"
    places: Places = field(default_factory=Places)


class SharedArtifact(Struct, frozen=True):
    """A file or folder in `.loom/shared` that a version of an app depends on.

    `path` is relative to `.loom/shared`, for example `artifacts/models/base.pkl`. `sha256` is the
    pinned hash as it is written in the file, without the prefix `sha256:`.
    """

    type: str
    name: str
    version: str
    path: str
    sha256: str
    place: Place

    @property
    def title(self) -> str:
        """The name and the version: `spam-classifier-base@v2`."""
        return f"{self.name}@{self.version}"


class LocalArtifact(Struct, frozen=True):
    """A file of a version that its program reads. `path` is relative to the version's folder."""

    type: str
    path: str
    description: str
    place: Place


class Dependencies(Struct, frozen=True):
    """The content of a file `dependencies.yaml`."""

    shared: tuple[SharedArtifact, ...] = ()
    local: tuple[LocalArtifact, ...] = ()


class VersionFigures(Struct, frozen=True):
    """The figures of the last validation of a version.

    `accuracy` is the share of the examples with the expected output; `low` and `high` are the
    bounds of its 90 % interval. The three are None if the examples have no labels. `failed` is the
    number of examples without a valid output. Latencies are in milliseconds, without the examples
    that failed; they are None if all examples failed. `examples_file` is a path in the project, or
    the name of a file outside it, and `examples_sha256` is the hash of the file.
    """

    examples: int
    failed: int
    accuracy: float | None
    low: float | None
    high: float | None
    p50_ms: float | None
    p95_ms: float | None
    isolation: IsolationLevel
    examples_file: str
    examples_sha256: str
    validated_at: str


class VersionMetadata(Struct, frozen=True):
    """The content of `metadata.json` of a version.

    `files` maps the path of each file of the version, except `metadata.json`, to its SHA-256.
    `strategy` states how the program was made, and `report` is the report of the training, or
    None.
    """

    app: str
    version: str
    created_at: str
    strategy: str
    files: Mapping[str, str]
    report: Mapping[str, Any] | None = None


class AppVersion(Struct, frozen=True):
    """A version of an app.

    `metadata_sha256` is the hash of `metadata.json` at the time of writing. It is None if the
    version was not written by Loom; its files can then not be compared with their state at the
    time of writing.
    """

    name: str
    state: VersionState = "draft"
    metadata_sha256: str | None = None
    figures: VersionFigures | None = None


class AppVersions(Struct, frozen=True):
    """All versions of an app, oldest first.

    `active` is the name of the active version, or None. `earlier` are the names of the versions
    that were active before it, the latest one last; a rollback returns to it. `missing` are the
    names of versions that were added and whose folders do not exist.
    """

    app: str
    versions: tuple[AppVersion, ...] = ()
    active: str | None = None
    earlier: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def find(self, name: str) -> AppVersion | None:
        """Return the version with this name, or None."""
        return next((version for version in self.versions if version.name == name), None)


class AppOutput(Struct, frozen=True):
    """The output of a program after unwrapping, and the other fields that the program returned."""

    value: Json
    details: JsonMapping = field(default_factory=dict)


AppExecutionStatus = Literal["input"] | ExecutionStatus


class AppExecution(Struct, frozen=True):
    """One execution of an app: a `ProgramResult` whose input and output were checked.

    The status `input` means that the input does not match the schema, so the program was not run;
    `isolation` is then None. `latency_ms` is the time in the program. `timestamp` is in UTC.
    """

    execution_id: str
    app: str
    version: str
    status: AppExecutionStatus
    output: Json
    details: JsonMapping
    error: str
    latency_ms: float
    isolation: IsolationLevel | None
    timestamp: str


class AppProgram(Struct, frozen=True):
    """The version of an app that a pipeline uses.

    `folder` is the path of the version's folder in the project. `files` maps the paths of its files
    in the project to Git blob ids.
    """

    settings: AppSettings
    version: str
    folder: str
    files: Mapping[str, str]

    @property
    def title(self) -> str:
        """The app and the version: `spam-detector-001@v2`."""
        return f"{self.settings.id}@{self.version}"

    def identity(self) -> dict[str, object]:
        """Return everything that can change a result: contents, schemas, limits, kind of worker."""
        settings = self.settings
        return {
            "files": {path.removeprefix(f"{self.folder}/"): b for path, b in self.files.items()},
            "input_schema": settings.input_schema,
            "output_schema": settings.output_schema,
            "limits": asdict(settings.limits),
            "worker": settings.worker,
        }


def version_number(name: str) -> int:
    """Return the number in the name of a version: 3 for `v3`."""
    return int(name[1:])


def is_bytecode(path: str) -> bool:
    """Whether the relative path of a file in a version is that of bytecode that Python caches.

    Such a file is not a part of the version, and a worker never imports it.
    """
    return path.endswith(".pyc") and "__pycache__" in path.split("/")[:-1]


def is_app_id(text: str) -> bool:
    """Whether a text has the form of an app's id, `{task-name}-{instance}`."""
    return APP_ID.fullmatch(text) is not None and len(text) <= LONGEST_APP_ID
