"""Makes the record of a run, for pipeline runs and for test runs."""

from __future__ import annotations

import contextlib
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from loomgit import __version__
from loomgit.domain.runs import SCHEMA_VERSION, Run

if TYPE_CHECKING:
    from datetime import datetime

    from loomgit.domain.runs import Kind
    from loomgit.domain.versions import Commit
    from loomgit.pipeline.plan import Plan


def make_run(
    plan: Plan,
    kind: Kind,
    run_id: str,
    uid: str,
    started: datetime,
    commit: Commit,
    **results: Any,  # noqa: ANN401 - fields of different types
) -> Run:
    """Return the record of a run of `plan`. `results` are the fields of `Run` that the other
    arguments do not define."""
    return Run(
        schema_version=SCHEMA_VERSION,
        run_id=run_id,
        uid=uid,
        kind=kind,
        pipeline=plan.pipeline.name,
        pipeline_version=plan.pipeline.version,
        execution_date=f"{plan.execution_date:%Y-%m-%dT%H:%M:%SZ}",
        started=started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        commit=commit,
        scope=plan.scope(),
        config=plan.config(),
        environment=environment(),
        question=plan.question(),
        files={**plan.files, **plan.code},
        **results,
    )


def environment() -> dict[str, str]:
    """Return the versions of Loom, Python and the libraries that can affect a result, by name.

    The versions come from package metadata, because the libraries are slow to import.
    """
    versions = {"loomgit": __version__, "python": ".".join(map(str, sys.version_info[:3]))}
    for name, package in (("litellm", "litellm"), ("arbiter", "arbiter-ai")):
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(package)
    return versions
