"""Reads and checks the files from which a version of an app is made."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from loomgit.apps.program_source import find_source_problem
from loomgit.config.app_dependencies import parse_dependencies
from loomgit.config.project_files import decode
from loomgit.domain.apps import DEPENDENCIES_FILE, PROGRAM_FILE, VersionMetadata
from loomgit.domain.place import Place, Problem
from loomgit.errors import ProblemsFound, UserError, WorldError
from loomgit.history.app_store import METADATA
from loomgit.history.file_hashes import list_files, sha256_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from loomgit.domain.values import JsonMapping


def read_program(program: Path) -> dict[str, bytes]:
    """Return the files of a version that consists of one program. Raises UserError, WorldError."""
    return {PROGRAM_FILE: _read(program)}


def read_artifact(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder by their relative paths, without `metadata.json`.

    Raises UserError if the folder has no `program.py` or contains a symbolic link, and WorldError.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder", hint="use --program FILE for one file")
    try:
        names = list_files(folder)
    except OSError as error:
        raise WorldError(f"{folder} cannot be read: {error.strerror or error}") from error
    if PROGRAM_FILE not in names:
        raise UserError(f"{folder}: has no file {PROGRAM_FILE}")
    return {name: _read(folder / name) for name in names if name != METADATA}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise UserError(f"{path}: is a directory", hint="use --artifact DIR") from error
    except OSError as error:
        raise WorldError(f"{path} cannot be read: {error.strerror or error}") from error


def check_files(files: Mapping[str, bytes], shown: Mapping[str, str]) -> None:
    """Raise ProblemsFound if files are not a valid version of an app.

    `shown` maps the paths of files to the paths in messages, if they differ.
    """
    problems: list[Problem] = []
    for name in files:
        parts = PurePosixPath(name).parts
        is_inside = parts and ".." not in parts and not PurePosixPath(name).is_absolute()
        if not is_inside or "\\" in name or name == METADATA:
            problems.append(Problem(Place(name), "is not a valid path of a file in a version"))
    path = shown.get(PROGRAM_FILE, PROGRAM_FILE)
    if PROGRAM_FILE not in files:
        problems.append(Problem(Place(path), "is missing"))
    elif problem := find_source_problem(files[PROGRAM_FILE], path):
        problems.append(problem)
    if DEPENDENCIES_FILE in files:
        path = shown.get(DEPENDENCIES_FILE, DEPENDENCIES_FILE)
        try:
            parsed = parse_dependencies(decode(files[DEPENDENCIES_FILE], path), path)
        except ProblemsFound as error:
            problems += error.problems
        else:
            problems += [
                Problem(artifact.place, f"local_artifacts: {artifact.path}: no such file")
                for artifact in parsed.local
                if artifact.path not in files
                and not any(name.startswith(f"{artifact.path}/") for name in files)
            ]
    if problems:
        raise ProblemsFound(problems)


def describe_files(
    app: str,
    version: str,
    files: Mapping[str, bytes],
    *,
    now: datetime,
    strategy: str,
    report: JsonMapping | None = None,
) -> VersionMetadata:
    """Return the metadata of a new version with these files."""
    hashes = {name: sha256_of(content) for name, content in sorted(files.items())}
    return VersionMetadata(app, version, f"{now:%Y-%m-%dT%H:%M:%SZ}", strategy, hashes, report)
