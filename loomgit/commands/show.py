"""`loom show`: a file's content at a version."""

from __future__ import annotations

import click

from loomgit.commands.options import Common, common
from loomgit.commands.screen import echo, echo_file


@click.command("show")
@click.argument("path", metavar="PATH[@VERSION]")
@common
def command(options: Common, path: str) -> None:
    """Show a prompt or context file in the working tree, at a tagged version or at any revision."""
    found = options.project().show(path)
    console = options.console
    if not console.json and not console.quiet:
        echo(f"{found.path} ({found.name})", err=True)
    if not console.json:
        echo_file(found.text)
    console.document(
        {
            "schema_version": 1,
            "path": found.path,
            "version": found.name,
            "blob": found.blob,
            "revision": found.revision,
            "content": found.text,
        }
    )
