"""`loom cache stats|clear|prune`: the replies that are kept on this machine."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from loomgit.commands.numbers import WholeNumber
from loomgit.commands.options import Common, common
from loomgit.commands.runs import size
from loomgit.config.scalars import Wrong, read_duration
from loomgit.report.text import money

if TYPE_CHECKING:
    from pathlib import Path

MEGABYTE = 1_000_000
DAY = 86_400.0


@click.group("cache")
def command() -> None:
    """Show, empty or shrink the cache of replies: .loom/cache, on this machine alone."""


@command.command("stats")
@common
def stats(options: Common) -> None:
    """Tell how many replies are kept, of which models, and what they cost."""
    from loomgit.gateway.reply_store import figures  # noqa: PLC0415 - `--help` must not pay for it

    found = figures(_path(options), time.time())
    console = options.console
    console.answer(f"Replies:  {found.entries:,}")
    console.answer(f"On disk:  {size(found.bytes)}")
    console.answer(f"Cost:     {money(found.cost)} when they were made")
    if found.oldest is not None and found.newest is not None:
        console.answer(f"Age:      {_age(found.newest)} to {_age(found.oldest)}")
    width = max(map(len, found.models), default=0)
    for model, (count, cost) in found.models.items():
        console.answer(f"  {model:<{width}}  {count:,}  {money(cost)}")
    models = {name: {"entries": n, "cost": cost} for name, (n, cost) in found.models.items()}
    console.document({"schema_version": 1, **asdict(found), "models": models})


@command.command("clear")
@common
def clear(options: Common) -> None:
    """Remove all replies: the next runs ask, and pay, again."""
    from loomgit.gateway.reply_store import clear as remove  # noqa: PLC0415 - as above

    _removed(options, remove(_path(options)))


@command.command("prune")
@click.option("--older-than", metavar="AGE", help="Remove replies older than 30d, 12h, ...")
@click.option(
    "--max-size",
    metavar="MB",
    type=WholeNumber(min=0),
    help="Then the least used, until the rest fits; default: 1074, the size that it keeps anyway.",
)
@common
def prune(options: Common, older_than: str | None, max_size: int | None) -> None:
    """Remove replies by age, then the least used by size, and give back the disk space."""
    from loomgit.gateway.reply_store import LIMIT  # noqa: PLC0415 - as above
    from loomgit.gateway.reply_store import prune as remove  # noqa: PLC0415 - as above

    before = None
    if older_than is not None:
        try:
            before = time.time() - read_duration(older_than)
        except Wrong as error:
            raise click.BadParameter(str(error), param_hint="--older-than") from error
    limit = LIMIT if max_size is None else max_size * MEGABYTE
    _removed(options, remove(_path(options), before=before, limit=limit))


def _removed(options: Common, count: int) -> None:
    options.console.answer(f"Removed {count:,} {'reply' if count == 1 else 'replies'}")
    options.console.document({"schema_version": 1, "removed": count})


def _path(options: Common) -> Path:
    from loomgit.gateway.reply_store import FILE  # noqa: PLC0415 - as above
    from loomgit.wiring.project import Wiring  # noqa: PLC0415 - as above

    wiring = Wiring(options.project().root, os.environ, options.console.warn)
    return wiring.store.folder / "cache" / FILE


def _age(seconds: float) -> str:
    """`3.2 days`, `5.0 hours`, `12 minutes`."""
    if seconds >= DAY:
        return f"{seconds / DAY:.1f} days"
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
