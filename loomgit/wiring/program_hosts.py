"""Opens the host that runs a program in the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.sandbox.isolation import choose_isolation
from loomgit.sandbox.pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.programs import (
        IsolationChoice,
        ProgramFiles,
        ProgramHost,
        ProgramLimits,
        WorkerMode,
    )


def open_program_host(
    files: ProgramFiles,
    *,
    limits: ProgramLimits,
    mode: WorkerMode,
    isolation: IsolationChoice,
    warn: Callable[[str], None],
) -> ProgramHost:
    """Return a host that runs the program in `files`. No worker starts before the first execution.

    `warn` is called with each restriction that the platform cannot enforce. Raises WorldError if
    the demanded isolation is not available.
    """
    chosen = choose_isolation(isolation)
    for warning in chosen.warnings:
        warn(warning)
    return WorkerPool(files, limits, chosen, mode=mode)
