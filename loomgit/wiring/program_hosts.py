"""Opens the host that runs a program. Only this module chooses the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import UserError

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
    """Return a host that runs the program in `files`.

    `warn` is called with each restriction that the platform cannot enforce. Raises UserError if the
    demanded isolation is not available.
    """
    del files, limits, mode, isolation, warn
    raise UserError(
        "this version of Loom cannot run programs, because it has no sandbox",
        hint="all other commands of `loom app` work",
    )
