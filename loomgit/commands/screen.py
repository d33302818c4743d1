"""Prints to the terminal. Commands print only through this module."""

from __future__ import annotations

import sys

import click

from loomgit.domain.safe_text import escape_controls, for_document, for_screen, hide


def echo(text: str, *, err: bool = False) -> None:
    """Print text to stdout, or to stderr if `err` is true. The text may be untrusted."""
    click.echo(for_screen(text), err=err)


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
