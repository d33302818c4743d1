"""`loom validate`: checks pipelines without running them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loomgit.commands.options import (
    Common,
    common,
    execution_date_option,
    target_option,
    variables_option,
)
from loomgit.domain.values import to_plain
from loomgit.errors import UserError
from loomgit.report import text

if TYPE_CHECKING:
    from datetime import datetime

    from loomgit.api import Project
    from loomgit.domain.checks import AppValidation, ValidationResult


@click.command("validate")
@click.argument("pipelines", nargs=-1, metavar="[PIPELINE...]")
@click.option("--offline", is_flag=True, help="Do not connect to sources and destinations.")
@variables_option("Set {{ vars.NAME }}. Can be repeated. If set, missing variables are reported.")
@execution_date_option
@target_option()
@common
def command(
    options: Common,
    pipelines: tuple[str, ...],
    offline: bool,
    variables: dict[str, str],
    execution_date: datetime | None,
    target: str | None,
) -> int:
    """Check pipelines and apps without running them.

    Checks the file, the prompt, the context, the tests and the connections of each PIPELINE.
    Without arguments, checks all pipelines, and the settings, versions and shared artifacts of all
    apps.

    Exit codes: 0 valid, 2 not valid, 4 a source or destination is unreachable.
    """
    project, quiet = options.project(target=target), options.console.quiet
    apps = [] if pipelines else _apps(project)
    results = [
        project.validate(name, offline=offline, variables=variables, execution_date=execution_date)
        for name in pipelines or _all(project, may_be_empty=bool(apps))
    ]
    checklists = [
        *(text.validation(result, only_problems=quiet) for result in results),
        *(text.app_validation(app, only_problems=quiet) for app in apps),
    ]
    for number, lines in enumerate(checklists):
        if number:
            options.console.print()
        for line in lines:
            options.console.answer(line)
    options.console.document(
        {
            "schema_version": 1,
            "pipelines": [
                {**to_plain(result), "valid": result.valid, "problems": result.problems}
                for result in results
            ],
            "apps": [
                {**to_plain(app), "valid": app.valid, "problems": app.problems} for app in apps
            ],
        }
    )
    everything: list[ValidationResult | AppValidation] = [*results, *apps]
    if all(result.valid for result in everything):
        return 0
    return 4 if all(result.valid or result.unreachable for result in everything) else 2


def _apps(project: Project) -> list[AppValidation]:
    from loomgit.workflows.validate.apps import validate_apps  # noqa: PLC0415 - for `--help`

    return validate_apps(project.wiring)


def _all(project: Project, *, may_be_empty: bool) -> list[str]:
    names = project.pipeline_names()
    if not names and not may_be_empty:
        raise UserError(
            "the project has no pipelines", hint="create pipelines/NAME.yaml, or run `loom init`"
        )
    return names
