"""The `loom` command: a group that loads a command only when it is called, and the one place where
errors become lines and exit codes."""

from __future__ import annotations

import gc
import importlib
import io
import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loomgit import __version__
from loomgit.commands.screen import echo, echo_document
from loomgit.errors import LoomError, UserError, WorldError, lines_of

if TYPE_CHECKING:
    from collections.abc import Sequence

# Name: (module in loomgit.commands, what `loom --help` says). Kept here so that help imports none.
COMMANDS = {
    "init": ("init", "Make a small project that runs at once."),
    "run": ("run", "Run a pipeline: extract, transform, evaluate, gate, load."),
    "validate": ("validate", "Check pipelines without running them."),
    "runs": ("runs", "List past runs, show one, or remove old ones."),
    "sync": ("sync", "Share run files through a branch of the remote."),
    "test": ("test", "Run the prompt tests of pipelines."),
    "compare": ("compare", "Compare the scores, cost and latency of two revisions."),
    "diff": ("compare", "The same as compare."),
    "hooks": ("hooks", "Git hooks that stop degraded prompts."),
    "ci": ("ci", "Judge a pull request: summary, comment, annotations, exit code."),
    "report": ("report", "Tell how all pipelines are doing; who changed and approved what."),
    "cost": ("cost", "Tell what a pipeline cost, or estimate what a run will."),
    "power": ("power", "Tell how many cases a comparison needs to see a drop."),
    "log": ("log", "List the versions of a file with their scores, cost and author."),
    "show": ("show", "Show a prompt or context file at a version."),
    "tag": ("tag", "Name the committed content of a file as a version."),
    "cache": ("cache", "Tell what the cache of replies holds, empty it, or make it smaller."),
    "cassette": ("cassette", "Check recorded replies, or remove those nobody asks for."),
    "schema": ("schema", "Print the JSON Schema of a kind of file."),
}
STOPPED = 130
OUR_BUG = 3


class _Commands(click.Group):
    """Finds commands by the table above; help shows the table and imports nothing."""

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
            from loomgit.domain.words import nearest  # noqa: PLC0415 - only a misspelt word needs it

            close = nearest(args[0], COMMANDS)
            hint = f" Did you mean '{close}'?" if close else ""
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
    """Run the command line and exit: 0 done, 1 the answer is no, 2 you must change something,
    3 our bug, 4 the world failed, 130 stopped."""
    # Pydantic loads every plugin that is installed (logfire comes with arbiter-ai: half a second).
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")  # each use of Git says if it is missing
    # What is loaded at the start stays to the end: looking through it for garbage after every few
    # hundred objects is a twentieth of a run.
    gc.set_threshold(20_000, 20, 20)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # of a console that cannot show all letters
    sys.exit(_run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    try:
        Path.cwd()
    except OSError:
        return _say("the current folder does not exist any more", "change to another one", 2)
    return _call(arguments)


def _call(arguments: list[str]) -> int:
    try:
        code = group.main(args=arguments, prog_name="loom", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        echo(error.format_message(), err=True)
        return 2
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.UsageError as error:
        return _usage(error, as_json=_wants_json(arguments))
    except click.ClickException as error:
        if _wants_json(arguments):
            _document(UserError(error.format_message()))
        return _say(error.format_message(), None, 2)
    except (click.Abort, KeyboardInterrupt):
        return _say("stopped", None, STOPPED)
    except LoomError as error:
        if _wants_json(arguments):
            _document(error)
        for line, hint in lines_of(error):
            _say(line, hint, error.exit_code)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the one boundary: what was not foreseen is our bug
        return _tell_unforeseen(error, as_json=_wants_json(arguments))
    return code if isinstance(code, int) else 0


def _tell_unforeseen(error: Exception, *, as_json: bool) -> int:
    """Tell of an error of the machine (a full disk), or of a bug of ours, and keep the details."""
    from loomgit.commands import last_error  # noqa: PLC0415 - rare

    details = last_error.keep(error)
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        message = f"{name}{error.strerror or error}"
        if as_json:
            with suppress(OSError):  # standard output itself may be what is full
                _document(WorldError(message, hint=details))
        return _say(message, details, WorldError.exit_code)
    details = details or last_error.report(error)
    return _say(f"this is a bug in Loom: {last_error.summary(error)}", details, OUR_BUG)


def _wants_json(arguments: list[str]) -> bool:
    return "--json" in arguments or bool(os.environ.get("LOOM_JSON"))


def _usage(error: click.UsageError, *, as_json: bool) -> int:
    command = error.ctx.command_path if error.ctx else "loom"
    message, hint = " ".join(error.format_message().split()), f"`{command} --help` says more"
    if as_json:
        _document(UserError(message, hint=hint))
    return _say(message, hint, 2)


def _document(error: LoomError) -> None:
    """The error as the one JSON document that --json promises."""
    body = {
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
        "problems": error.documents(),
    }
    echo_document(json.dumps({"schema_version": 1, "error": body}, indent=2, ensure_ascii=False))


def _say(message: str, hint: str | None, code: int) -> int:
    echo(f"error: {message}", err=True)
    if hint:
        echo(f"hint: {hint}", err=True)
    return code
