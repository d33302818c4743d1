"""The terminal: the one place where a command prints."""

from __future__ import annotations

import sys

import click

from loomgit.domain.outside import escape_controls, for_document, for_screen, hide


def echo(text: str, *, err: bool = False) -> None:
    """Print lines, which may hold text from outside, on stdout, or with `err` on stderr."""
    click.echo(for_screen(text), err=err)


def echo_file(text: str) -> None:
    """Print the text of a file on stdout: unchanged, unless it goes to a terminal."""
    shown = for_screen(text) if sys.stdout.isatty() else text
    click.echo(shown, nl=not text.endswith("\n"), color=True)  # click removes escapes else


def echo_document(text: str) -> None:
    """Print a JSON document on stdout."""
    click.echo(for_document(text))


def echo_command(line: str, *, err: bool = False) -> None:
    """Print a line that the runner of a CI system is meant to obey."""
    click.echo(escape_controls(hide(line)).replace("\n", " "), err=err)
