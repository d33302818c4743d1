"""What the commits of a change accept: the losses that their messages name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import LoomError
from loomgit.harness.acceptance import TRAILER, Acceptance, parse_acceptance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from loomgit.history.repository import Repository


def acceptances(
    repository: Repository, base: str | None, head: str | None, warn: Callable[[str], None]
) -> list[Acceptance]:
    """The acceptances in the commits between base and head, as far as the clone has the commits.

    If `head` is None (the working tree) or empty (the index), the last commit is HEAD. `warn` is
    called for each trailer without a reason.
    """
    span = (head or "HEAD") if base is None else f"{base}..{head or 'HEAD'}"
    try:
        said = repository.plumbing(
            "log", "--no-show-signature",
            f"--format=%H%x00%(trailers:key={TRAILER},valueonly,unfold,separator=%x00)%x01",
            "--end-of-options", span, "--",
        )  # fmt: skip
    except LoomError:
        return []
    found: list[Acceptance] = []
    for block in said.decode("utf-8", "replace").split("\x01"):
        commit, *values = block.strip("\n").split("\0")
        found += read_acceptances(values, warn, commit)
    return found


def read_acceptances(
    values: Iterable[str], warn: Callable[[str], None], commit: str = ""
) -> Iterator[Acceptance]:
    """The acceptances in a commit's trailers. Calls `warn` for each trailer without a reason."""
    for value in values:
        if accepted := parse_acceptance(value, commit):
            yield accepted
        elif value.strip():
            where = f"commit {commit[:8]}: " if commit else ""
            warn(f"{where}`{TRAILER}: {value.strip()}` is ignored: it needs `SUBJECT: REASON`")
