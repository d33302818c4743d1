"""`loom log`: lists the versions of a file with scores, cost and author."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from loomgit.commands.numbers import WholeNumber
from loomgit.commands.options import Common, common
from loomgit.errors import UserError, WorldError
from loomgit.report.log import log_document, log_table
from loomgit.report.plot import ImageFormat, plot_scores

IMAGE_SUFFIXES = (".png", ".svg")


@click.command("log")
@click.argument("path", metavar="PATH")
@click.option("--pipeline", metavar="NAME", help="Only runs of this pipeline.")
@click.option(
    "--limit",
    type=WholeNumber(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Show at most N versions.",
)
@click.option(
    "--plot",
    metavar="FILE.png|svg",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a plot of the scores by version to this file.",
)
@common
def command(
    options: Common, path: str, pipeline: str | None, limit: int, plot: Path | None
) -> None:
    """List the versions of a prompt, context file, pipeline or app, newest first.

    Each line shows the scores, the cost per record and the latest run of a version. The scores are
    those of the first complete run that used the files of the version's commit. If runs of a
    version used different contexts, models or judges, their results have separate lines. Versions
    from before a file was renamed are included. An app is given by its folder .loom/loop-apps/ID.
    """
    image_format = None if plot is None else _parse_format(plot)
    log = options.project().log(path, pipeline=pipeline, limit=limit)
    console = options.console
    if plot is not None and image_format is not None:
        _save(plot, plot_scores(log, image_format))
    for line in log_table(log):
        console.answer(line)
    if plot is not None:
        console.print(f"\nWrote the plot to {plot}")
    console.document(log_document(log))


def _parse_format(path: Path) -> ImageFormat:
    suffix = path.suffix.lower()
    if suffix not in IMAGE_SUFFIXES:
        raise UserError(
            f"unknown image format: {path}", hint="use a name that ends in .png or .svg"
        )
    return cast("ImageFormat", suffix[1:])


def _save(path: Path, content: bytes) -> None:
    try:
        path.write_bytes(content)
    except OSError as error:
        raise WorldError(f"{path} cannot be written: {error.strerror or error}") from error
