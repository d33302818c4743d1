"""`loom tag`: tags the committed content of a file as a version."""

from __future__ import annotations

import click

from loomgit.commands.options import Common, common


@click.command("tag")
@click.argument("path")
@click.argument("version")
@click.option("--push", is_flag=True, help="Push the tag to origin.")
@click.option("-m", "--message", help="Message of the tag.")
@common
def command(options: Common, path: str, version: str, push: bool, message: str | None) -> None:
    """Tag the content of PATH at HEAD as VERSION.

    Creates an annotated Git tag for this file only.
    """
    name = options.project().tag(path, version, message=message, push=push)
    options.console.print(f"{'Tagged and pushed' if push else 'Tagged'} {name}")
    options.console.document({"schema_version": 1, "tag": name, "pushed": push})
