"""Programs of loop apps: their limits and files, the port that runs them, and their results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct, field

from loomgit.domain.values import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

IsolationLevel = Literal["bubblewrap", "landlock", "none"]
IsolationChoice = Literal["auto", "bubblewrap", "landlock", "none"]
WorkerMode = Literal["warm", "fork"]
ExecutionStatus = Literal["ok", "error", "timeout", "memory", "output", "died"]


class ProgramLimits(Struct, frozen=True):
    """The limits of a program.

    `wall_seconds` and `cpu_seconds` apply to one execution, and `start_seconds` to the import of
    the program. `memory_bytes` is the address space of a worker. `output_bytes` is the size of one
    output as JSON.
    """

    wall_seconds: float = 5.0
    cpu_seconds: float = 5.0
    start_seconds: float = 10.0
    memory_bytes: int = 512 * 1024 * 1024
    output_bytes: int = 1024 * 1024


class ProgramFiles(Struct, frozen=True):
    """The files that a program may read: its own folder, and the shared artifacts of its version.

    `artifact` is the folder with `program.py`. `mounts` maps the path that the program uses (for
    example `/loopai-data/shared/artifacts/models/a.pkl`) to the path on this machine. The program
    can write to none of them.
    """

    artifact: Path
    mounts: Mapping[str, Path] = field(default_factory=dict)


class ProgramResult(Struct, frozen=True):
    """The result of one execution of a program.

    `error` is one line; it is empty if `status` is `ok`. `latency` is the time in the program in
    seconds. `isolation` is the level of isolation of the worker.
    """

    output: Json = None
    status: ExecutionStatus = "ok"
    error: str = ""
    latency: float = 0.0
    isolation: IsolationLevel = "none"


class ProgramHost(Protocol):
    """Runs one version of a program in workers, which are separate processes."""

    async def execute(self, inputs: Sequence[Json]) -> Sequence[ProgramResult]:
        """Run the program once for each input; return the results in the same order.

        If the program fails on an input or exceeds a limit, the result has an error. The other
        inputs are still executed. Raises WorldError if no worker can be started.
        """
        ...

    async def close(self) -> None:
        """End all workers. After this call, `execute` is not allowed."""
        ...
