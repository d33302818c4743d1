"""`loom sync push|pull`: shares results between clones through a remote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loomgit.commands.options import Common, common

if TYPE_CHECKING:
    from loomgit.history.sync import SyncResult

REMOTE = click.option(
    "--remote", metavar="NAME", default="origin", show_default=True, help="Git remote."
)
NOTHING = "Nothing to do: with `store: tracked`, the results are part of the commits"


@click.group("sync")
def command() -> None:
    """Share run files through the branch loom-results of a remote.

    Records and caches are not shared. The working tree, the index and local branches do not change.
    """


@command.command("push")
@REMOTE
@common
def push(options: Common, remote: str) -> None:
    """Send run files that are missing on the remote."""
    _report(options, options.project().sync_push(remote), "Pushed", f"to {remote}")


@command.command("pull")
@REMOTE
@common
def pull(options: Common, remote: str) -> None:
    """Fetch run files that are missing locally. Existing files are not overwritten."""
    _report(options, options.project().sync_pull(remote), "Pulled", f"from {remote}")


def _report(options: Common, synced: SyncResult | None, verb: str, where: str) -> None:
    console = options.console
    if synced is None:
        console.print(NOTHING)
    else:
        count = len(synced.files)
        counted = f"{count:,} {'run' if count == 1 else 'runs'}" if count else "nothing new"
        attempts = f", {synced.attempts} attempts" if synced.attempts > 1 else ""
        console.print(f"{verb} {counted} {where} ({synced.total:,} on the branch{attempts})")
    console.document(
        {
            "schema_version": 1,
            "tracked": synced is None,
            "remote": None if synced is None else synced.remote,
            "runs": [] if synced is None else list(synced.files),
            "total": None if synced is None else synced.total,
            "attempts": 0 if synced is None else synced.attempts,
        }
    )
