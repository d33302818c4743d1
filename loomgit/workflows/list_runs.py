"""Lists past runs, including the runs that were killed before they could store a record."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from loomgit.domain.runs import INTERRUPTED
from loomgit.errors import UserError

if TYPE_CHECKING:
    from datetime import datetime

    from loomgit.domain.runs import RunSummary
    from loomgit.wiring.project import Wiring

_COMMIT = re.compile(r"[0-9a-f]{4,64}")


def list_runs(
    wiring: Wiring,
    pipeline: str | None,
    *,
    branch: str | None,
    commit: str | None,
    since: datetime | None,
    status: str | None,
) -> list[RunSummary]:
    """Return the runs that meet all given conditions, oldest first; see `loomgit.api.Project.runs`.

    Raises UserError if the revision `commit` does not exist.
    """
    if commit is not None and commit != "unborn" and not _COMMIT.fullmatch(commit):
        commit = _commit_id(wiring, commit)
    runs = wiring.store.search(
        pipeline=pipeline, branch=branch, commit=commit, since=since, status=status
    )
    if status not in (None, INTERRUPTED):
        return runs
    start = "" if since is None else f"{since:%Y-%m-%dT%H:%M:%S}"
    runs += [
        run
        for run in wiring.store.interrupted()
        if pipeline in (None, run.pipeline)
        and branch in (None, run.branch)
        and (commit is None or run.commit.startswith(commit))
        and run.started >= start
    ]
    return sorted(runs, key=lambda run: (run.started, run.uid))


def _commit_id(wiring: Wiring, revision: str) -> str:
    commit = wiring.repository.objects([f"{revision}^{{commit}}"])[0]
    if commit is None:
        raise UserError(f"the commit {revision} does not exist")
    return commit[0]
