"""Finds the pipelines and tests that a change removes, and the cassettes that it adds or edits."""

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
    """Return a line for each removed pipeline, unless a commit accepts the removal."""
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
    """Return (open losses, accepted losses) in the tests of these pipelines, one line per loss.

    A loss is a removed test or expectation, or a list of removed or changed cases. A loss is open
    if no commit accepts it.
    """
    if bases is None:
        return (), ()
    changes = [find_suite_change(heads, bases, name) for name in pipelines]
    lost = tuple(line for change in changes for line in change.lost(accepted))
    return lost, tuple(line for change in changes for line in change.accepted_losses(accepted))


def own_cassettes(
    heads: ProjectRevision, bases: ProjectRevision | None, pipelines: Iterable[str]
) -> set[str]:
    """Return the pipelines whose cassette (file of recorded replies) the change adds or changes.

    These replies are not trusted, because the author of the change may have written them.
    """
    if bases is None:
        return set()
    return {name for name in pipelines if changed_files(heads, bases, [cassette_path(name)])}
