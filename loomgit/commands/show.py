"""`loom show`: a file's content at a version."""

from __future__ import annotations

import click

from loomgit.commands.options import Common, common


@click.command("show")
@click.argument("path", metavar="PATH[@VERSION]")
@common
def command(options: Common, path: str) -> None:
    """Show a prompt or context file in the working tree, at a tagged version or at any revision."""
    found = options.project().show(path)
    console = options.console
    if not console.json and not console.quiet:
        click.echo(f"{found.path} ({found.name})", err=True)
    if not console.json:
        click.echo(found.text, nl=not found.text.endswith("\n"))
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
