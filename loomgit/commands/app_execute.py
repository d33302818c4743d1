"""`loom app run|validate`: runs a version of an app, once or on examples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from loomgit.commands.options import Common, common, isolation_option
from loomgit.domain.values import as_text, to_plain
from loomgit.errors import UserError
from loomgit.report.apps import execution_document, execution_lines, figure_lines, verdict_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from loomgit.domain.programs import IsolationChoice
    from loomgit.workflows.apps.validate import VersionValidation

Command = TypeVar("Command", bound="Callable[..., Any]")

MOST_SHOWN = 5  # wrong examples in the text of `loom app validate`


@click.command("run")
@click.argument("app", metavar="ID")
@click.option("--version", metavar="VERSION", help="The version.", show_default="the active one")
@click.option("--input", "text", metavar="JSON", help="The input.")
@click.option(
    "--file",
    metavar="FILE",
    help="A file with one input as JSON, or with one input on each line (.jsonl); - is stdin.",
)
@isolation_option
@common
def run(
    options: Common,
    app: str,
    version: str | None,
    text: str | None,
    file: str | None,
    isolation: IsolationChoice,
) -> int:
    """Run an app on one or more inputs and print the outputs, one on each line.

    With -v, also print the version, the latency, and what the program returned beside the output.

    Exit codes: 0 all outputs are valid, 1 the program failed on an input, 2 an input is invalid or
    the app cannot run, 4 no worker can be started.
    """
    from loomgit.workflows.apps.run_inputs import run_on_inputs  # noqa: PLC0415 - for `--help`

    if (text is None) == (file is None):
        raise UserError("use either --input JSON or --file FILE")
    wiring, console = options.project().wiring, options.console
    executions = run_on_inputs(wiring, app, version, text, file, isolation)
    for line in execution_lines(executions, details=console.verbose):
        console.answer(line, plain=True)
    console.document(
        {
            "schema_version": 1,
            "app": app,
            "version": executions[0].version,
            "executions": [execution_document(execution) for execution in executions],
        }
    )
    statuses = {execution.status for execution in executions}
    if statuses <= {"ok"}:
        return 0
    return 2 if statuses <= {"ok", "input"} else 1


@click.command("validate")
@click.argument("app", metavar="ID")
@click.option(
    "--version",
    metavar="VERSION",
    help="The version.",
    show_default="the newest one that is not deprecated",
)
@click.option(
    "--examples",
    metavar="FILE",
    help="A CSV, JSON or JSON lines file with examples. Without it, only the files are checked.",
)
@click.option(
    "--label",
    metavar="FIELD",
    help="The field of an example with the expected output.",
    show_default="label, if the examples have this field",
)
@isolation_option
@common
def validate(
    options: Common,
    app: str,
    version: str | None,
    examples: str | None,
    label: str | None,
    isolation: IsolationChoice,
) -> int:
    """Run a version on examples and compare the result with the targets of the app.

    A draft that meets `accuracy_target` and `latency_target_ms` becomes `validated`. Without
    targets, each example must have a valid output.

    Exit codes: 0 all targets are met, 1 a target is missed, 2 a file is invalid or has changed, 4
    no worker can be started.
    """
    from loomgit.workflows.apps.validate import validate_version  # noqa: PLC0415 - for `--help`

    result = validate_version(
        options.project().wiring,
        app,
        version,
        examples_file=examples,
        label=label,
        isolation=isolation,
    )
    for line in _validation_lines(result):
        options.console.answer(line)
    document = to_plain(result)
    options.console.document({"schema_version": 1, **document, "passed": result.passed})
    return 0 if result.passed else 1


def _validation_lines(result: VersionValidation) -> Iterator[str]:
    name = f"{result.app} {result.version}"
    if result.figures is None:
        yield verdict_line(passed=True, text=f"{name}: the files are unchanged ({result.state})")
        yield "Use --examples FILE to run the version; only this changes its state."
        return
    yield from figure_lines(result.figures)
    for example in result.wrong[:MOST_SHOWN]:
        found = example.error or f"found {as_text(example.output)}"
        expected = f"expected {as_text(example.expected)}, " if example.expected is not None else ""
        yield f"  example {example.number}: {expected}{found}"
    for reason in result.reasons:
        yield verdict_line(passed=False, text=reason)
    change = f"{result.before} -> {result.state}" if result.before != result.state else result.state
    yield verdict_line(passed=result.passed, text=f"{name}: {change}")
