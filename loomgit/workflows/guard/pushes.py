"""Converts the refs of a push, or the staged files, to changes that the guard judges."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from loomgit.comparison.acceptance import TRAILER
from loomgit.errors import UserError, WorldError
from loomgit.history.baselines import Baselines
from loomgit.history.repository import UNBORN
from loomgit.hooks.install import RefUpdate, parse_updates
from loomgit.workflows.guard.affected import CONFIG
from loomgit.workflows.guard.guard import GuardedChange
from loomgit.workflows.testing.accepted_losses import OWN_CHANGE, read_acceptances, wants_others

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from loomgit.history.repository import Repository
    from loomgit.wiring.project import Wiring
    from loomgit.workflows.guard.guard import Guard

COMMON_BRANCHES = ("HEAD", "main", "master")


def default_branches(wiring: Wiring) -> tuple[str, ...]:
    """Return the possible names of a remote's default branch."""
    configured = wiring.settings.baseline
    return (configured,) if configured else COMMON_BRANCHES


def parse_framework(variables: Mapping[str, str]) -> RefUpdate | None:
    """Return the pushed ref if the pre-commit framework calls the hook, else None.

    Git writes the pushed refs to the standard input, but the framework has already read them. It
    passes one ref to the hook in environment variables, which are in `variables`.
    """
    if variables.get("PRE_COMMIT") != "1":
        return None
    name = variables.get("PRE_COMMIT_LOCAL_BRANCH", "HEAD")
    return RefUpdate(
        name,
        variables.get("PRE_COMMIT_TO_REF", name),
        variables.get("PRE_COMMIT_REMOTE_BRANCH", name),
        variables.get("PRE_COMMIT_FROM_REF", ""),
    )


class PushChanges:
    """The changes in a push to `remote` (a name or a URL)."""

    def __init__(self, wiring: Wiring, guard: Guard, remote: str) -> None:
        self._wiring = wiring
        self._git = wiring.repository
        self._guard = guard
        self._remote = remote

    def changes(self, ref_lines: bytes) -> list[GuardedChange]:
        """Return the changes in a push, one for each pair of base and head.

        `ref_lines` is the standard input of Git's pre-push hook. Refs that are not commits, and
        commits that the remote already has, are omitted.
        """
        update = parse_framework(os.environ)
        if update is None:
            updates = parse_updates(ref_lines.decode("utf-8", "surrogateescape"))
        else:
            updates = [update]
        names = [name for update in updates for name in (update.id, update.there)]
        ids = [item and item[0] for item in self._git.objects([f"{n}^{{commit}}" for n in names])]
        pairs = list(zip(updates, ids[::2], ids[1::2], strict=True))
        new = self._missing_at_remote([head for _, head, old in pairs if head and not old])
        changes: dict[tuple[str | None, str], GuardedChange] = {}
        for update, head, old in pairs:
            if head is None or (old is None and head not in new):
                continue
            change = self._change(update, head, old)
            if change.base != head:
                changes.setdefault((change.base, head), change)
        return list(changes.values())

    def _missing_at_remote(self, heads: Sequence[str]) -> set[str]:
        """Return `heads` and their ancestors, without the commits that the remote had at the last
        fetch."""
        if not heads:
            return set()
        output = self._git.plumbing("rev-list", *heads, "--not", f"--remotes={self._remote}")
        return set(output.decode("ascii").split())

    def _change(self, update: RefUpdate, head: str, old: str | None) -> GuardedChange:
        base, name = old, f"{self._remote}'s {update.remote_name.removeprefix('refs/heads/')}"
        why, unknown = "", False
        self._wiring.trust.add(head)
        if base is None:
            base, name, why, unknown = self._base_of_new(head)
        return GuardedChange(
            base,
            name,
            head,
            update.name.removeprefix("refs/heads/").removeprefix("refs/"),
            tuple(self._guard.acceptances(base, head)),
            why,
            unknown,
        )

    def _base_of_new(self, head: str) -> tuple[str | None, str, str, bool]:
        """Return the base of a ref that does not exist on the remote.

        The result is (commit, name, reason, unknown). If there is no base, `commit` is None, and
        `reason` says why. `unknown` is true if there may be a base, but Loom cannot determine it.
        """
        try:
            base, name = self._fork(head)
        except UserError as error:
            return None, "", f"{error.message} ({error.hint})", True
        if base is not None:
            return base, name, "", False
        if not self._git.plumbing("for-each-ref", "--count=1", f"refs/remotes/{self._remote}/"):
            return None, "", f"{self._remote} has nothing to compare with", False
        why = f"the default branch of {self._remote} is unknown: set `baseline` in {CONFIG}"
        return None, "", why, True

    def _fork(self, head: str) -> tuple[str | None, str]:
        """Return (commit, display name): the commit at which the head branched off the default
        branch.

        The remote's default branch is tried first, then the default branch of comparisons. A local
        default branch that contains the head itself is ignored. Return (None, "") if there is no
        such commit.
        """
        for ref in self._default_refs():
            output = self._git.plumbing("merge-base", "--end-of-options", ref, head, good=(0, 1))
            base = output.decode("ascii").partition("\n")[0]
            if base and (base != head or ref.startswith("refs/remotes/")):
                short = ref.removeprefix("refs/remotes/").removeprefix("refs/heads/")
                return base, f"merge base with {short}"
        return None, ""

    def _default_refs(self) -> Iterator[str]:
        """Yield refs that may be the default branch: first the existing branches of the remote,
        then the result of `Baselines.default_branch`.

        Raises the UserError of `Baselines.default_branch`.
        """
        names = default_branches(self._wiring)
        refs = [f"refs/remotes/{self._remote}/{name}" for name in names]
        commits = self._git.objects([f"{ref}^{{commit}}" for ref in refs])
        yield from (ref for ref, commit in zip(refs, commits, strict=True) if commit)
        baselines = Baselines(self._git, self._wiring.settings.baseline, self._wiring.variables)
        if branch := baselines.default_branch():
            yield branch


def staged_changes(wiring: Wiring, message: str | None) -> list[GuardedChange]:
    """Return the staged files as a change to HEAD. The result is empty before the first commit.

    `message` is the commit message, or None if it is unknown. With `Loom-Accept` trailers in the
    message, the author accepts losses, such as worse metrics or removed cases. If the configuration
    requires that other people accept losses, the trailers are ignored with a warning. A trailer
    without a reason also causes a warning.
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
    return [GuardedChange(head.id, "HEAD", "", "the staged files", accepted)]


def _trailers(git: Repository, message: str) -> list[str]:
    """Return the values of the `Loom-Accept` trailers in a commit message.

    Git parses the message, so comments and an appended diff are ignored.
    """
    try:
        output = git.plumbing(
            "-c", "trailer.separators=:", "interpret-trailers", "--parse",
            stdin=message.encode("utf-8", "surrogateescape"),
        )  # fmt: skip
    except WorldError:
        return []
    values = []
    for line in output.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() == TRAILER.lower():
            values.append(value)
    return values
