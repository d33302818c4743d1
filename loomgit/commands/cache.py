"""`loom cache stats|clear|prune`: shows, clears or prunes the cache of model replies."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click
from msgspec.structs import asdict

from loomgit.commands.numbers import WholeNumber
from loomgit.commands.options import Common, common
from loomgit.commands.runs import size
from loomgit.config.scalars import InvalidValue, read_duration
from loomgit.report.text import money

if TYPE_CHECKING:
    from pathlib import Path

MEGABYTE = 1_000_000
DAY = 86_400.0


@click.group("cache")
def command() -> None:
    """Show, clear or prune the reply cache.

    The cache is in .loom/cache and local to this machine.
    """


@command.command("stats")
@common
def stats(options: Common) -> None:
    """Show the number, size, age and cost of the replies, by model."""
    from loomgit.gateway.reply_store import read_figures  # noqa: PLC0415 - keeps `--help` fast

    statistics = read_figures(_path(options), time.time())
    console = options.console
    console.answer(f"Replies:  {statistics.entries:,}")
    console.answer(f"On disk:  {size(statistics.bytes)}")
    console.answer(f"Cost:     {money(statistics.cost)} when generated")
    if statistics.oldest is not None and statistics.newest is not None:
        console.answer(f"Age:      {_age(statistics.newest)} to {_age(statistics.oldest)}")
    width = max(map(len, statistics.models), default=0)
    for model, (count, cost) in statistics.models.items():
        console.answer(f"  {model:<{width}}  {count:,}  {money(cost)}")
    models = {name: {"entries": n, "cost": cost} for name, (n, cost) in statistics.models.items()}
    console.document({"schema_version": 1, **asdict(statistics), "models": models})


@command.command("clear")
@common
def clear(options: Common) -> None:
    """Remove all replies. The next runs call the models again, which costs money again."""
    from loomgit.gateway.reply_store import clear as remove  # noqa: PLC0415 - keeps `--help` fast

    _print_removed(options, remove(_path(options)))


@command.command("prune")
@click.option(
    "--older-than", metavar="AGE", help="Remove replies older than this, such as 30d or 12h."
)
@click.option(
    "--max-size",
    metavar="MB",
    type=WholeNumber(min=0),
    help="Also remove the least recently used replies until the cache has at most this size.",
    show_default="1074, the limit of the cache",
)
@common
def prune(options: Common, older_than: str | None, max_size: int | None) -> None:
    """Remove old or excess replies, and free the disk space."""
    from loomgit.gateway import reply_store  # noqa: PLC0415 - keeps `--help` fast

    before = None
    if older_than is not None:
        try:
            before = time.time() - read_duration(older_than)
        except InvalidValue as error:
            raise click.BadParameter(str(error), param_hint="--older-than") from error
    limit = reply_store.LIMIT if max_size is None else max_size * MEGABYTE
    count = reply_store.prune(_path(options), before=before, limit=limit)
    _print_removed(options, count)


def _print_removed(options: Common, count: int) -> None:
    options.console.print(f"Removed {count:,} {'reply' if count == 1 else 'replies'}")
    options.console.document({"schema_version": 1, "removed": count})


def _path(options: Common) -> Path:
    from loomgit.gateway.reply_store import FILE  # noqa: PLC0415 - keeps `--help` fast

    return options.project().wiring.store.folder / "cache" / FILE


def _age(seconds: float) -> str:
    """Return an age in seconds as text, such as `3.2 days`, `5.0 hours` or `12 minutes`."""
    if seconds >= DAY:
        return f"{seconds / DAY:.1f} days"
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.0f} minutes"
