"""`loom quarantine list|show|retry|resolve|to-test`: manages rejected records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from loomgit.commands.default_group import DefaultGroup
from loomgit.commands.numbers import FiniteNumber, WholeNumber
from loomgit.commands.options import (
    DATES,
    Common,
    common,
    execution_date_option,
    target_option,
    variables_option,
)
from loomgit.commands.run import EXIT, RunView, runs_document
from loomgit.domain.utc import in_utc
from loomgit.errors import LoomError, error_lines
from loomgit.report.quarantine import entry_details, entry_list

if TYPE_CHECKING:
    from datetime import datetime

STAGES = ["extract", "transform", "evaluate", "gate", "load"]

pipeline_option = click.option(
    "--pipeline", metavar="NAME", help="Only the quarantine of this pipeline."
)


@click.group("quarantine", cls=DefaultGroup, default="list")
def command() -> None:
    """List, show, retry or resolve rejected records, or convert them to tests.

    Without a command, list the records.
    """


@command.command("list")
@click.argument("pipeline", required=False)
@click.option("--all", "every", is_flag=True, help="All entries, including resolved ones.")
@click.option(
    "--since",
    type=click.DateTime(DATES),
    metavar="DATE",
    help="Only entries since this date. A date without an offset is in UTC.",
)
@click.option("--stage", type=click.Choice(STAGES), help="Only records that failed this stage.")
@click.option(
    "--limit",
    type=WholeNumber(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Show at most N entries.",
)
@target_option()
@common
def list_records(
    options: Common,
    pipeline: str | None,
    every: bool,
    since: datetime | None,
    stage: str | None,
    limit: int,
    target: str | None,
) -> None:
    """List the rejected records that are not loaded yet, newest first."""
    from loomgit.workflows.quarantine import list_entries  # noqa: PLC0415 - keeps `--help` fast

    listing = list_entries(
        options.project(target=target).wiring,
        pipeline,
        every=every,
        since=None if since is None else in_utc(since),
        stage=stage,
        limit=limit,
    )
    for line in entry_list(listing.entries, listing.count, every=every):
        options.console.answer(line)
    entries = [asdict(entry) for entry in listing.entries]
    options.console.document({"schema_version": 1, "count": listing.count, "entries": entries})


@command.command("show")
@click.argument("key")
@pipeline_option
@target_option()
@common
def show_record(options: Common, key: str, pipeline: str | None, target: str | None) -> None:
    """Show a rejected record: its fields, output, scores, error and history."""
    from loomgit.workflows.quarantine import find_entries  # noqa: PLC0415 - keeps `--help` fast

    history = find_entries(options.project(target=target).wiring, [key], pipeline)[key]
    for line in entry_details(history):
        options.console.answer(line)
    entries = [asdict(entry) for entry in history]
    options.console.document({"schema_version": 1, "entry": entries[0], "history": entries})


@command.command("retry")
@click.argument("names", nargs=-1, metavar="[PIPELINE] [KEY...]")
@pipeline_option
@variables_option("Set {{ vars.NAME }}. Can be repeated.")
@execution_date_option
@click.option("--limit", type=WholeNumber(min=1), metavar="N", help="Only the newest N records.")
@click.option(
    "--budget",
    type=FiniteNumber(min=0),
    metavar="USD",
    help="Maximum cost of all pipelines together.",
)
@target_option()
@common
def retry(
    options: Common,
    names: tuple[str, ...],
    pipeline: str | None,
    variables: dict[str, str],
    execution_date: datetime | None,
    limit: int | None,
    budget: float | None,
    target: str | None,
) -> int:
    """Run rejected records again and load those that pass.

    The records pass through the current version of the pipeline, as they were stored when they were
    rejected. If the first argument is the name of a pipeline, only records of this pipeline are
    retried. With --pipeline, all arguments are keys of records.

    Exit codes: as for `loom run`.
    """
    from loomgit.workflows.retry import RetryOptions, retry_records  # noqa: PLC0415 - for `--help`

    project, console = options.project(target=target), options.console
    keys = list(names)
    if keys and pipeline is None and keys[0] in project.pipeline_names():
        pipeline = keys.pop(0)
    errors: dict[str, LoomError] = {}

    def report(name: str, error: LoomError) -> None:
        for line, hint in error_lines(error):
            console.error(line, hint)
        errors[name] = error

    with console.only_document():
        runs = retry_records(
            project.wiring,
            pipeline,
            keys,
            RetryOptions(variables, execution_date, limit, budget),
            on_start=lambda: RunView(console).show,
            on_error=report,
        )
    if not runs and not errors:
        console.answer("The quarantine has no records to retry.")
    console.document(runs_document([project.run_document(run) for run in runs], errors))
    codes = [EXIT.get(run.results.cause, 0) for run in runs]
    return max((*codes, *(error.exit_code for error in errors.values())), default=0)


@command.command("resolve")
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@click.option("--why", required=True, metavar="TEXT", help="The reason, which is stored.")
@pipeline_option
@target_option()
@common
def resolve(
    options: Common, keys: tuple[str, ...], why: str, pipeline: str | None, target: str | None
) -> None:
    """Mark records as resolved without loading them."""
    from loomgit.workflows.quarantine import resolve_records  # noqa: PLC0415 - keeps `--help` fast

    resolutions = resolve_records(options.project(target=target).wiring, keys, pipeline, why=why)
    for resolution in resolutions:
        options.console.print(f"{resolution.record_key}: resolved ({resolution.pipeline})")
    documents = [asdict(resolution) for resolution in resolutions]
    options.console.document({"schema_version": 1, "resolved": documents})


@command.command("to-test")
@click.argument("key")
@pipeline_option
@click.option(
    "--file",
    metavar="FILE",
    help="The test file, which is created if it does not exist.",
    show_default="the test file of the pipeline",
)
@target_option()
@common
def to_test(
    options: Common, key: str, pipeline: str | None, file: str | None, target: str | None
) -> None:
    """Add a rejected record as a unit test to a test file.

    The test has no expected values: write them into the file.
    """
    from loomgit.workflows.rejected_case import add_test_case  # noqa: PLC0415 - keeps `--help` fast

    added = add_test_case(options.project(target=target).wiring, key, pipeline, file)
    console = options.console
    verb = "created with" if added.created else "added"
    console.print(f"{added.file}: {verb} the unit test {added.name}; write its expected values")
    console.warn(
        f"{added.file} now contains production data (record {added.record_key}), and Git will "
        "store it if you commit the file"
    )
    console.document({"schema_version": 1, **asdict(added)})
