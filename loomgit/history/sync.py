"""Shares run files between clones, on a branch of the remote that contains only run files.

This module uses only Git's plumbing commands, a private index file, and a private ref for the state
of the remote. Therefore, the user's checkout, index, HEAD and branches do not change.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import UserError, WorldError
from loomgit.history import schema
from loomgit.history.atomic_files import write_new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from loomgit.history.repository import Repository
    from loomgit.history.store import RunStore

BRANCH = "refs/heads/loom-results"
ATTEMPTS = 10
MAX_REFUSALS = 3  # give up after this many retries in a row with an unchanged remote branch
BATCH = 100  # maximum number of run files in memory at the same time
AUTHOR = {"NAME": "Loom", "EMAIL": "loom@localhost"}
# Matches the names of run files on the branch. A pull ignores files with other names. Therefore, a
# malicious remote cannot make Loom write to other paths.
RUN_FILE = re.compile(r"runs/(unborn|[0-9a-f]{40,64}(-dirty)?)/[A-Za-z0-9_][A-Za-z0-9_.-]*\.json")


class SyncResult(Struct, frozen=True):
    """The result of a push or pull.

    `files` are the transferred run files (as `runs/<commit>/<uid>.json`). `total` is the number of
    run files on the branch after the transfer. A push is repeated if another clone has pushed at
    the same time; `attempts` is the number of attempts.
    """

    remote: str
    files: tuple[str, ...] = ()
    total: int = 0
    attempts: int = 1


class Sync:
    """Pushes and pulls the run files of one project. `wait` is a function like `time.sleep`."""

    def __init__(
        self,
        git: Repository,
        store: RunStore,
        warn: Callable[[str], None],
        *,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._git = git
        self._store = store
        self._warn = warn
        self._wait = wait
        self._folder = git.in_repository(".loom") + "/"
        self._checked: dict[str, bool] = {}

    def push(self, remote: str) -> SyncResult:
        """Push the run files that the remote's branch lacks.

        A push is never forced. If another clone has pushed first, its commits are fetched, and the
        new commit is created on top of them. A damaged run file is skipped with a warning. Raises
        UserError if the remote is unknown, and WorldError if Git or the remote fails.
        """
        self._check(remote)
        fruitless, previous = 0, ""
        for attempt in range(1, ATTEMPTS + 1):
            tip = self._fetch(remote)
            fruitless = fruitless + 1 if attempt > 1 and tip == previous else 0
            previous = tip
            pushed = self._list(tip)
            local = [name for name in sorted(self._store.files()) if RUN_FILE.fullmatch(name)]
            new = [name for name in local if name not in pushed and self._is_sound(name)]
            if not new:
                return SyncResult(remote, (), len(pushed), attempt)
            commit = self._commit(tip, new)
            try:
                self._send(remote, commit)
            except WorldError:
                if attempt == ATTEMPTS or fruitless == MAX_REFUSALS:
                    raise
                self._wait(random.uniform(0.05, 0.2) * 2 ** min(attempt, 5))  # noqa: S311 - not for security
                continue
            self._remember(remote, commit)
            return SyncResult(remote, tuple(new), len(pushed) + len(new), attempt)
        raise AssertionError  # the last attempt returns or raises

    def pull(self, remote: str) -> SyncResult:
        """Write the run files that are on the remote's branch, but not in the store.

        No file is overwritten. A damaged run file is skipped with a warning. Raises the same errors
        as `push`.
        """
        self._check(remote)
        pushed = self._list(self._fetch(remote))
        local = set(self._store.files())
        missing = [
            name for name in sorted(pushed) if name not in local and RUN_FILE.fullmatch(name)
        ]
        written: list[str] = []
        for start in range(0, len(missing), BATCH):
            names = missing[start : start + BATCH]
            contents = self._read_blobs([pushed[name] for name in names])
            for name, content in zip(names, contents, strict=True):
                sound = self._is_run(f"{remote}: {name}", content)
                if sound and write_new(self._store.folder / name, content):
                    written.append(name)
        return SyncResult(remote, tuple(written), len(pushed))

    def _is_sound(self, name: str) -> bool:
        """Whether a file of the store contains a valid run. Warns about an invalid file once.

        Raises WorldError if the file cannot be read.
        """
        if name not in self._checked:
            try:
                content = (self._store.folder / name).read_bytes()
            except OSError as error:
                raise WorldError(f"{name} cannot be read: {error.strerror or error}") from error
            self._checked[name] = self._is_run(f".loom/{name}", content)
        return self._checked[name]

    def _is_run(self, name: str, content: bytes) -> bool:
        try:
            schema.from_json(content)
        except schema.NewerRun:
            return True  # not damaged: a newer version of Loom wrote the file
        except schema.DamagedRun as error:
            self._warn(f"{name} is damaged and was skipped: {error}")
            return False
        return True

    # -- Git

    def _output(self, *arguments: str) -> str:
        return self._git.plumbing(*arguments).decode("utf-8", "surrogateescape")

    def _check(self, remote: str) -> None:
        remotes = self._output("remote").splitlines()
        if remote not in remotes:
            hint = did_you_mean(remote, remotes) or (
                f"known remotes: {', '.join(remotes)}"
                if remotes
                else "run `git remote add origin URL`"
            )
            raise UserError(f"there is no remote {remote}", hint=hint)

    def _fetch(self, remote: str) -> str:
        """Fetch the remote's branch. Return its commit, or an empty text if there is no branch."""
        listing = self._output("ls-remote", "--end-of-options", remote, BRANCH)
        if not any(line.endswith(f"\t{BRANCH}") for line in listing.splitlines()):
            return ""
        self._git.plumbing(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-prune",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--refmap=",  # do not update the user's remote-tracking branches
            "--end-of-options",
            remote,
            f"+{BRANCH}:{_ref(remote)}",
        )
        return self._output("rev-parse", "--verify", "--end-of-options", _ref(remote)).strip()

    def _send(self, remote: str, commit: str) -> None:
        self._git.plumbing(
            "push",
            "--quiet",
            "--no-verify",  # the user's hooks check code, and this branch contains no code
            "--no-follow-tags",
            "--recurse-submodules=no",
            "--end-of-options",
            remote,
            f"{commit}:{BRANCH}",
        )

    def _remember(self, remote: str, commit: str) -> None:
        try:
            self._git.plumbing("update-ref", _ref(remote), commit)
        except WorldError:
            return  # another Loom process is updating the ref; the next fetch sets it

    def _list(self, tip: str) -> dict[str, str]:
        """Return the blob ids of the run files at a commit, by their names in the store."""
        if not tip:
            return {}
        listing = self._output(
            "ls-tree", "-r", "-z", "--full-tree", tip, "--", f"{self._folder}runs/"
        )
        blobs: dict[str, str] = {}
        for line in filter(None, listing.split("\0")):
            mode, kind, rest = line.split(" ", 2)
            blob, path = rest.split("\t", 1)
            if kind == "blob" and mode != "120000":
                blobs[path.removeprefix(self._folder)] = blob
        return blobs

    def _commit(self, tip: str, names: Sequence[str]) -> str:
        """Create a commit that adds these files to the commit `tip`, and return its id.

        If `tip` is empty, the commit has no parent.
        """
        paths = "".join(f"{self._store.folder.resolve() / name}\n" for name in names)
        output = self._git.plumbing(
            "hash-object",
            "-w",
            "--no-filters",
            "--stdin-paths",
            stdin=paths.encode("utf-8", "surrogateescape"),
        )
        blobs = output.decode().split()
        entries = "".join(
            f"100644 {blob}\t{self._folder}{name}\0"
            for blob, name in zip(blobs, names, strict=True)
        )
        with tempfile.TemporaryDirectory(prefix="loom-") as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            # These settings are turned off, because they make Git write files to `.git`.
            plain = ("-c", "core.splitIndex=false", "-c", "core.fsmonitor=false")
            if tip:
                self._git.plumbing(*plain, "read-tree", tip, env=env)
            self._git.plumbing(
                *plain,
                "update-index",
                "-z",
                "--index-info",
                stdin=entries.encode("utf-8", "surrogateescape"),
                env=env,
            )
            tree = self._git.plumbing(*plain, "write-tree", env=env).decode().strip()
        parent = ("-p", tip) if tip else ()
        commit = self._git.plumbing(
            "commit-tree",
            tree,
            *parent,
            "-m",
            f"Add {len(names)} {'run' if len(names) == 1 else 'runs'}",
            env=self._author(),
        )
        return commit.decode().strip()

    def _author(self) -> dict[str, str]:
        """Return environment variables that make Loom the author of a commit.

        The result is empty if Git knows the name and the email address of the user.
        """
        try:
            self._git.plumbing("var", "GIT_COMMITTER_IDENT")
            self._git.plumbing("var", "GIT_AUTHOR_IDENT")
        except (UserError, WorldError):
            return {
                f"GIT_{role}_{field}": value
                for role in ("AUTHOR", "COMMITTER")
                for field, value in AUTHOR.items()
            }
        return {}

    def _read_blobs(self, blobs: Sequence[str]) -> Iterator[bytes]:
        output = self._git.plumbing(
            "cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs).encode()
        )
        position = 0
        for blob in blobs:
            end = output.index(b"\n", position)
            header = output[position:end].split()
            if len(header) != 3:
                raise WorldError(f"object {blob} of the branch loom-results is missing")
            size = int(header[2])
            yield output[end + 1 : end + 1 + size]
            position = end + 1 + size + 1


def _ref(remote: str) -> str:
    """Return the ref that records the remote's branch in this clone.

    This ref is not a branch, so that it cannot be checked out in a worktree.
    """
    return f"refs/loom/results/{remote}"
