"""What every command takes, and the console that they print through."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson
from msgspec import Struct

from loomgit.commands.screen import echo, echo_document
from loomgit.domain.outside import for_screen
from loomgit.domain.values import to_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from loomgit.api import Project

Command = TypeVar("Command", bound="Callable[..., Any]")
PROGRESS_SECONDS = 0.1
DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z"]


class Console(Struct):
    """Results go to stdout, words to stderr; with `json` stdout holds one JSON document."""

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    _drawn: bool = False
    _deaf: bool = False

    def print(self, text: str = "") -> None:
        """A line of the human output; none with --json or --quiet."""
        if not self.json and not self.quiet:
            self._say(text)

    def answer(self, text: str) -> None:
        """What the command was asked for: printed even with --quiet."""
        if not self.json:
            self._say(text)

    def _say(self, text: str) -> None:
        self.clear()
        if self._deaf:
            return
        try:
            echo(text)
        except BrokenPipeError:
            # Whoever read us has gone (`| head`); the work goes on, and closing must not complain.
            self._deaf = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def only_document(self) -> AbstractContextManager[object]:
        """While a user's code runs: with --json what it prints goes to stderr."""
        return redirect_stdout(sys.stderr) if self.json else nullcontext()

    def document(self, value: object) -> None:
        """The one JSON document of --json."""
        if self.json:
            echo_document(to_json(value, option=orjson.OPT_INDENT_2).decode())

    def warn(self, message: str) -> None:
        """A line on stderr that stops nothing."""
        self.clear()
        echo(f"warning: {message}", err=True)

    def error(self, message: str, hint: str | None = None) -> None:
        """What went wrong, where a result is shown all the same."""
        self.clear()
        echo(f"error: {message}", err=True)
        if hint:
            echo(f"hint: {hint}", err=True)

    @property
    def progresses(self) -> bool:
        """Whether a progress line may be drawn: only on a terminal, and nobody asked for quiet."""
        return sys.stderr.isatty() and not self.quiet

    def progress(self, line: str) -> None:
        """Draw the progress line over the last one."""
        if self.progresses:
            width = os.get_terminal_size(sys.stderr.fileno()).columns
            click.echo(f"\r\x1b[K{for_screen(line)[: max(width - 1, 10)]}", err=True, nl=False)
            self._drawn = True

    def clear(self) -> None:
        """Take the progress line away before something else is printed."""
        if self._drawn:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._drawn = False


class Common(Struct, frozen=True):
    """The options that every command has."""

    folder: Path | None
    console: Console

    def project(self) -> Project:
        """The project around the folder that the command runs in, or that --project names."""
        from loomgit.api import Project  # noqa: PLC0415 - `--help` must not pay for it

        return Project.find(self.folder, warn=self.console.warn)


def common(function: Command) -> Command:
    """Add the common options; the command gets them as its first argument, a `Common`."""
    options = [
        click.option(
            "--project",
            "folder",
            metavar="DIR",
            envvar="LOOM_PROJECT",
            type=click.Path(path_type=Path, exists=True, file_okay=False),
            help="The project's folder; default: the one around this folder.",
        ),
        click.option(
            "--json",
            "as_json",
            is_flag=True,
            envvar="LOOM_JSON",
            help="One JSON document on stdout.",
        ),
        click.option("-q", "--quiet", is_flag=True, envvar="LOOM_QUIET", help="No words."),
        click.option("-v", "--verbose", is_flag=True, envvar="LOOM_VERBOSE", help="More words."),
        click.option(
            "--no-color", is_flag=True, envvar=["LOOM_NO_COLOR", "NO_COLOR"], help="No colors."
        ),
    ]

    def collect(
        *arguments: object,
        folder: Path | None,
        as_json: bool,
        quiet: bool,
        verbose: bool,
        no_color: bool,
        **rest: object,
    ) -> object:
        del no_color  # nothing is coloured; the flag is there for scripts that always give it
        console = Console(as_json, quiet, verbose)
        try:
            return function(Common(folder, console), *arguments, **rest)
        finally:
            console.clear()

    collect.__name__ = function.__name__
    collect.__doc__ = function.__doc__
    collect.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]  # click keeps its options there
    wrapped: Any = collect
    for option in reversed(options):
        wrapped = option(wrapped)
    result: Command = wrapped
    return result


def parse_variables(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """`--vars name=value`, any number of times."""
    del context, parameter
    variables: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{value!r} is not of the form name=value")
        variables[name] = text
    return variables


def variables_option(text: str) -> Callable[[Command], Command]:
    """The option `--vars`, with its help; the command gets `variables`, a dict."""
    return click.option(
        "--vars",
        "variables",
        multiple=True,
        metavar="NAME=VALUE",
        callback=parse_variables,
        help=text,
    )


execution_date_option = click.option(
    "--execution-date",
    type=click.DateTime(DATES),
    help="Value of {{ execution_date }} (UTC unless it has an offset). Default: now.",
)
