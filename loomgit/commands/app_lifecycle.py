"""`loom app promote|rollback|deprecate|pause|resume|archive`: changes states."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from loomgit.commands.options import Common, common

if TYPE_CHECKING:
    from loomgit.commands.options import Console
    from loomgit.domain.apps import AppState
    from loomgit.workflows.apps.lifecycle import VersionChange


@click.command("promote")
@click.argument("app", metavar="ID")
@click.argument("version")
@click.option("--tag", is_flag=True, help="Also create the Git tag loop-apps/ID/VERSION.")
@common
def promote(options: Common, app: str, version: str, tag: bool) -> None:
    """Make a validated version active. The version that was active before becomes validated."""
    from loomgit.workflows.apps.lifecycle import promote_version  # noqa: PLC0415 - for `--help`

    change = promote_version(options.project().wiring, app, version, tag=tag)
    before = f" (before: {change.before})" if change.before else ""
    options.console.print(f"{app} {version} is active{before}")
    if change.tag is not None:
        options.console.print(f"Tagged {change.tag}")
    _document(options.console, change)


@click.command("rollback")
@click.argument("app", metavar="ID")
@common
def rollback(options: Common, app: str) -> None:
    """Make the version active that was active before."""
    from loomgit.workflows.apps.lifecycle import roll_back  # noqa: PLC0415 - keeps `--help` fast

    change = roll_back(options.project().wiring, app)
    options.console.print(f"{app} {change.version} is active again (before: {change.before})")
    _document(options.console, change)


@click.command("deprecate")
@click.argument("app", metavar="ID")
@click.argument("version")
@common
def deprecate(options: Common, app: str, version: str) -> None:
    """Mark a version as deprecated, so that it cannot become active."""
    from loomgit.workflows.apps.lifecycle import deprecate_version  # noqa: PLC0415 - for `--help`

    change = deprecate_version(options.project().wiring, app, version)
    options.console.print(f"{app} {version} is deprecated")
    _document(options.console, change)


def _document(console: Console, change: VersionChange) -> None:
    console.document({"schema_version": 1, **asdict(change)})


@click.command("pause")
@click.argument("app", metavar="ID")
@common
def pause(options: Common, app: str) -> None:
    """Pause an app, so that its programs are not run until `loom app resume`."""
    _set_state(options, app, "paused")


@click.command("resume")
@click.argument("app", metavar="ID")
@common
def resume(options: Common, app: str) -> None:
    """Make a paused or archived app active again."""
    _set_state(options, app, "active")


@click.command("archive")
@click.argument("app", metavar="ID")
@common
def archive(options: Common, app: str) -> None:
    """Archive an app that is no longer used. Its files stay."""
    _set_state(options, app, "archived")


def _set_state(options: Common, app: str, state: AppState) -> None:
    from loomgit.workflows.apps.lifecycle import set_state  # noqa: PLC0415 - keeps `--help` fast

    set_state(options.project().wiring, app, state)
    options.console.print(f"The app {app} is {state}")
    options.console.document({"schema_version": 1, "app": app, "state": state})
