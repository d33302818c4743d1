"""Finds the version of a loop app that a pipeline uses, and its files in a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.apps import (
    APP_ID_RULE,
    PROGRAM_FILE,
    VERSION_NAME,
    AppProgram,
    is_app_id,
    is_bytecode,
)
from loomgit.domain.place import Problem
from loomgit.domain.suggestions import suggest_or_list
from loomgit.errors import ProblemsFound
from loomgit.history.app_store import APPS

if TYPE_CHECKING:
    from loomgit.domain.apps import AppSettings
    from loomgit.domain.definitions import Pipeline
    from loomgit.wiring.project_files import ProjectFiles

APPS_FOLDER = f".loom/{APPS}"
ACTIVE_FILE = "active"  # the file in `artifacts` with the name of the active version


def find_program(files: ProjectFiles, pipeline: Pipeline, key: str = "transform") -> AppProgram:
    """Return the program that a transform of the type `program` names.

    If the transform names no version, it is the active version of the app. `key` is the key of the
    transform in the pipeline file. Raises ProblemsFound if there is no such app or version, if the
    app is not active, or if its settings are invalid.
    """
    app = pipeline.transform.app or ""
    folder = f"{APPS_FOLDER}/{app}"
    config = f"{folder}/config.yaml"
    if not is_app_id(app):
        message = f"{key}.app: '{app}' is not the id of an app"
        raise ProblemsFound([Problem(pipeline.place(f"{key}.app"), message, APP_ID_RULE)])
    text = files.tree.read([config]).get(config)
    if text is None:
        hint: str | None = suggest_or_list(app, _apps(files), "there are")
        hint = hint or "`loom app create` creates an app"
        message = f"{key}.app: there is no app '{app}'"
        raise ProblemsFound([Problem(pipeline.place(f"{key}.app"), message, hint)])
    settings = files.parse_cache.app(text.decode("utf-8", "replace"), config, app)
    if settings.state != "active":
        message = f"{key}.app: the app '{app}' is {settings.state}"
        hint = f"`loom app resume {app}` makes it active again"
        raise ProblemsFound([Problem(pipeline.place(f"{key}.app"), message, hint)])
    return _version(files, pipeline, settings, key)


def _version(
    files: ProjectFiles, pipeline: Pipeline, settings: AppSettings, key: str
) -> AppProgram:
    """Return the version that the transform names, or the active version."""
    artifacts = f"{APPS_FOLDER}/{settings.id}/artifacts"
    name = pipeline.transform.version
    place = pipeline.place(f"{key}.version" if name else f"{key}.app")
    if name is None:
        name = _active_version(files, artifacts)
        if not name:
            message = f"{key}.app: the app '{settings.id}' has no active version"
            advice = f"add `version:` to {key}, or use `loom app promote {settings.id} VERSION`"
            raise ProblemsFound([Problem(place, message, advice)])
    folder = f"{artifacts}/{name}"
    paths = files.tree.files(folder, "") if VERSION_NAME.fullmatch(name) else []
    if f"{folder}/{PROGRAM_FILE}" not in paths:
        message = f"{key}: the app '{settings.id}' has no version '{name}'"
        programs = files.tree.files(artifacts, f"/{PROGRAM_FILE}")
        versions = sorted({path.removeprefix(f"{artifacts}/").split("/")[0] for path in programs})
        hint = suggest_or_list(name, versions, "there are")
        raise ProblemsFound([Problem(place, message, hint)])
    paths = [path for path in paths if not is_bytecode(path)]
    blobs = {path: entry.blob for path, entry in files.tree.entries(paths).items()}
    return AppProgram(settings, name, folder, blobs)


def _active_version(files: ProjectFiles, artifacts: str) -> str:
    """Return the name of the active version, or "". The file can be a link to the version."""
    path = f"{artifacts}/{ACTIVE_FILE}"
    target = files.tree.link_target(path)
    if target is not None:
        return target.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
    return files.tree.read([path]).get(path, b"").decode("utf-8", "replace").strip()


def _apps(files: ProjectFiles) -> list[str]:
    """Return the ids of the apps of the project."""
    configs = files.tree.files(APPS_FOLDER, "/config.yaml")
    names = (path.removeprefix(f"{APPS_FOLDER}/").split("/") for path in configs)
    return sorted(parts[0] for parts in names if len(parts) == 2)
