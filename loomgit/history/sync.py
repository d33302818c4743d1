"""Run files shared between clones: on an orphan branch of the remote, by plumbing alone.

The user's checkout, index, HEAD and branches are never touched: trees are made in an index file of
our own, commits are made from trees, and one ref of ours remembers what the remote has.
"""

from __future__ import annotations

import random
import re
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.domain.words import did_you_mean
from loomgit.errors import UserError, WorldError
from loomgit.history import schema
from loomgit.history.files import write_new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from loomgit.history.store import RunStore

BRANCH = "refs/heads/loom-results"
ATTEMPTS = 10
FRUITLESS = 3  # failed pushes while nobody else moved the branch: the remote does not want ours
BATCH = 100  # run files held in memory at once
AUTHOR = {"NAME": "Loom", "EMAIL": "loom@localhost"}
# A run file's name on the branch and nothing else: what comes from a remote names no other path.
RUN_FILE = re.compile(r"runs/(unborn|[0-9a-f]{40,64}(-dirty)?)/[A-Za-z0-9_][A-Za-z0-9_.-]*\.json")


class Git(Protocol):
    """What is needed of a repository."""

    def plumbing(
        self, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] = ...
    ) -> bytes:
        """What a Git command prints; WorldError where it fails."""
        ...

    def in_repository(self, path: str) -> str:
        """A project's path as the repository's."""
        ...


class Synced(Struct, frozen=True):
    """What one push or pull did: run files that went over (as `runs/<commit>/<uid>.json`), how
    many the branch holds now, and how often it was tried because others pushed too."""

    remote: str
    files: tuple[str, ...] = ()
    total: int = 0
    attempts: int = 1


class Sync:
    """Pushes and pulls the run files of one project; `wait` sleeps for so many seconds."""

    def __init__(
        self,
        git: Git,
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

    def push(self, remote: str) -> Synced:
        """Put the run files that the remote lacks on its branch, after whatever others put there.

        Never forced: where somebody was quicker, theirs is fetched and ours goes on top. Raises
        UserError where there is no such remote, WorldError where Git or the remote fails.
        """
        self._check(remote)
        fruitless, before = 0, ""
        for attempt in range(1, ATTEMPTS + 1):
            tip = self._fetch(remote)
            fruitless = fruitless + 1 if attempt > 1 and tip == before else 0
            before = tip
            held = self._listed(tip)
            ours = [name for name in sorted(self._store.files()) if RUN_FILE.fullmatch(name)]
            new = [name for name in ours if name not in held and self._is_sound(name)]
            if not new:
                return Synced(remote, (), len(held), attempt)
            commit = self._commit(tip, new)
            try:
                self._send(remote, commit)
            except WorldError:
                if attempt == ATTEMPTS or fruitless == FRUITLESS:
                    raise
                self._wait(random.uniform(0.05, 0.2) * 2 ** min(attempt, 5))  # noqa: S311 - jitter
                continue
            self._remember(remote, commit)
            return Synced(remote, tuple(new), len(held) + len(new), attempt)
        raise AssertionError  # the last attempt returns or raises

    def pull(self, remote: str) -> Synced:
        """Write the run files that the remote has and the store lacks; none is overwritten.

        One that is no run is left out with a warning. Raises as `push` does.
        """
        self._check(remote)
        held = self._listed(self._fetch(remote))
        here = set(self._store.files())
        missing = [name for name in sorted(held) if name not in here and RUN_FILE.fullmatch(name)]
        written: list[str] = []
        for start in range(0, len(missing), BATCH):
            names = missing[start : start + BATCH]
            contents = self._blobs([held[name] for name in names])
            for name, content in zip(names, contents, strict=True):
                sound = self._is_run(f"{remote}: {name}", content)
                if sound and write_new(self._store.folder / name, content):
                    written.append(name)
        return Synced(remote, tuple(written), len(held))

    def _is_sound(self, name: str) -> bool:
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
            return True  # a newer Loom can read it
        except schema.DamagedRun as error:
            self._warn(f"{name} is damaged and left out: {error}")
            return False
        return True

    # -- Git

    def _say(self, *arguments: str) -> str:
        return self._git.plumbing(*arguments).decode("utf-8", "surrogateescape")

    def _check(self, remote: str) -> None:
        remotes = self._say("remote").splitlines()
        if remote not in remotes:
            hint = did_you_mean(remote, remotes) or (
                f"there is: {', '.join(remotes)}" if remotes else "`git remote add origin URL`"
            )
            raise UserError(f"there is no remote {remote}", hint=hint)

    def _fetch(self, remote: str) -> str:
        """The commit that the remote's branch is at, with its objects here; empty: no branch."""
        asked = self._say("ls-remote", "--end-of-options", remote, BRANCH)
        if not any(line.endswith(f"\t{BRANCH}") for line in asked.splitlines()):
            return ""
        self._git.plumbing(
            "fetch",
            "--quiet",
            "--no-tags",
            "--no-prune",
            "--no-write-fetch-head",
            "--no-recurse-submodules",
            "--no-auto-maintenance",
            "--refmap=",  # ours alone: the user's remote-tracking branches are theirs to fetch
            "--end-of-options",
            remote,
            f"+{BRANCH}:{_ref(remote)}",
        )
        return self._say("rev-parse", "--verify", "--end-of-options", _ref(remote)).strip()

    def _send(self, remote: str, commit: str) -> None:
        self._git.plumbing(
            "push",
            "--quiet",
            "--no-verify",  # the user's hook looks at code, and there is none
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
            return  # another process of ours holds it; the next fetch says the same

    def _listed(self, tip: str) -> dict[str, str]:
        """Run files at a commit: blob ids by the store's names."""
        if not tip:
            return {}
        said = self._say("ls-tree", "-r", "-z", "--full-tree", tip, "--", f"{self._folder}runs/")
        found: dict[str, str] = {}
        for line in filter(None, said.split("\0")):
            mode, kind, rest = line.split(" ", 2)
            blob, path = rest.split("\t", 1)
            if kind == "blob" and mode != "120000":
                found[path.removeprefix(self._folder)] = blob
        return found

    def _commit(self, tip: str, names: Sequence[str]) -> str:
        """A commit on `tip` (none: an orphan) whose tree has these files besides."""
        paths = "".join(f"{self._store.folder.resolve() / name}\n" for name in names)
        said = self._git.plumbing(
            "hash-object",
            "-w",
            "--no-filters",
            "--stdin-paths",
            stdin=paths.encode("utf-8", "surrogateescape"),
        )
        blobs = said.decode().split()
        entries = "".join(
            f"100644 {blob}\t{self._folder}{name}\0"
            for blob, name in zip(blobs, names, strict=True)
        )
        with tempfile.TemporaryDirectory(prefix="loom-") as folder:
            env = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            # A split index or a file monitor would leave something in .git.
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
        said = self._git.plumbing(
            "commit-tree",
            tree,
            *parent,
            "-m",
            f"Add {len(names)} {'run' if len(names) == 1 else 'runs'}",
            env=self._author(),
        )
        return said.decode().strip()

    def _author(self) -> dict[str, str]:
        """Nothing where Git knows who commits; on a machine without a person, Loom does."""
        try:
            self._git.plumbing("var", "GIT_COMMITTER_IDENT")
            self._git.plumbing("var", "GIT_AUTHOR_IDENT")
        except (UserError, WorldError):
            return {
                f"GIT_{who}_{k}": v for who in ("AUTHOR", "COMMITTER") for k, v in AUTHOR.items()
            }
        return {}

    def _blobs(self, blobs: Sequence[str]) -> Iterator[bytes]:
        said = self._git.plumbing(
            "cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs).encode()
        )
        at = 0
        for blob in blobs:
            end = said.index(b"\n", at)
            head = said[at:end].split()
            if len(head) != 3:
                raise WorldError(f"object {blob} of the branch loom-results is missing")
            size = int(head[2])
            yield said[end + 1 : end + 1 + size]
            at = end + 1 + size + 1


def _ref(remote: str) -> str:
    """Where this clone remembers the branch: no branch, so no checkout can be on it."""
    return f"refs/loom/results/{remote}"
