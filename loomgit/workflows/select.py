"""Selects the pipelines that match names or selection expressions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.history.baselines import WORKTREE, Baselines
from loomgit.wiring.selection import PipelineSelection, PipelineSelector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.history.baselines import ComparedRevisions
    from loomgit.wiring.project import Wiring


def select_pipelines(
    wiring: Wiring,
    names: Sequence[str],
    expressions: Sequence[str],
    exclude: Sequence[str],
    variables: Mapping[str, str],
) -> PipelineSelection:
    """Select pipelines of the working tree, in the order in which they run.

    The pipelines in `names` and those that match `expressions` are selected, except those that
    match `exclude`. In an expression, `state:modified` means that the pipeline differs from the
    baseline of `loom compare`. Raises UserError or ProblemsFound.
    """

    def revisions() -> ComparedRevisions:
        baselines = Baselines(wiring.repository, wiring.settings.baseline, wiring.variables)
        return baselines.choose(head=WORKTREE)

    return PipelineSelector(wiring, revisions, variables).choose(names, expressions, exclude)
