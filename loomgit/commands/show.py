"""`loom show`: prints the content of a file at a version."""

from __future__ import annotations

import click

from loomgit.commands.options import Common, common
from loomgit.commands.screen import echo, echo_file


@click.command("show")
@click.argument("path", metavar="PATH[@VERSION]")
@common
def command(options: Common, path: str) -> None:
    """Show a prompt, a context file or the program of an app at a version.

    VERSION is a tagged version or any revision. If it is omitted, the file in the working tree is
    shown, or the active version of an app. An app is given by its folder .loom/loop-apps/ID.
    """
    version = options.project().show(path)
    console = options.console
    if not console.json and not console.quiet:
        echo(f"{version.path} ({version.name})", err=True)
    if not console.json:
        echo_file(version.text)
    console.document(
        {
            "schema_version": 1,
            "path": version.path,
            "version": version.name,
            "blob": version.blob,
            "revision": version.revision,
            "content": version.text,
        }
    )
