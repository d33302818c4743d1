"""Reads the log and the versions of one file or one app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.history.log import read_log
from loomgit.wiring.version_scores import VersionScores
from loomgit.workflows.apps.versions import (
    parse_app_path,
    read_app_log,
    read_program_version,
    tag_app_version,
)

if TYPE_CHECKING:
    from loomgit.domain.log import FileLog
    from loomgit.domain.versions import FileVersion
    from loomgit.wiring.project import Wiring


def read_file_log(wiring: Wiring, path: str, pipeline: str | None, limit: int | None) -> FileLog:
    """Return the newest `limit` versions of the project's file or app `path`, newest first.

    Each version has the scores of its results. If `pipeline` is given, only the results of that
    pipeline are included. Raises UserError if the file, the app or the pipeline never existed.
    """
    app = parse_app_path(path)
    if app is not None:
        return read_app_log(wiring, app, limit)
    runs = wiring.store.search(pipeline=pipeline)
    if pipeline is not None and not runs:
        wiring.catalog.pipeline(pipeline)
    log = read_log(wiring.repository, path, limit)
    return VersionScores(wiring, runs, pipeline).fill_log(log)


def read_version(wiring: Wiring, path: str, version: str | None) -> FileVersion:
    """Return the file `path`, or the program of the app `path`, at a version. Raises UserError."""
    app = parse_app_path(path)
    if app is not None:
        return read_program_version(wiring, app, version)
    return wiring.versions.read(path, version)


def create_tag(wiring: Wiring, path: str, version: str, message: str | None) -> str:
    """Tag the committed content of a file, or a version of an app; return the name of the tag.

    Raises UserError.
    """
    app = parse_app_path(path)
    if app is not None:
        return tag_app_version(wiring, app, version)
    return wiring.versions.tag(path, version, message)
