"""`loom validate`: the checklist of a pipeline, nothing run and nothing written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loomgit.commands.options import Common, common
from loomgit.domain.values import to_plain
from loomgit.errors import UserError
from loomgit.report import text

if TYPE_CHECKING:
    from loomgit.api import Project


@click.command("validate")
@click.argument("pipelines", nargs=-1, metavar="[PIPELINE...]")
@click.option("--offline", is_flag=True, help="Do not look at sources and destinations.")
@common
def command(options: Common, pipelines: tuple[str, ...], offline: bool) -> int:
    """Check pipelines (all of them by default): the file, prompt, context, connections."""
    project = options.project()
    results = [project.validate(name, offline=offline) for name in pipelines or _all(project)]
    for number, result in enumerate(results):
        if number:
            options.console.print()
        for line in text.validation(result):
            options.console.answer(line)
    options.console.document(
        {
            "schema_version": 1,
            "pipelines": [{**to_plain(result), "valid": result.valid} for result in results],
        }
    )
    if all(result.valid for result in results):
        return 0
    return 4 if all(result.valid or result.unreachable for result in results) else 2


def _all(project: Project) -> list[str]:
    names = project.pipeline_names()
    if not names:
        raise UserError("there are no pipelines", hint="write pipelines/NAME.yaml, or `loom init`")
    return names
