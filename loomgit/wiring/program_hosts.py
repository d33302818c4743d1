"""Opens the hosts that run programs in the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from loomgit.domain.programs import IsolationChoice
from loomgit.domain.suggestions import suggest_or_list
from loomgit.errors import UserError
from loomgit.wiring.project_files import ISOLATION_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.apps import AppProgram
    from loomgit.domain.programs import ProgramFiles, ProgramHost, ProgramLimits, WorkerMode
    from loomgit.wiring.project import Wiring


def open_program_host(
    files: ProgramFiles,
    *,
    limits: ProgramLimits,
    mode: WorkerMode,
    isolation: IsolationChoice,
    warn: Callable[[str], None],
) -> ProgramHost:
    """Return a host that runs the program in `files`. No worker starts before the first execution.

    `warn` is called with each restriction that the isolation does not enforce here. Raises
    WorldError if the isolation is not available.
    """
    from loomgit.sandbox.isolation import choose_isolation  # noqa: PLC0415
    from loomgit.sandbox.pool import WorkerPool  # noqa: PLC0415

    chosen = choose_isolation(isolation)
    for warning in chosen.warnings:
        warn(warning)
    return WorkerPool(files, limits, chosen, mode=mode)


class ProgramHosts:
    """The hosts of the programs of pipelines. Pipelines with the same program share its host."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._hosts: dict[str, ProgramHost] = {}

    def host(self, program: AppProgram) -> ProgramHost:
        """Return the host of a program. No worker starts before the first execution.

        Raises UserError if a file of the version or a shared artifact has changed, WorldError if
        programs cannot be isolated on this machine, and Untrusted if the program would run without
        isolation and its files come from a revision that is not trusted.
        """
        host = self._hosts.get(program.title)
        if host is None:
            host = self._hosts[program.title] = self._open(program)
        return host

    def _open(self, program: AppProgram) -> ProgramHost:
        wiring, settings = self._wiring, program.settings
        isolation = parse_isolation(wiring.isolation)
        if isolation == "none":
            wiring.trust.check_program(wiring, program.title)
        apps = wiring.apps
        loaded = apps.load_version(settings, apps.versions(settings.id), program.version)
        if loaded.version.state == "deprecated":
            message = f"{settings.id} {program.version} is deprecated"
            wiring.warn_once(message, message)
        return open_program_host(
            loaded.files,
            limits=settings.limits,
            mode=settings.worker,
            isolation=isolation,
            warn=lambda message: wiring.warn_once(message, message),
        )

    async def close(self) -> None:
        """End all workers."""
        hosts, self._hosts = self._hosts, {}
        for host in hosts.values():
            await host.close()


def parse_isolation(text: str) -> IsolationChoice:
    """Return the isolation that a command or the environment variable LOOM_ISOLATION demands.

    Raises UserError if the value is unknown.
    """
    choices: tuple[IsolationChoice, ...] = get_args(IsolationChoice)
    for choice in choices:
        if choice == text:
            return choice
    hint = suggest_or_list(text, choices, "there are")
    raise UserError(f"{ISOLATION_VARIABLE}: there is no isolation '{text}'", hint=hint)
