"""Reads the log of one file: its versions in Git, with their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.history.log import read_log
from loomgit.wiring.version_scores import VersionScores

if TYPE_CHECKING:
    from loomgit.domain.log import FileLog
    from loomgit.wiring.project import Wiring


def read_file_log(wiring: Wiring, path: str, pipeline: str | None, limit: int | None) -> FileLog:
    """Return the newest `limit` versions of the project's file `path`, newest first.

    Each version has the scores of its results. If `pipeline` is given, only the results of that
    pipeline are included. Raises UserError if the file or the pipeline never existed.
    """
    runs = wiring.store.search(pipeline=pipeline)
    if pipeline is not None and not runs:
        wiring.catalog.pipeline(pipeline)
    log = read_log(wiring.repository, path, limit)
    return VersionScores(wiring, runs, pipeline).fill_log(log)
