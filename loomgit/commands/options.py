"""The options that all commands share, and the console to which commands print."""

from __future__ import annotations

import os
import sys
import time
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, get_args

import click
import orjson
from msgspec import Struct

from loomgit.commands.screen import draw_progress, echo, echo_document, erase_progress
from loomgit.domain.programs import IsolationChoice
from loomgit.domain.utc import DATE_FORMATS
from loomgit.domain.values import to_json
from loomgit.domain.variables import parse_assignment
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from loomgit.api import Project
    from loomgit.wiring.project_files import ProjectOptions

Command = TypeVar("Command", bound="Callable[..., Any]")
PROGRESS_SECONDS = 0.1
DATES = list(DATE_FORMATS)


class Console(Struct):
    """Prints results to stdout and messages to stderr.

    If `json` is set, stdout contains only one JSON document. `color` is a result of `choose_color`.
    """

    json: bool = False
    quiet: bool = False
    verbose: bool = False
    color: bool | None = None
    _drawn: bool = False
    _drawn_at: float = 0.0
    _deaf: bool = False

    def print(self, text: str = "") -> None:
        """Print a line of text for people. Prints nothing if --json or --quiet is set."""
        if not self.json and not self.quiet:
            self._say(text)

    def print_content(self, text: str) -> None:
        """Print like `print`, but without colors, because the text is not Loom's own."""
        if not self.json and not self.quiet:
            self._say(text, plain=True)

    def answer(self, text: str, *, plain: bool = False) -> None:
        """Print a line of the requested result, even if --quiet is set.

        Prints nothing if --json is set. A document is `plain`: no part of it is colored.
        """
        if not self.json:
            self._say(text, plain=plain)

    def _say(self, text: str, *, plain: bool = False) -> None:
        self.clear()
        if self._deaf:
            return
        try:
            echo(text, color=self.color, plain=plain)
        except BrokenPipeError:
            # The program that reads stdout (for example `head`) closed the pipe. The command
            # continues, with stdout connected to the null device. Otherwise, Python would report
            # the broken pipe again at exit.
            self._deaf = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def only_document(self) -> AbstractContextManager[object]:
        """Return a `with` context for calls to the user's code.

        If --json is set, everything that this code prints goes to stderr, because stdout must
        contain only the JSON document.
        """
        return redirect_stdout(sys.stderr) if self.json else nullcontext()

    def document(self, value: object) -> None:
        """Print the JSON document. Prints nothing if --json is not set."""
        if self.json:
            echo_document(to_json(value, option=orjson.OPT_INDENT_2).decode())

    def warn(self, message: str) -> None:
        """Print a warning to stderr."""
        self.clear()
        echo(f"warning: {message}", err=True, color=self.color)

    def error(self, message: str, hint: str | None = None) -> None:
        """Print an error to stderr; the command continues and can still print a result."""
        self.clear()
        echo(f"error: {message}", err=True, color=self.color)
        if hint:
            echo(f"hint: {hint}", err=True, color=self.color)

    @property
    def progresses(self) -> bool:
        """Whether progress is displayed: stderr must be a terminal, and --quiet must not be set."""
        can_erase = os.environ.get("TERM") != "dumb"
        return sys.stderr.isatty() and can_erase and not self.quiet

    def progress(self, line: str) -> None:
        """Display `line` in place of the previous progress line, at most ten times a second."""
        now = time.monotonic()
        if self.progresses and now - self._drawn_at >= PROGRESS_SECONDS:
            draw_progress(line)
            self._drawn, self._drawn_at = True, now

    def clear(self) -> None:
        """Remove the progress line. Call this before any other output."""
        if self._drawn:
            erase_progress()
            self._drawn = False


class Common(Struct, frozen=True):
    """The values of the options that are common to all commands."""

    folder: Path | None
    console: Console

    def project(self, **options: Unpack[ProjectOptions]) -> Project:
        """Return the project that contains the folder --project (default: the current folder).

        Raises UserError if there is no project, and UnknownTarget if the target does not exist.
        """
        from loomgit.api import Project  # noqa: PLC0415 - keeps `--help` fast

        project = Project.find(self.folder, warn=self.console.warn, **options)
        if options.get("target") is not None:
            project.wiring.settings  # noqa: B018 - raises UnknownTarget
        return project


SHARED_OPTIONS = [
    click.option(
        "--project",
        "folder",
        metavar="DIR",
        envvar="LOOM_PROJECT",
        type=click.Path(path_type=Path, exists=True, file_okay=False),
        help="Project folder.",
        show_default="the project that contains the current folder",
    ),
    click.option(
        "--json",
        "as_json",
        is_flag=True,
        envvar="LOOM_JSON",
        help="Print one JSON document to stdout.",
    ),
    click.option(
        "-q",
        "--quiet",
        is_flag=True,
        envvar="LOOM_QUIET",
        help="Print only problems and the requested result.",
    ),
    click.option(
        "-v", "--verbose", is_flag=True, envvar="LOOM_VERBOSE", help="Print more details."
    ),
    click.option(
        "--no-color",
        is_flag=True,
        envvar="LOOM_NO_COLOR",
        help="Disable colors (also: NO_COLOR).",
    ),
]


def common(function: Command) -> Command:
    """Add the shared options to a command, which receives a `Common` as its first argument."""

    def collect(
        *arguments: object,
        folder: Path | None,
        as_json: bool,
        quiet: bool,
        verbose: bool,
        no_color: bool,
        **rest: object,
    ) -> object:
        context = click.get_current_context()
        if no_color:
            context.color = False
        console = Console(as_json, quiet, verbose, context.color)
        try:
            return function(Common(folder, console), *arguments, **rest)
        finally:
            console.clear()

    collect.__name__ = function.__name__
    collect.__doc__ = function.__doc__
    collect.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]  # click stores options here
    wrapped: Any = collect
    for option in reversed(SHARED_OPTIONS):
        wrapped = option(wrapped)
    result: Command = wrapped
    return result


def parse_variables(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> dict[str, str]:
    """Parse all options `--vars name=value`; return the values by name."""
    del context, parameter
    try:
        return dict(map(parse_assignment, values))
    except UserError as error:
        raise click.BadParameter(error.message) from error


def variables_option(text: str) -> Callable[[Command], Command]:
    """Return the option `--vars` with the help text `text`.

    The command receives the values as the dict `variables`.
    """
    return click.option(
        "--vars",
        "variables",
        multiple=True,
        metavar="NAME=VALUE",
        callback=parse_variables,
        help=text,
    )


def target_option(text: str = "Target in .loom/config.yaml.") -> Callable[[Command], Command]:
    """Return the option `--target` with the help text `text`."""
    return click.option(
        "--target",
        metavar="NAME",
        envvar="LOOM_TARGET",
        help=text,
        show_default="the first target",
    )


execution_date_option = click.option(
    "--execution-date",
    type=click.DateTime(DATES),
    metavar="DATE",
    help="Value of {{ execution_date }}. A date without an offset is in UTC.",
    show_default="now",
)
isolation_option = click.option(
    "--isolation",
    type=click.Choice(get_args(IsolationChoice)),
    envvar="LOOM_ISOLATION",
    default="auto",
    show_default=True,
    help="Isolation of programs of loop apps. `none` runs them without isolation.",
)
