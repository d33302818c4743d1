"""`loom power`: how many cases and samples a comparison needs, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loomgit.commands.numbers import FiniteNumber, WholeNumber
from loomgit.commands.options import Common, common
from loomgit.domain.power import PLANNED, Wish
from loomgit.errors import UserError
from loomgit.report.power import power_document, power_lines

if TYPE_CHECKING:
    from loomgit.domain.power import Failures

SHARE = FiniteNumber(min=0, max=1, min_open=True)


@click.command("power")
@click.argument("pipelines", nargs=-1, metavar="[PIPELINE...]")
@click.option("--drop", type=SHARE, required=True, help="The drop of the mean score to be blocked.")
@click.option(
    "--max-drop",
    type=FiniteNumber(min=0, max=1),
    help="The drop that is accepted; default: what the pipeline's tests say.",
)
@click.option(
    "--samples",
    type=WholeNumber(min=1),
    multiple=True,
    help="Replies to each case; default: 1, 3 and 5.",
)
@click.option(
    "--failures",
    type=click.Choice(["scattered", "uniform", "broken"]),
    default="scattered",
    show_default=True,
    help="Single replies fail, all get a little worse, or whole cases break.",
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
    """Tell how many cases and samples block a drop 4 times of 5, by how much the stored results
    scatter.

    Exit codes: 0 told, 2 there are no results to estimate from.
    """
    from loomgit.sessions.sizing import size  # noqa: PLC0415 - `--help` must not pay for it

    project = options.project()
    names = [project.pipeline(name).name for name in pipelines] or project.pipeline_names()
    wish = Wish(drop, max_drop, samples or PLANNED, failures)
    found, faults = [], []
    for name in names:
        try:
            found.append(size(project.wiring, name, wish))
        except UserError as error:
            faults.append(error)
    if faults and (pipelines or not found):
        raise faults[0]
    for fault in faults:
        options.console.warn(fault.message)
    if not found:
        raise UserError("there are no pipelines")
    for line in power_lines(found):
        options.console.answer(line)
    options.console.document(power_document(found))
    return 0
