"""`loom log`: the versions of a file with their scores, cost and author."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from loomgit.commands.numbers import WholeNumber
from loomgit.commands.options import Common, common
from loomgit.errors import UserError, WorldError
from loomgit.report.log import log_document, log_table
from loomgit.report.plot import Picture, plot_scores

PICTURES = (".png", ".svg")


@click.command("log")
@click.argument("path", metavar="PATH")
@click.option("--pipeline", metavar="NAME", help="Only runs of this pipeline.")
@click.option(
    "--limit",
    type=WholeNumber(min=1),
    default=20,
    show_default=True,
    help="Show so many versions.",
)
@click.option(
    "--plot",
    metavar="FILE.png|svg",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw the scores by version into this file.",
)
@common
def command(
    options: Common, path: str, pipeline: str | None, limit: int, plot: Path | None
) -> None:
    """List the versions of a prompt, context file or pipeline, newest first.

    Each has the scores of the first complete run with the inputs of its own commit, the cost per
    record and the last run. Results with another context, model or judge are on lines of their own.
    Renamed files are followed.
    """
    picture = None if plot is None else _picture(plot)
    log = options.project().log(path, pipeline=pipeline, limit=limit)
    console = options.console
    if plot is not None and picture is not None:
        _save(plot, plot_scores(log, picture))
    for line in log_table(log):
        console.answer(line)
    if plot is not None:
        console.print(f"\nThe scores are drawn in {plot}")
    console.document(log_document(log))


def _picture(path: Path) -> Picture:
    ending = path.suffix.lower()
    if ending not in PICTURES:
        raise UserError(f"{path} is no picture that can be drawn", hint="name it .png or .svg")
    return cast("Picture", ending[1:])


def _save(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
