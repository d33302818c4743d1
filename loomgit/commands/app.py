"""`loom app`: manages loop apps, which are versioned programs in the place of prompts."""

from __future__ import annotations

import click

from loomgit.commands.app_create import add, create
from loomgit.commands.app_execute import run, validate
from loomgit.commands.app_lifecycle import archive, deprecate, pause, promote, resume, rollback
from loomgit.commands.app_overview import audit, list_all, show
from loomgit.commands.default_group import DefaultGroup


@click.group("app", cls=DefaultGroup, default="list", takes_argument=False)
def command() -> None:
    """Create, run and manage loop apps.

    A loop app is a program for one task, with versions v1, v2, and so on. Without a command, list
    the apps.
    """


for subcommand in (
    create,
    add,
    list_all,
    show,
    run,
    validate,
    promote,
    rollback,
    deprecate,
    pause,
    resume,
    archive,
    audit,
):
    command.add_command(subcommand)
