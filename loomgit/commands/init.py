"""`loom init`: creates a small project that runs offline."""

from __future__ import annotations

import click

from loomgit.commands.options import Common, common


@click.command("init")
@click.option(
    "--github", is_flag=True, help="Also create GitHub workflows that check pull requests."
)
@click.option("--hooks", is_flag=True, help="Also install a Git hook that checks pushes.")
@click.option(
    "--pre-commit", is_flag=True, help="Also create a configuration for the pre-commit framework."
)
@common
def command(options: Common, github: bool, hooks: bool, pre_commit: bool) -> None:
    """Create a small example project that runs offline.

    Existing files do not change. If the folder is not in a Git repository, a repository is created.
    If the folder has pipelines, the example is not created.
    """
    from loomgit.commands.new_project import create_project  # noqa: PLC0415 - keeps `--help` fast

    create_project(options, github=github, hooks=hooks, pre_commit=pre_commit)
