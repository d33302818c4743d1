"""The `loom` command line.

It imports only the command that the user calls, and converts errors to messages and exit codes.
"""

from __future__ import annotations

import gc
import importlib
import io
import itertools
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loomgit import __version__
from loomgit.commands.error_document import error_document
from loomgit.commands.screen import choose_color, echo, echo_document
from loomgit.errors import LoomError, UserError, WorldError, error_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.values import JsonObject

# Maps the name of each command to (its module in loomgit.commands, its short help). `loom --help`
# reads only this table and imports no command.
COMMANDS = {
    "init": ("init", "Create a small example project that runs offline."),
    "run": ("run", "Run pipelines: extract, transform, evaluate, gate, load."),
    "validate": ("validate", "Check pipelines without running them."),
    "app": ("app", "Create, run and manage loop apps."),
    "runs": ("runs", "List, show or remove past runs."),
    "quarantine": ("quarantine", "List, show, retry or resolve rejected records."),
    "sync": ("sync", "Share run files through a branch of a remote."),
    "test": ("test", "Run the prompt tests of pipelines."),
    "compare": ("compare", "Compare scores, cost and latency of two revisions."),
    "diff": ("compare", "Alias of compare."),
    "hooks": ("hooks", "Manage Git hooks that block degraded prompts."),
    "ci": ("ci", "Check a pull request and publish the result."),
    "report": ("report", "Report on all pipelines, or on changes and approvals."),
    "cost": ("cost", "Show the cost of past runs, or estimate the next run."),
    "power": ("power", "Calculate how many cases detect a drop of the score."),
    "log": ("log", "List the versions of a file with scores, cost and author."),
    "show": ("show", "Show a prompt or context file at a version."),
    "tag": ("tag", "Tag the committed content of a file as a version."),
    "cache": ("cache", "Show, clear or prune the reply cache."),
    "cassette": ("cassette", "Verify or prune recorded replies."),
    "schema": ("schema", "Print the JSON Schema of a file type."),
}
INTERRUPTED = 130
BUG_EXIT_CODE = 3


class _Commands(click.Group):
    """Finds commands in `COMMANDS`, and imports a command only when the user calls it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"loomgit.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from loomgit.domain.suggestions import nearest  # noqa: PLC0415 - only for typos

            suggestion = nearest(args[0], COMMANDS)
            hint = f" Did you mean '{suggestion}'?" if suggestion else ""
            raise click.UsageError(f"No such command '{args[0]}'.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "LOOM"},
)
@click.version_option(__version__, prog_name="loom")
def group() -> None:
    """Run, evaluate and version prompt pipelines, native to Git."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Exit codes: 0 success, 1 negative result (a gate or a test failed), 2 usage or configuration
    error, 3 bug in Loom, 4 failure outside Loom (provider, database, disk, Git), 130 interrupted.
    """
    # Without this variable, pydantic loads all installed plugins. One of them is logfire, which
    # arbiter-ai installs and which takes 0.5 s to load.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    # GitPython must not complain if Git is missing: Loom reports this when a command needs Git.
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    # Imported modules stay in memory until the end. With the default thresholds, the garbage
    # collector scans them so often that the scans take 5 % of a run.
    gc.set_threshold(20_000, 20, 20)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # some encodings cannot represent all characters
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    try:
        Path.cwd()
    except OSError:
        return _print_error("the current folder does not exist", "change to another folder", 2)
    color = choose_color(arguments, os.environ)
    with click.Context(group, color=color):  # errors are printed outside the command's own context
        return _call(arguments, color)


def _call(arguments: list[str], color: bool | None) -> int:
    try:
        code = group.main(args=arguments, prog_name="loom", standalone_mode=False, color=color)
    except click.exceptions.NoArgsIsHelpError as error:
        echo(error.format_message(), err=True)
        return 2
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        return _report_usage(error, as_json=_wants_json(arguments))
    except click.ClickException as error:
        if _wants_json(arguments):
            _print_document(UserError(error.format_message()))
        return _print_error(error.format_message(), None, 2)
    except (click.Abort, KeyboardInterrupt):
        if _wants_json(arguments):
            _print_json(error_document("interrupted", None, INTERRUPTED))
        return _print_error("interrupted", None, INTERRUPTED)
    except LoomError as error:
        if _wants_json(arguments):
            _print_document(error)
        for line, hint in error_lines(error):
            _print_error(line, hint, error.exit_code)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last place that can report an error
        return _report_unexpected(error, as_json=_wants_json(arguments))
    return code if isinstance(code, int) else 0


def _report_unexpected(error: Exception, *, as_json: bool) -> int:
    """Report a system error (such as a full disk) or a bug in Loom, and save the traceback."""
    from loomgit.commands import last_error  # noqa: PLC0415 - rare

    details = last_error.save(error)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        message = f"{name}{error.strerror or error}"
        if as_json:
            with suppress(OSError):  # printing fails if stdout is a file on a full disk
                _print_document(WorldError(message, hint=details))
        return _print_error(message, details, WorldError.exit_code)
    details = details or last_error.render_traceback(error)
    message = f"this is a bug in Loom: {last_error.render_summary(error)}"
    if as_json:
        _print_json(error_document(message, details, BUG_EXIT_CODE))
    return _print_error(message, details, BUG_EXIT_CODE)


def _wants_json(arguments: list[str]) -> bool:
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    return (
        "--json" in own
        or "--format=json" in own
        or ("--format", "json") in itertools.pairwise(own)  # of `loom compare`
        or bool(os.environ.get("LOOM_JSON"))
    )


def _report_usage(error: click.UsageError, *, as_json: bool) -> int:
    command = error.ctx.command_path if error.ctx else "loom"
    message, hint = " ".join(error.format_message().split()), f"see `{command} --help`"
    if as_json:
        _print_document(UserError(message, hint=hint))
    return _print_error(message, hint, 2)


def _print_document(error: LoomError) -> None:
    """Print the error as the JSON document of the option --json."""
    _print_json(error_document(error.message, error.hint, error.exit_code, error.documents()))


def _print_json(document: JsonObject) -> None:
    echo_document(json.dumps(document, indent=2, ensure_ascii=False))


def _print_error(message: str, hint: str | None, code: int) -> int:
    echo(f"error: {message}", err=True)
    if hint:
        echo(f"hint: {hint}", err=True)
    return code
