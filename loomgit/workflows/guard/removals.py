"""Finds what a change removes from a project, and the cassettes that it adds or changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.gateway.cassette import cassette_path
from loomgit.wiring.revision import changed_files
from loomgit.workflows.testing.suite_changes import find_suite_change

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.comparison.acceptance import Acceptance
    from loomgit.wiring.revision import ProjectRevision


def gone_pipelines(
    heads: ProjectRevision, bases: ProjectRevision | None, accepted: Sequence[Acceptance]
) -> tuple[str, ...]:
    """Return a line for each pipeline that only the baseline has, unless a trailer accepts the
    removal."""
    before = () if bases is None else bases.catalog.pipeline_names()
    allowed = {*heads.catalog.pipeline_names(), *(acceptance.subject for acceptance in accepted)}
    hint = "if this is intended, add the trailer `Loom-Accept: {0}: REASON` to the commit message"
    return tuple(
        f"{name}: the pipeline is gone; {hint.format(name)}"
        for name in before
        if name not in allowed
    )


def lost_tests(
    heads: ProjectRevision,
    bases: ProjectRevision | None,
    pipelines: Iterable[str],
    accepted: Sequence[Acceptance],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the lines about losses in these pipelines' tests: first the losses that no commit
    accepts, then the accepted losses."""
    if bases is None:
        return (), ()
    changes = [find_suite_change(heads, bases, name) for name in pipelines]
    lost = tuple(line for change in changes for line in change.lost(accepted))
    return lost, tuple(line for change in changes for line in change.accepted_losses(accepted))


def own_cassettes(
    heads: ProjectRevision, bases: ProjectRevision | None, pipelines: Iterable[str]
) -> set[str]:
    """Return the pipelines whose cassette the change adds or changes. Replies in such a cassette
    cannot be trusted."""
    if bases is None:
        return set()
    return {name for name in pipelines if changed_files(heads, bases, [cassette_path(name)])}
