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
    """Check pipelines without running them.

    Checks the file, the prompt, the context, the tests and the connections of each PIPELINE, or of
    all pipelines.

    Exit codes: 0 valid, 2 not valid, 4 a source or destination is unreachable.
    """
    project = options.project(target=target)
    results = [
        project.validate(name, offline=offline, variables=variables, execution_date=execution_date)
        for name in pipelines or _all(project)
    ]
    for number, result in enumerate(results):
        if number:
            options.console.print()
        for line in text.validation(result, only_problems=options.console.quiet):
            options.console.answer(line)
    options.console.document(
        {
            "schema_version": 1,
            "pipelines": [
                {**to_plain(result), "valid": result.valid, "problems": result.problems}
                for result in results
            ],
        }
    )
    if all(result.valid for result in results):
        return 0
    return 4 if all(result.valid or result.unreachable for result in results) else 2


def _all(project: Project) -> list[str]:
    names = project.pipeline_names()
    if not names:
        raise UserError(
            "the project has no pipelines", hint="create pipelines/NAME.yaml, or run `loom init`"
        )
    return names
