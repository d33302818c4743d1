"""`loom compare`: shows how a change affects scores, cost and latency, and judges the change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import click

from loomgit.commands.numbers import FiniteNumber, Share, WholeNumber
from loomgit.commands.options import (
    Common,
    common,
    execution_date_option,
    isolation_option,
    target_option,
    variables_option,
)
from loomgit.commands.screen import echo
from loomgit.domain.bills import Bill, billed_to
from loomgit.errors import LoomError, UserError
from loomgit.report.bill import bill_document, bill_line
from loomgit.report.comparison import document, revision, table
from loomgit.report.markdown import markdown

if TYPE_CHECKING:
    from loomgit.api import Project
    from loomgit.commands.options import Console
    from loomgit.domain.comparison import Comparison
    from loomgit.workflows.comparing.request import CompareOptions

FORMATS = ["table", "json", "markdown", "html"]


@click.command("compare")
@click.argument("expression", required=False, metavar="[BASE[..[.]HEAD]]")
@click.option(
    "--head",
    metavar="worktree|index|REV",
    help="Revision to compare.",
    show_default="the working tree if it has changes, else HEAD",
)
@click.option("--merged", nargs=2, metavar="A B", help="Compare A with a merge of B into A.")
@click.option(
    "--pipeline",
    "pipelines",
    multiple=True,
    metavar="NAME",
    help="Only this pipeline. Can be repeated.",
)
@click.option(
    "--select",
    multiple=True,
    metavar="EXPR",
    help="Only the pipelines that EXPR selects, as in `loom run`. Can be repeated.",
)
@variables_option("Set {{ vars.NAME }} in both revisions. Can be repeated.")
@execution_date_option
@target_option()
@isolation_option
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="table",
    show_default=True,
    help="Output format.",
)
@click.option("--run-missing", is_flag=True, help="Measure missing results of both revisions.")
@click.option(
    "--budget",
    "usd",
    type=FiniteNumber(min=0),
    metavar="USD",
    help="With --run-missing or --aa: maximum cost.",
)
@click.option(
    "--trust-revision",
    is_flag=True,
    help="Also measure a revision that changes evaluator code, model addresses or API keys.",
)
@click.option("--require-baseline", is_flag=True, help="Exit with 1 if no baseline exists.")
@click.option("--allow-removed", is_flag=True, help="Accept many removed or changed cases.")
@click.option(
    "--unpaired", is_flag=True, help="Compare the means of different cases (much less sensitive)."
)
@click.option(
    "--aa", is_flag=True, help="Compare disjoint samples of the baseline, to measure noise."
)
@click.option(
    "--aa-from",
    type=WholeNumber(min=0),
    default=0,
    metavar="N",
    help="With --aa: number of the first sample.",
)
@click.option("--resolve", is_flag=True, help="Only show which commits would be compared.")
@click.option("--explain", is_flag=True, help="Show which inputs differ.")
@click.option("--strict", is_flag=True, help="Exit with 1 unless the result is proven no worse.")
@click.option(
    "--max-drop",
    type=Share(max=1),
    metavar="SHARE",
    help="Smallest drop of a score that counts as degraded.",
)
@click.option(
    "--max-rise",
    type=Share(),
    metavar="SHARE",
    help="Also check cost and latency: smallest rise that counts as degraded, such as 10%.",
)
@common
def command(
    options: Common,
    form: str,
    resolve: bool,
    explain: bool,
    strict: bool,
    require_baseline: bool,
    usd: float | None,
    target: str | None,
    isolation: str,
    **wanted: Unpack[CompareOptions],
) -> int:
    """Compare the results of two revisions, case by case.

    \b
    Revisions:
      A...B      B against the merge base of A and B
      A..B       B against the tip of A
      A          same as A...HEAD
      (omitted)  HEAD against its merge base with the default branch

    Exit codes: 0 not degraded, 1 degraded or over budget, 2 usage or configuration error, 4 a
    provider, Git or the disk failed, 130 interrupted.
    """
    from loomgit.gateway.budget import Budget  # noqa: PLC0415 - keeps `--help` fast

    if wanted["merged"] is not None and (wanted["expression"] or wanted["head"]):
        raise UserError("--merged already sets both revisions", hint="omit BASE..HEAD and --head")
    if wanted["aa_from"] and not wanted["aa"]:
        raise UserError("--aa-from requires --aa", hint="add --aa")
    console = options.console
    if console.json and form in ("markdown", "html"):
        raise click.UsageError(f"--json and --format {form} exclude each other.")
    console.json |= form == "json"
    project = options.project(target=target, isolation=isolation)
    if resolve:
        return int(not _print_revisions(project, console, wanted) and require_baseline)
    bill = Bill()
    wanted["budget"] = None if usd is None else Budget(usd)
    try:
        with console.only_document(), billed_to(bill):
            comparison = project.compare(
                **wanted,
                on_progress=lambda n, of: console.progress(f"Measuring: {n:,}/{of:,} cases"),
            )
    except (LoomError, KeyboardInterrupt):
        _print_costs(console, bill)
        raise
    blocked = comparison.blocks(strict=strict, require_baseline=require_baseline)
    if form == "html":
        console.answer(_render_page(project, comparison), plain=True)
    else:
        _print_comparison(console, comparison, bill, form, explain=explain, blocked=blocked)
        _print_costs(console, bill)
    return int(blocked)


def _print_costs(console: Console, bill: Bill) -> None:
    """Print the cost of the measurement, unless it is zero or --quiet is set."""
    if not bill.is_free and not console.quiet:
        console.clear()
        echo(f"Spent: {bill_line(bill)}", err=True)


def _render_page(project: Project, comparison: Comparison) -> str:
    from loomgit.api import gather_evidence, render_comparison  # noqa: PLC0415 - imports slow libraries

    evidence = gather_evidence(project.wiring.store, comparison)
    return render_comparison(comparison, evidence).rstrip("\n")


def _print_revisions(project: Project, console: Console, wanted: CompareOptions) -> bool:
    """Print the revisions that would be compared; return whether a baseline exists."""
    base, head, why = project.resolve(**wanted)
    console.answer(f"Base: {revision(base)}{f': {why}' if why else ''}")
    console.answer(f"Head: {revision(head)}")
    sides = {
        name: {"name": side.name, "commit": side.commit}
        for name, side in (("base", base), ("head", head))
    }
    console.document({"schema_version": 1, **sides, "why": why})
    return bool(base.commit)


def _print_comparison(
    console: Console, comparison: Comparison, bill: Bill, form: str, *, explain: bool, blocked: bool
) -> None:
    if console.json:
        console.document({**document(comparison, blocked=blocked), "spent": bill_document(bill)})
    if form == "markdown":
        lines = [markdown(comparison).rstrip("\n")]
    else:
        lines = list(table(comparison, explain=explain))
    for line in lines:
        console.answer(line, plain=form == "markdown")
