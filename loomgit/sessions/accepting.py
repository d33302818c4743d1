"""What the commits of a change accept: the losses that their messages name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import LoomError
from loomgit.harness.acceptance import TRAILER, Acceptance, parse_acceptance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from loomgit.history.repository import Repository
    from loomgit.wiring.project import Wiring

OWN_CHANGE = (
    "is ignored: with `accept_from: others`, the author of its commit must not have changed a file"
)


def acceptances(
    wiring: Wiring, base: str | None, head: str | None, warn: Callable[[str], None]
) -> list[Acceptance]:
    """The acceptances in the commits between base and head, as far as the clone has the commits.

    If `head` is None (the working tree) or empty (the index), the last commit is HEAD. `warn` is
    called for each trailer without a reason, and for those of the change's own authors if the
    configuration wants others.
    """
    span = (head or "HEAD") if base is None else f"{base}..{head or 'HEAD'}"
    trailers = f"%(trailers:key={TRAILER},valueonly,unfold,separator=%x00)"
    try:
        said = wiring.repository.plumbing(
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
    found: list[Acceptance] = []
    for block in said.decode("utf-8", "replace").split("\x01"):
        commit, _, rest = block.strip("\n").partition("\0")
        author, *values = rest.split("\0")
        if author not in authors:
            found += read_acceptances(values, warn, commit)
            continue
        for value in filter(str.strip, values):
            warn(f"commit {commit[:8]}: `{TRAILER}: {value.strip()}` {OWN_CHANGE}")
    return found


def wants_others(wiring: Wiring, base: str | None) -> bool:
    """Whether the configuration, here or at the base, wants acceptances of others than the change's
    authors: a change cannot switch that off for itself."""
    trees = [wiring] if base is None else [wiring, wiring.at(base)]
    return any(tree.settings.accept_from == "others" for tree in trees)


def _authors(repository: Repository, span: str) -> set[str]:
    """The addresses of the authors of the commits that change a file; of a merge, a file that is
    like that of no parent."""
    said = repository.plumbing(
        "log", "--no-show-signature", "--cc", "--name-only", "--format=%x01%ae%x00",
        "--end-of-options", span, "--",
    )  # fmt: skip
    blocks = (block.partition("\0") for block in said.decode("utf-8", "replace").split("\x01"))
    return {author for author, _, files in blocks if files.strip()}


def read_acceptances(
    values: Iterable[str], warn: Callable[[str], None], commit: str = ""
) -> Iterator[Acceptance]:
    """The acceptances in a commit's trailers. Calls `warn` for each trailer without a reason."""
    for value in values:
        if accepted := parse_acceptance(value, commit):
            yield accepted
        elif value.strip():
            where = f"commit {commit[:8]}: " if commit else ""
            warn(f"{where}`{TRAILER}: {value.strip()}` is ignored: expected `SUBJECT: REASON`")
