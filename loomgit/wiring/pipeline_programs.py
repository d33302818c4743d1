"""Opens the workers of the programs that the pipelines of one tree use."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from loomgit.domain.programs import IsolationChoice
from loomgit.domain.suggestions import suggest_or_list
from loomgit.errors import UserError
from loomgit.wiring.program_hosts import open_program_host
from loomgit.wiring.project_files import ISOLATION_VARIABLE

if TYPE_CHECKING:
    from loomgit.domain.apps import AppProgram
    from loomgit.domain.programs import ProgramHost
    from loomgit.wiring.project import Wiring


class PipelinePrograms:
    """The workers of programs. Pipelines with the same program share its workers."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._hosts: dict[str, ProgramHost] = {}

    def host(self, program: AppProgram) -> ProgramHost:
        """Return the host of a program. No worker starts before the first execution.

        Raises UserError if a file of the version or a shared artifact has changed, WorldError if
        programs cannot be isolated on this machine, and Untrusted if the files come from a revision
        that is not trusted, and there is no isolation.
        """
        host = self._hosts.get(program.title)
        if host is None:
            host = self._hosts[program.title] = self._open(program)
        return host

    def _open(self, program: AppProgram) -> ProgramHost:
        wiring, settings = self._wiring, program.settings
        isolation = choose_isolation(wiring)
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


def choose_isolation(wiring: Wiring) -> IsolationChoice:
    """Return the isolation that a command or the environment demands.

    Raises UserError if the value is unknown.
    """
    text = wiring.isolation
    choices: tuple[IsolationChoice, ...] = get_args(IsolationChoice)
    for choice in choices:
        if choice == text:
            return choice
    hint = suggest_or_list(text, choices, "there are")
    raise UserError(f"{ISOLATION_VARIABLE}: there is no isolation '{text}'", hint=hint)
