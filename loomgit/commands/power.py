"""`loom power`: calculates how many cases are needed to detect a drop, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loomgit.commands.numbers import Share, WholeNumber
from loomgit.commands.options import Common, common
from loomgit.domain.power import DEFAULT_SAMPLES, PowerTarget
from loomgit.errors import UserError
from loomgit.report.power import power_document, power_lines

if TYPE_CHECKING:
    from loomgit.domain.power import Failures


@click.command("power")
@click.argument("pipelines", nargs=-1, metavar="[PIPELINE...]")
@click.option(
    "--drop",
    type=Share(max=1, above_zero=True),
    metavar="SHARE",
    required=True,
    help="Drop of the mean score to detect, such as 0.05 or 5%.",
)
@click.option(
    "--max-drop",
    type=Share(max=1),
    metavar="SHARE",
    help="Largest drop that a comparison accepts.",
    show_default="max_drop of the pipeline's tests",
)
@click.option(
    "--samples",
    type=WholeNumber(min=1),
    multiple=True,
    metavar="N",
    help="Replies per case. Can be repeated.",
    show_default="1, 3 and 5",
)
@click.option(
    "--failures",
    type=click.Choice(["scattered", "uniform", "broken"]),
    default="scattered",
    show_default=True,
    help="Form of the drop: single replies fail, all get slightly worse, or whole cases fail.",
)
@common
def command(
    options: Common,
    pipelines: tuple[str, ...],
    drop: float,
    max_drop: float | None,
    samples: tuple[int, ...],
    failures: Failures,
) -> int:
    """Calculate how many cases and samples are needed to detect a drop of the mean score.

    "Detect" means that the comparison blocks the drop in 4 of 5 attempts. The calculation uses the
    variance of the stored results.

    Exit codes: 0 success, 2 no stored results, usage error or configuration error.
    """
    from loomgit.workflows.forecast.required_cases import required_cases  # noqa: PLC0415 - keeps `--help` fast

    project = options.project()
    names = [project.pipeline(name).name for name in pipelines] or project.pipeline_names()
    wish = PowerTarget(drop, max_drop, samples or DEFAULT_SAMPLES, failures)
    sizings, errors = [], []
    for name in names:
        try:
            sizings.append(required_cases(project.wiring, name, wish))
        except UserError as error:
            errors.append(error)
    if errors and (pipelines or not sizings):
        raise errors[0]
    for skipped in errors:
        options.console.warn(skipped.message)
    if not sizings:
        raise UserError("the project has no pipelines")
    for line in power_lines(sizings):
        options.console.answer(line)
    options.console.document(power_document(sizings))
    return 0
