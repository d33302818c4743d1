"""`loom app create|add`: creates an app from a specification, and adds a version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from msgspec.structs import asdict

from loomgit.commands.options import Common, common
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.commands.options import Console
    from loomgit.workflows.apps.create import NewVersion, VersionSource

Command = TypeVar("Command", bound="Callable[..., Any]")


def source_options(function: Command) -> Command:
    """Add the options for the source of the files of a version."""
    options = [
        click.option(
            "--program", type=click.Path(path_type=Path), metavar="FILE", help="The program."
        ),
        click.option(
            "--artifact",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="A folder with program.py, and optionally dependencies.yaml and other files.",
        ),
        click.option(
            "--strategy",
            metavar="NAME",
            help="ml: train a text classifier on the examples. Needs scikit-learn: "
            "pip install 'loom-aietl[ml]'",
        ),
        click.option(
            "--examples",
            type=click.Path(),
            metavar="FILE",
            help="The examples for the strategy: CSV, JSON or JSON lines.",
        ),
        click.option(
            "--label",
            metavar="FIELD",
            help="The field of an example with the expected output. Default: label.",
        ),
    ]
    wrapped: Any = function
    for option in reversed(options):
        wrapped = option(wrapped)
    result: Command = wrapped
    return result


@click.command("create")
@click.argument("app", metavar="ID")
@click.option(
    "--spec",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="The specification: task, schemas and settings of the app.",
)
@source_options
@common
def create(options: Common, app: str, spec: Path, **source: Any) -> None:  # noqa: ANN401 - options
    """Create an app with its first version, v1.

    ID has the form {task-name}-{instance}, for example spam-detector-001. The version is a draft
    until `loom app validate` has run it.
    """
    from loomgit.workflows.apps.create import create_app  # noqa: PLC0415 - keeps `--help` fast

    wiring = options.project().wiring
    made = create_app(wiring, app, spec, _source(**source))
    _report(options.console, made, f"Created {app} with the draft v1")


@click.command("add")
@click.argument("app", metavar="ID")
@source_options
@common
def add(options: Common, app: str, **source: Any) -> None:  # noqa: ANN401 - options
    """Add the next version of an app as a draft."""
    from loomgit.workflows.apps.create import add_version  # noqa: PLC0415 - keeps `--help` fast

    made = add_version(options.project().wiring, app, _source(**source))
    _report(options.console, made, f"Added the draft {made.version} to {app}")


def _source(**values: Any) -> VersionSource:  # noqa: ANN401 - options
    from loomgit.workflows.apps.create import VersionSource  # noqa: PLC0415 - keeps `--help` fast

    given = [name for name in ("program", "artifact", "strategy") if values[name] is not None]
    if len(given) != 1:
        named = " and ".join(f"--{name}" for name in given)
        message = f"{named} exclude each other" if given else "no program is given"
        raise UserError(
            message, hint="use --program FILE, --artifact DIR, or --strategy ml --examples FILE"
        )
    for name in ("examples", "label"):
        if values[name] is not None and values["strategy"] is None:
            raise UserError(f"--{name} needs --strategy", hint="use --strategy ml")
    return VersionSource(**{name: value for name, value in values.items() if value is not None})


def _report(console: Console, made: NewVersion, line: str) -> None:
    from loomgit.report.apps import training_lines  # noqa: PLC0415 - keeps `--help` fast

    console.print(line)
    if made.training is not None:
        for text in training_lines(made.training):
            console.print(text)
    console.print(f"Next: loom app validate {made.app} --version {made.version} --examples FILE")
    fields = asdict(made)
    del fields["training"]  # a part of `report`
    console.document({"schema_version": 1, **fields})
