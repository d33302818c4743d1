"""Checks the quarantine of a pipeline for `loom validate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.checks import ValidationCheck
from loomgit.errors import LoomError
from loomgit.wiring.quarantines import invalid_quarantine, open_checked_quarantine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from loomgit.domain.definitions import Pipeline
    from loomgit.domain.place import Problem
    from loomgit.wiring.project import Wiring


def check_quarantine(
    wiring: Wiring,
    pipeline: Pipeline,
    fault: Callable[[str, LoomError | Sequence[Problem]], ValidationCheck],
    *,
    offline: bool,
) -> Iterator[ValidationCheck]:
    """Yield a check of `load.quarantine`, if the pipeline has this key.

    `fault` returns the check for an error. If `offline` is true, nothing is opened, and a valid
    address has no result.
    """
    if pipeline.load.quarantine is None:
        return
    text = f"Quarantine: {pipeline.load.quarantine} writable"
    if problems := list(invalid_quarantine(pipeline, wiring.connections)):
        yield fault(text, problems)
    elif offline:
        yield ValidationCheck(f"{text} (not checked)", ok=None)
    else:
        try:
            open_checked_quarantine(wiring, pipeline)
            yield ValidationCheck(text)
        except LoomError as error:
            yield fault(text, error)
