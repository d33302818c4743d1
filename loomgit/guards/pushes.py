"""What Git is about to do, as changes to be judged: the refs of a push, the index of a commit."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from loomgit.errors import UserError, WorldError
from loomgit.guards.guard import Change
from loomgit.guards.touched import CONFIG
from loomgit.harness.acceptance import TRAILER
from loomgit.history.baselines import Baselines
from loomgit.history.repository import UNBORN
from loomgit.hooks.install import Update, parse_updates
from loomgit.sessions.accepting import OWN_CHANGE, read_acceptances, wants_others

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loomgit.guards.guard import Guard
    from loomgit.history.repository import Repository
    from loomgit.wiring.project import Wiring

USUAL_BRANCHES = ("HEAD", "main", "master")


def default_branches(wiring: Wiring) -> tuple[str, ...]:
    """What the default branch may be called at a remote."""
    configured = wiring.settings.baseline
    return (configured,) if configured else USUAL_BRANCHES


def parse_framework(variables: Mapping[str, str]) -> Update | None:
    """What the pre-commit framework says of a push; None where it has not called.

    It takes standard input for itself and hands on one ref, in variables.
    """
    if variables.get("PRE_COMMIT") != "1":
        return None
    name = variables.get("PRE_COMMIT_LOCAL_BRANCH", "HEAD")
    return Update(
        name,
        variables.get("PRE_COMMIT_TO_REF", name),
        variables.get("PRE_COMMIT_REMOTE_BRANCH", name),
        variables.get("PRE_COMMIT_FROM_REF", ""),
    )


class Pushed:
    """The refs that a push sends to `remote` (its name, or its URL)."""

    def __init__(self, wiring: Wiring, guard: Guard, remote: str) -> None:
        self._wiring = wiring
        self._git = wiring.repository
        self._guard = guard
        self._remote = remote

    def changes(self, said: bytes) -> list[Change]:
        """A change for each pair of commits; `said` is what Git tells the hook.

        Left out are tags of something else than a commit, and what the remote has already.
        """
        one = parse_framework(os.environ)
        updates = parse_updates(said.decode("utf-8", "surrogateescape")) if one is None else [one]
        names = [name for update in updates for name in (update.id, update.there)]
        ids = [item and item[0] for item in self._git.objects([f"{n}^{{commit}}" for n in names])]
        pairs = list(zip(updates, ids[::2], ids[1::2], strict=True))
        new = self._missing_there([head for _, head, there in pairs if head and not there])
        found: dict[tuple[str | None, str], Change] = {}
        for update, head, there in pairs:
            if head is None or (there is None and head not in new):
                continue
            change = self._change(update, head, there)
            if change.base != head:
                found.setdefault((change.base, head), change)
        return list(found.values())

    def _missing_there(self, heads: Sequence[str]) -> set[str]:
        """Those of these commits that the remote, as it was last seen, has not."""
        if not heads:
            return set()
        said = self._git.plumbing("rev-list", *heads, "--not", f"--remotes={self._remote}")
        return set(said.decode("ascii").split())

    def _change(self, update: Update, head: str, there: str | None) -> Change:
        base, name = there, f"{self._remote}'s {update.remote_name.removeprefix('refs/heads/')}"
        why, unknown = "", False
        self._wiring.trust.add(head)
        if base is None:
            base, name, why, unknown = self._base_of_new(head)
        return Change(
            base,
            name,
            head,
            update.name.removeprefix("refs/heads/").removeprefix("refs/"),
            tuple(self._guard.acceptances(base, head)),
            why,
            unknown,
        )

    def _base_of_new(self, head: str) -> tuple[str | None, str, str, bool]:
        """Find what a new ref is compared with.

        Returns the base's commit and name, the reason if there is no base, and whether the
        remote may have a base that could not be found.
        """
        try:
            base, name = self._fork(head)
        except UserError as error:
            return None, "", f"{error.message} ({error.hint})", True
        if base is not None:
            return base, name, "", False
        if not self._git.plumbing("for-each-ref", "--count=1", f"refs/remotes/{self._remote}/"):
            return None, "", f"{self._remote} has nothing to compare with", False
        why = f"the default branch of {self._remote} is not known: set `baseline` in {CONFIG}"
        return None, "", why, True

    def _fork(self, head: str) -> tuple[str | None, str]:
        """Where a commit left what the remote, or else another, has; the local default branch
        says nothing of that where it holds the commit itself."""
        for ref in self._default_refs():
            said = self._git.plumbing("merge-base", "--end-of-options", ref, head, good=(0, 1))
            base = said.decode("ascii").partition("\n")[0]
            if base and (base != head or ref.startswith("refs/remotes/")):
                short = ref.removeprefix("refs/remotes/").removeprefix("refs/heads/")
                return base, f"merge base with {short}"
        return None, ""

    def _default_refs(self) -> Iterator[str]:
        """The remote's default branch, as far as it is known, and the usual one.

        Raises UserError if the usual one is not known.
        """
        names = default_branches(self._wiring)
        refs = [f"refs/remotes/{self._remote}/{name}" for name in names]
        found = self._git.objects([f"{ref}^{{commit}}" for ref in refs])
        yield from (ref for ref, item in zip(refs, found, strict=True) if item)
        baselines = Baselines(self._git, self._wiring.settings.baseline, self._wiring.variables)
        if usual := baselines.default_branch():
            yield usual


def staged(wiring: Wiring, message: str | None) -> list[Change]:
    """The staged files as a change of HEAD; empty before the first commit.

    `message` is the commit's, if it is known: its trailers may accept a loss, unless the
    configuration wants that from somebody else. Warns of a trailer without a reason.
    """
    git = wiring.repository
    head = git.head()
    if head.id == UNBORN:
        return []
    values = [] if message is None else _trailers(git, message)
    if values and wants_others(wiring, head.id):
        for value in values:
            wiring.warn(f"`{TRAILER}: {value.strip()}` {OWN_CHANGE}")
        values = []
    accepted = tuple(read_acceptances(values, wiring.warn))
    return [Change(head.id, "HEAD", "", "what is staged", accepted)]


def _trailers(git: Repository, message: str) -> list[str]:
    """The values of a message's trailers, by Git's own rules: comments and a diff are left out."""
    try:
        said = git.plumbing(
            "-c", "trailer.separators=:", "interpret-trailers", "--parse",
            stdin=message.encode("utf-8", "surrogateescape"),
        )  # fmt: skip
    except WorldError:
        return []
    found = []
    for line in said.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == TRAILER.lower():
            found.append(value)
    return found
