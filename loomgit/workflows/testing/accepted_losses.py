"""Reads the acceptances of a change: `Loom-Accept` trailers in its commit messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.comparison.acceptance import TRAILER, Acceptance, parse_acceptance
from loomgit.errors import LoomError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from loomgit.history.repository import Repository
    from loomgit.wiring.project import Wiring

OWN_CHANGE = (
    "is ignored: with `accept_from: others`, the author of its commit must not have changed a file"
)


def load_acceptances(
    wiring: Wiring, base: str | None, head: str | None, warn: Callable[[str], None]
) -> list[Acceptance]:
    """Return the accepted losses from the messages of the commits after `base`, up to `head`.

    A loss is accepted by a trailer: a line `Loom-Accept: ...` at the end of a commit message. Only
    commits in the local clone are read. If `head` is None (the working tree) or empty (the index),
    HEAD is used instead. Calls `warn` for each trailer without a reason. The configuration can
    forbid the authors of a change to accept its losses. In this case, trailers in the commits of
    these authors are ignored, and `warn` is called.
    """
    span = (head or "HEAD") if base is None else f"{base}..{head or 'HEAD'}"
    trailers = f"%(trailers:key={TRAILER},valueonly,unfold,separator=%x00)"
    try:
        output = wiring.repository.plumbing(
            "log", "--no-show-signature", f"--format=%H%x00%ae%x00{trailers}%x01",
            "--end-of-options", span, "--",
        )  # fmt: skip
    except LoomError:
        return []
    try:
        authors = _authors(wiring.repository, span) if wants_others(wiring, base) else set()
    except LoomError as error:
        warn(f"{TRAILER} trailers are ignored: {error.message}")
        return []
    accepted: list[Acceptance] = []
    for block in output.decode("utf-8", "replace").split("\x01"):
        commit, _, rest = block.strip("\n").partition("\0")
        author, *values = rest.split("\0")
        if author not in authors:
            accepted += read_acceptances(values, warn, commit)
            continue
        for value in filter(str.strip, values):
            warn(f"commit {commit[:8]}: `{TRAILER}: {value.strip()}` {OWN_CHANGE}")
    return accepted


def wants_others(wiring: Wiring, base: str | None) -> bool:
    """Return whether the losses of a change must be accepted by a person who is not its author.

    This rule applies if it is set in the configuration of the project or of the base. The base is
    read, too, so that a change cannot turn the rule off for itself.
    """
    trees = [wiring] if base is None else [wiring, wiring.at(base)]
    return any(tree.settings.accept_from == "others" for tree in trees)


def _authors(repository: Repository, span: str) -> set[str]:
    """Return the e-mail addresses of the authors of commits in the range `span`.

    Commits that change no file are ignored. A merge changes a file only if the merged file differs
    from the file in every parent.
    """
    output = repository.plumbing(
        "log", "--no-show-signature", "--cc", "--name-only", "--format=%x01%ae%x00",
        "--end-of-options", span, "--",
    )  # fmt: skip
    blocks = (block.partition("\0") for block in output.decode("utf-8", "replace").split("\x01"))
    return {author for author, _, files in blocks if files.strip()}


def read_acceptances(
    values: Iterable[str], warn: Callable[[str], None], commit: str = ""
) -> Iterator[Acceptance]:
    """Yield the acceptances in the `values` of a commit's trailers. Calls `warn` for each value
    without a reason."""
    for value in values:
        if accepted := parse_acceptance(value, commit):
            yield accepted
        elif value.strip():
            where = f"commit {commit[:8]}: " if commit else ""
            warn(f"{where}`{TRAILER}: {value.strip()}` is ignored: expected `SUBJECT: REASON`")
