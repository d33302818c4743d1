"""Prints to the terminal. Commands print only through this module."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING
from unicodedata import east_asian_width

import click

from loomgit.domain.safe_text import escape_controls, for_document, for_screen, hide
from loomgit.report.tones import split_tones

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.report.tones import Tone

ERASE_LINE = "\r\x1b[K"
NORMAL_COLUMNS = 80  # of a terminal that does not report its width
TRUE = ("1", "true", "t", "yes", "y", "on")  # the values of variables for options, as in click


def choose_color(arguments: Sequence[str], environment: Mapping[str, str]) -> bool | None:
    """Return False if the user turned colors off, and None otherwise.

    None means that colors are printed to terminals only.
    """
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    is_off = (
        "--no-color" in options
        or bool(environment.get("NO_COLOR"))  # any value: see no-color.org
        or environment.get("LOOM_NO_COLOR", "").lower() in TRUE
        or environment.get("TERM") == "dumb"
    )
    return False if is_off else None


def echo(text: str, *, err: bool = False, color: bool | None = None, plain: bool = False) -> None:
    """Print text to stdout, or to stderr if `err` is true. The text may be untrusted.

    A part of the text that has a tone (such as a verdict) is colored, unless `plain` is true.
    `color` is a result of `choose_color`. If it is None, the choice of the current command applies.
    """
    shown = for_screen(text)
    # Colors are added after `for_screen` has removed control characters. click removes the colors
    # again if the stream is not a terminal.
    click.echo(shown if plain else "\n".join(map(_paint, shown.split("\n"))), err=err, color=color)


def _paint(line: str) -> str:
    """Return the line with the codes for the colors of its parts."""
    return "".join(_style(part.text, part.tone) for part in split_tones(line))


def _style(text: str, tone: Tone) -> str:
    match tone:
        case "success":
            return click.style(text, fg="green")
        case "failure":
            return click.style(text, fg="red")
        case "warning":
            return click.style(text, fg="yellow")
        case "secondary":
            return click.style(text, dim=True)
    return text


def draw_progress(line: str) -> None:
    """Print a line to stderr in place of the previous progress line. stderr must be a terminal.

    The line is cut to the width of the terminal.
    """
    shown = _cut(for_screen(line).replace("\n", " "), _columns() - 1)
    click.echo(f"{ERASE_LINE}{shown}", err=True, nl=False, color=True)


def erase_progress() -> None:
    """Remove the progress line from stderr."""
    click.echo(ERASE_LINE, err=True, nl=False, color=True)


def _columns() -> int:
    """Return the width of the terminal to which stderr is connected."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or NORMAL_COLUMNS
    except OSError:
        return NORMAL_COLUMNS


def _cut(text: str, columns: int) -> str:
    """Return the beginning of the text that fits into the given number of columns."""
    for position, character in enumerate(text):
        columns -= 2 if east_asian_width(character) in "WFA" else 1
        if columns < 0:
            return text[:position]
    return text


def echo_file(text: str) -> None:
    """Print a file's text to stdout. If stdout is a terminal, control characters are escaped."""
    shown = for_screen(text) if sys.stdout.isatty() else text
    # Without `color=True`, click would remove escape codes if stdout is not a terminal.
    click.echo(shown, nl=not text.endswith("\n"), color=True)


def echo_document(text: str) -> None:
    """Print a JSON document to stdout."""
    click.echo(for_document(text))


def echo_command(line: str, *, err: bool = False) -> None:
    """Print a workflow command (a line that the CI system interprets) as a single line."""
    click.echo(escape_controls(hide(line)).replace("\n", " "), err=err)
