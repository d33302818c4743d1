"""What a change takes away from a project, and the replies that it brings in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.gateway.cassette import cassette_of
from loomgit.sessions.suite_changes import find_suite_change
from loomgit.wiring.bench import changed_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.harness.acceptance import Acceptance
    from loomgit.wiring.bench import Bench


def gone_pipelines(
    heads: Bench, bases: Bench | None, accepted: Sequence[Acceptance]
) -> tuple[str, ...]:
    """A line for each pipeline that only the baseline has, unless a trailer accepts that."""
    before = () if bases is None else bases.catalog.pipeline_names()
    kept = {*heads.catalog.pipeline_names(), *(each.subject for each in accepted)}
    hint = "if that is meant, say so with the trailer `Loom-Accept: {0}: REASON`"
    return tuple(
        f"{name}: the pipeline is gone; {hint.format(name)}" for name in before if name not in kept
    )


def lost_tests(
    heads: Bench, bases: Bench | None, pipelines: Iterable[str], accepted: Sequence[Acceptance]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """A line for what the change takes away from the tests of these pipelines; and for what of it
    somebody accepts."""
    if bases is None:
        return (), ()
    changes = [find_suite_change(heads, bases, name) for name in pipelines]
    lost = tuple(line for change in changes for line in change.lost(accepted))
    return lost, tuple(line for change in changes for line in change.accepted_losses(accepted))


def own_cassettes(heads: Bench, bases: Bench | None, pipelines: Iterable[str]) -> set[str]:
    """The pipelines whose cassette the change has added or changed: it may hold any reply."""
    if bases is None:
        return set()
    return {name for name in pipelines if changed_files(heads, bases, [cassette_of(name)])}
