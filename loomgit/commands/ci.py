"""`loom ci`: checks a pull request and publishes a summary, a comment and annotations."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from loomgit.commands.numbers import FiniteNumber
from loomgit.commands.options import (
    Common,
    common,
    execution_date_option,
    target_option,
    variables_option,
)
from loomgit.domain.variables import GivenValues

if TYPE_CHECKING:
    from datetime import datetime


@click.command("ci")
@click.option("--dry-run", is_flag=True, help="Print the comment, without publishing anything.")
@click.option("--strict", is_flag=True, help="Exit with 1 unless the result is proven no worse.")
@click.option("--budget", type=FiniteNumber(min=0), metavar="USD", help="Maximum cost.")
@click.option(
    "--comment-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the comment to this file, for a workflow that can publish it.",
)
@click.option(
    "--publish",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    help="Only publish a comment that another run wrote with --comment-file.",
)
@variables_option("Set {{ vars.NAME }} in both revisions. Can be repeated.")
@execution_date_option
@target_option()
@common
def command(
    options: Common,
    dry_run: bool,
    strict: bool,
    budget: float | None,
    comment_file: Path | None,
    publish: Path | None,
    variables: dict[str, str],
    execution_date: datetime | None,
    target: str | None,
) -> int:
    """Check the changes of this checkout and publish the result on the pull request.

    Exit codes: 0 not degraded, 1 degraded or over budget or a test failed, 2 usage or configuration
    error, 4 not measured or unverified. The report is published in each of these cases.
    """
    from loomgit.commands.pull_request_check import check  # noqa: PLC0415 - keeps `--help` fast

    return check(
        options,
        dry_run=dry_run,
        strict=strict,
        budget=budget,
        comment_file=comment_file,
        publish=publish,
        target=target,
        given=GivenValues(variables, execution_date),
    )
