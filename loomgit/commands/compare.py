"""`loom compare`: what a change did to scores, cost and latency, and whether it may be merged."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Unpack

import click

from loomgit.commands.numbers import FiniteNumber, WholeNumber
from loomgit.commands.options import Common, common, variables_option
from loomgit.commands.screen import echo
from loomgit.domain.bills import Bill, billed_to
from loomgit.errors import LoomError, UserError
from loomgit.report.bill import bill_document, bill_line
from loomgit.report.comparison import document, revision, table
from loomgit.report.markdown import markdown

if TYPE_CHECKING:
    from loomgit.api import Asked, Project
    from loomgit.commands.options import Console
    from loomgit.domain.comparison import Comparison

FORMATS = ["table", "json", "markdown", "html"]


def _parse_share(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> float | None:
    """A share of 1, `0.1` or `10%`; a drop of scores is 1 at most."""
    del context
    if value is None:
        return None
    text = value.strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 <= share <= (1 if parameter.name == "max_drop" else sys.float_info.max):
        raise click.BadParameter(f"{text!r} is no share such as 0.05 or 5%")
    return share


@click.command("compare")
@click.argument("expression", required=False, metavar="[BASE[..[.]HEAD]]")
@click.option(
    "--head",
    metavar="worktree|index|REV",
    help="What to compare; default: the working tree where it is dirty, else HEAD.",
)
@click.option(
    "--merged", nargs=2, metavar="A B", help="A against what a merge of B into it would make."
)
@click.option("--pipeline", "pipelines", multiple=True, metavar="NAME", help="Only this pipeline.")
@click.option(
    "--select",
    multiple=True,
    metavar="EXPR",
    help="Only name, +name, name+, tag:word, state:modified, state:modified+.",
)
@variables_option("A value for {{ vars.NAME }} on both sides; may be given again.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--run-missing", is_flag=True, help="Measure what has no results yet, on both sides.")
@click.option(
    "--budget",
    "usd",
    type=FiniteNumber(min=0),
    metavar="USD",
    help="With --run-missing or --aa: spend no more than this.",
)
@click.option(
    "--trust-revision",
    is_flag=True,
    help="Measure also a revision that changes code of evaluators, or addresses or keys of models.",
)
@click.option("--require-baseline", is_flag=True, help="Exit 1 where there is no baseline.")
@click.option("--allow-removed", is_flag=True, help="Accept that many cases are gone or changed.")
@click.option("--unpaired", is_flag=True, help="Compare means of different cases (sees far less).")
@click.option(
    "--aa", is_flag=True, help="The baseline against itself, disjoint samples: what noise does."
)
@click.option(
    "--aa-from", type=WholeNumber(min=0), default=0, metavar="N", help="With --aa: first sample."
)
@click.option("--resolve", is_flag=True, help="Only say which commits would be compared.")
@click.option("--explain", is_flag=True, help="Say which inputs differ.")
@click.option("--strict", is_flag=True, help="Exit 1 unless no worse is proven.")
@click.option(
    "--max-drop", metavar="SHARE", callback=_parse_share, help="The drop of a score that matters."
)
@click.option(
    "--max-rise",
    metavar="SHARE",
    callback=_parse_share,
    help="Gate cost and latency: the rise that matters, such as 10%.",
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
    **wanted: Unpack[Asked],
) -> int:
    """Compare the results of two revisions, case by case.

    \b
    A...B   B against the merge base of A and B
    A..B    B against the tip of A
    A       the same as A...HEAD
    nothing the merge base with the default branch

    Exit codes: 0 it may be merged (or nothing says that it may not), 1 degraded, or the budget is
    spent.
    """
    from loomgit.gateway.budget import Budget  # noqa: PLC0415 - `--help` must not pay for it

    if wanted["merged"] is not None and (wanted["expression"] or wanted["head"]):
        raise UserError("--merged names both ends already", hint="leave BASE..HEAD and --head away")
    if wanted["aa_from"] and not wanted["aa"]:
        raise UserError("--aa-from goes with --aa", hint="say both, or neither")
    console = options.console
    console.json |= form == "json"
    project = options.project()
    if resolve:
        return int(not _resolve(project, console, wanted) and require_baseline)
    bill = Bill()
    wanted["budget"] = None if usd is None else Budget(usd)
    try:
        with console.only_document(), billed_to(bill):
            found = project.compare(
                **wanted,
                on_progress=lambda n, of: console.progress(f"Measuring: {n:,}/{of:,} cases"),
            )
    except (LoomError, KeyboardInterrupt):
        _tell_costs(console, bill)
        raise
    blocked = found.blocks(strict=strict, require_baseline=require_baseline)
    if form == "html":
        console.answer(_page(project, found))
    else:
        _show(console, found, bill, form, explain=explain, blocked=blocked)
        _tell_costs(console, bill)
    return int(blocked)


def _tell_costs(console: Console, bill: Bill) -> None:
    """Say what the measurement cost, if it cost anything."""
    if not bill.is_free and not console.quiet:
        console.clear()
        echo(f"Spent: {bill_line(bill)}", err=True)


def _page(project: Project, found: Comparison) -> str:
    from loomgit.report.html import render_comparison  # noqa: PLC0415 - Jinja2 and matplotlib
    from loomgit.reporting import gather_evidence  # noqa: PLC0415

    return render_comparison(found, gather_evidence(project.wiring.store, found)).rstrip("\n")


def _resolve(project: Project, console: Console, wanted: Asked) -> bool:
    """Say what would be compared; returns whether there is a baseline."""
    base, head, why = project.resolve(**wanted)
    console.answer(f"Base: {revision(base)}{f': {why}' if why else ''}")
    console.answer(f"Head: {revision(head)}")
    sides = {
        name: {"name": side.name, "commit": side.commit}
        for name, side in (("base", base), ("head", head))
    }
    console.document({"schema_version": 1, **sides, "why": why})
    return bool(base.commit)


def _show(
    console: Console, found: Comparison, bill: Bill, form: str, *, explain: bool, blocked: bool
) -> None:
    if console.json:
        console.document({**document(found, blocked=blocked), "spent": bill_document(bill)})
    lines = [markdown(found).rstrip("\n")] if form == "markdown" else table(found, explain=explain)
    for line in lines:
        console.answer(line)
