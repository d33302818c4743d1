"""`loom sync push|pull`: results shared between clones through the remote."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loomgit.commands.options import Common, common

if TYPE_CHECKING:
    from loomgit.history.sync import Synced

REMOTE = click.option(
    "--remote", metavar="NAME", default="origin", show_default=True, help="The remote to share by."
)
NOTHING = "Nothing to do: with `store: tracked` the results are shared by commits"


@click.group("sync")
def command() -> None:
    """Share run files through the branch loom-results of a remote.

    Records and caches stay here. Your checkout, index and branches are not touched.
    """


@command.command("push")
@REMOTE
@common
def push(options: Common, remote: str) -> None:
    """Send the run files that the remote lacks."""
    _report(options, options.project().sync_push(remote), "Pushed", f"to {remote}")


@command.command("pull")
@REMOTE
@common
def pull(options: Common, remote: str) -> None:
    """Fetch the run files that are missing here; none is overwritten."""
    _report(options, options.project().sync_pull(remote), "Pulled", f"from {remote}")


def _report(options: Common, synced: Synced | None, verb: str, where: str) -> None:
    console = options.console
    document: dict[str, object] = {"schema_version": 1, "tracked": synced is None}
    if synced is None:
        console.print(NOTHING)
    else:
        count = len(synced.files)
        counted = f"{count:,} {'run' if count == 1 else 'runs'}" if count else "nothing new"
        tries = f", at the {synced.attempts}. attempt" if synced.attempts > 1 else ""
        console.print(f"{verb} {counted} {where} ({synced.total:,} there{tries})")
        document |= {
            "remote": synced.remote,
            "runs": list(synced.files),
            "total": synced.total,
            "attempts": synced.attempts,
        }
    console.document(document)
