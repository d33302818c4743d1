"""Which two revisions a comparison is about: from `A...B`, from a branch, from a pull request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.domain.words import one_of
from loomgit.errors import UserError, WorldError
from loomgit.history.trees import INDEX

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from loomgit.domain.versions import Commit

MOST_ANCESTORS = 500
WORKTREE, STAGED = "worktree", "index"
ORIGIN_HEAD = "refs/remotes/origin/HEAD"
REMOTE_DEFAULTS = ("refs/remotes/origin/main", "refs/remotes/origin/master")
DEFAULTS = (ORIGIN_HEAD, "refs/heads/main", "refs/heads/master", *REMOTE_DEFAULTS)


class Git(Protocol):
    """What is needed of a repository."""

    @property
    def is_shallow(self) -> bool:
        """Whether history is cut off."""
        ...

    def head(self, dependencies: Sequence[str] = ()) -> Commit:
        """Where HEAD stands."""
        ...

    def objects(self, names: Sequence[str]) -> list[tuple[str, str] | None]:
        """(id, type) of each object, None where there is none."""
        ...

    def plumbing(
        self,
        *arguments: str,
        stdin: bytes | None = None,
        env: Mapping[str, str] = ...,
        good: Collection[int] = (0,),
    ) -> bytes:
        """What a Git command prints."""
        ...


class Ends(Struct, frozen=True):
    """Both ends of a comparison: the baseline's commit (None: there is none, and `why` says why)
    and the tree of the head (a commit's id, `""` for the index, None for the working tree); each
    with its name in words. `unknown`: there may be a baseline, but it could not be found."""

    base: str | None
    base_name: str
    head: str | None
    head_name: str
    why: str = ""
    unknown: bool = False


class Baselines:
    """Finds the ends of comparisons; `configured` is the default branch that the project names,
    `environment` the variables in which GitHub says what it checked out, and for which event."""

    def __init__(
        self, git: Git, configured: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._git = git
        self._configured = configured
        self._environment = environment or {}

    def choose(self, expression: str | None = None, head: str | None = None) -> Ends:
        """The ends that `A`, `A..B`, `A...B` or nothing mean; `head` is `worktree`, `index` or a
        revision, None: the working tree where it is dirty, else HEAD.

        Raises UserError for a revision that is not there, and where both say what the head is.
        """
        left, dots, right = _parts(expression)
        if right and head is not None:
            raise UserError(
                f"both {expression} and --head {head} name the head", hint="give one of them"
            )
        if expression is not None and not left and not right:
            hint = "is a variable empty? say a branch, a tag or a commit"
            raise UserError(f"'{expression}' names no revision", hint=hint)
        standing = self._git.head()
        tree, tree_name = self._head(right or head, standing)
        tip = self._tip(tree, standing)
        if expression is None:
            return self._usual(standing, tip, tree, tree_name)
        start = self._commit(left or "HEAD")
        if dots == "..":
            return Ends(start, left or "HEAD", tree, tree_name)
        return self._fork(start, left or "HEAD", tip, tree, tree_name)

    def merged(self, one: str, two: str) -> Ends:
        """One end is `one`, the other what a merge of `two` into it would make; nothing is checked
        out. UserError where they conflict."""
        ours, theirs = self._commit(one), self._commit(two)
        said = self._git.plumbing(
            "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs,
            good=(0, 1),
        )  # fmt: skip
        tree, *conflicts = said.decode("utf-8", "replace").split("\0")
        if files := ", ".join(filter(None, conflicts)):
            raise UserError(f"{one} and {two} conflict in {files}", hint="merge them first")
        identity = ("-c", "user.name=loom", "-c", "user.email=loom@localhost")
        made = self._git.plumbing(
            *identity, "commit-tree", tree, "-p", ours, "-p", theirs, "-m", f"{two} into {one}",
            env={"GIT_AUTHOR_DATE": "@1 +0000", "GIT_COMMITTER_DATE": "@1 +0000"},
        )  # fmt: skip
        return Ends(ours, one, made.decode().strip(), f"{two} merged into {one}")

    def default_branch(self) -> str | None:
        """The default branch as a ref: the project's word, the remote's, `main`, `master`.

        None where there is none, or history is cut off and it was not fetched; UserError where the
        project names one that is not there, or `origin/HEAD` a branch that is gone.
        """
        if self._configured is None:
            gone = self._gone_default()
            return self._first(DEFAULTS) if gone is None else self._renamed(gone)
        name = self._configured
        found = self._first(
            (f"refs/heads/{name}", f"refs/remotes/origin/{name}", f"refs/tags/{name}")
        )
        if found is None and not self._git.is_shallow:
            message = f".loom/config.yaml: baseline: there is no branch {name}"
            raise UserError(message, hint="fetch it, or name another")
        return found

    def ancestors(self, commit: str) -> list[str]:
        """The first-parent line from `commit` on, itself first, 500 commits behind it at most."""
        said = self._git.plumbing(
            "rev-list", "--first-parent", f"--max-count={MOST_ANCESTORS + 1}",
            "--end-of-options", commit, "--",
        )  # fmt: skip
        return said.decode("ascii").split()

    # -- parts

    def _head(self, wanted: str | None, standing: Commit) -> tuple[str | None, str]:
        if wanted == WORKTREE or (wanted is None and (standing.dirty or standing.id == "unborn")):
            return None, "working tree"
        if wanted == STAGED:
            return INDEX, "index"
        return self._commit(wanted or "HEAD"), wanted or standing.branch or "HEAD"

    def _tip(self, tree: str | None, standing: Commit) -> str | None:
        """The commit that the head's tree is or follows; None before the first."""
        if tree:
            return tree
        return None if standing.id == "unborn" else standing.id

    def _usual(self, standing: Commit, tip: str | None, tree: str | None, tree_name: str) -> Ends:
        """The ends where nobody named a baseline."""
        if tip is None:
            why = "there is no commit yet"
            return Ends(None, "", tree, tree_name, why)
        if tip == standing.id and (queued := self._queue_base(tip)):
            return Ends(queued, "the merge queue's base", tree, tree_name)
        if tip == standing.id and self._is_test_merge(standing):
            return self._before(tip, "the pull request's base", tree, tree_name)
        default = self.default_branch()
        if default is None:
            why = "there is no default branch: set `baseline` in .loom/config.yaml, or name one"
            if self._git.is_shallow:
                why = "the default branch was not fetched: check out with fetch-depth 0"
            return Ends(None, "", tree, tree_name, why, unknown=True)
        name = _short(self._name(default))
        here = tree in (None, INDEX, standing.id)
        if standing.branch and name == standing.branch and here:
            return self._on_default(standing, tip, tree, tree_name)
        return self._fork(self._commit(default), name, tip, tree, tree_name)

    def _on_default(self, standing: Commit, tip: str, tree: str | None, tree_name: str) -> Ends:
        """On the default branch: its upstream, else what is committed, else the commit before."""
        upstream = self._upstream()
        if upstream is not None and upstream != tip:
            return Ends(upstream, f"upstream of {standing.branch}", tree, tree_name)
        if tree == INDEX or (tree is None and standing.dirty):
            return Ends(tip, "HEAD", tree, tree_name)
        return self._before(tip, "HEAD^1", tree, tree_name)

    def _before(self, tip: str, name: str, tree: str | None, tree_name: str) -> Ends:
        found = self._git.objects([f"{tip}^1^{{commit}}"])[0]
        if found is not None:
            return Ends(found[0], name, tree, tree_name)
        if self._git.is_shallow:
            why = "history is cut off at the head: check out with fetch-depth 2 or more"
        else:
            why = "the head is the first commit"
        return Ends(None, name, tree, tree_name, why, unknown=self._git.is_shallow)

    def _fork(
        self, start: str, name: str, tip: str | None, tree: str | None, tree_name: str
    ) -> Ends:
        """The merge base of `start` and the head."""
        label = f"merge base with {name}"
        if tip is None:
            return Ends(None, label, tree, tree_name, "there is no commit yet")
        said = self._git.plumbing("merge-base", "--end-of-options", start, tip, good=(0, 1))
        if said.strip():
            return Ends(said.decode("ascii").split()[0], label, tree, tree_name)
        if self._git.is_shallow:
            why = f"history is cut off before {name} forked: check out with fetch-depth 0"
        else:
            why = f"{name} and the head share no history"
        return Ends(None, label, tree, tree_name, why, unknown=self._git.is_shallow)

    def _queue_base(self, tip: str) -> str | None:
        """The commit that a merge queue's entry is built on; None outside of a merge queue.

        https://docs.github.com/en/webhooks/webhook-events-and-payloads#merge_group
        """
        entry = read_event(self._environment).get("merge_group")
        if not isinstance(entry, dict) or entry.get("head_sha") != tip:
            return None
        return self._commit(str(entry.get("base_sha", "")))

    def _gone_default(self) -> str | None:
        """The branch that `origin/HEAD` names, if that branch is not there."""
        name = self._name(ORIGIN_HEAD)
        return None if name == "origin/HEAD" or self._first((ORIGIN_HEAD,)) else name

    def _renamed(self, gone: str) -> str:
        """The default branch after the one that `origin/HEAD` names was renamed or removed.

        It may be the branch that this one tracks, if that has another name. A local `main` may be
        as old as the rename, so it does not count.
        """
        said = self._git.plumbing(
            "for-each-ref", "--format=%(HEAD)%(refname:lstrip=2)%00%(upstream)", "refs/heads"
        )
        lines = (line for line in said.decode("utf-8", "replace").splitlines() if line[0] == "*")
        own, _, upstream = next(lines, "*\0")[1:].partition("\0")
        tracked = () if upstream.endswith(f"/{own}") or not upstream else (upstream,)
        found = self._first((*tracked, *REMOTE_DEFAULTS))
        if found is None:
            raise UserError(
                f"the default branch is not known: origin/HEAD names {gone}, which is gone",
                hint="run `git remote set-head origin -a`, or set `baseline` in .loom/config.yaml",
            )
        return found

    def _is_test_merge(self, standing: Commit) -> bool:
        """Whether HEAD is the merge that GitHub makes to test a pull request.

        `GITHUB_REF` names that merge also in a job that checked out something else.
        """
        if standing.branch or not self._is_merge(standing.id):
            return False
        if _is_merge_ref(self._environment.get("GITHUB_REF", "")):
            return True
        said = self._git.plumbing(
            "for-each-ref", f"--points-at={standing.id}", "--format=%(refname)"
        )
        return any(_is_merge_ref(ref) for ref in said.decode("utf-8", "replace").splitlines())

    def _is_merge(self, commit: str) -> bool:
        """Whether a commit has two parents or more, here or beyond where history is cut off."""
        header = self._git.plumbing("cat-file", "commit", commit).partition(b"\n\n")[0]
        return header.count(b"\nparent ") > 1

    def _upstream(self) -> str | None:
        try:
            said = self._git.plumbing("rev-parse", "--verify", "--quiet", "@{upstream}^{commit}")
        except WorldError:
            return None
        return said.decode("ascii").strip()

    def _refs(self) -> list[str]:
        """The names of branches and tags as people say them."""
        said = self._git.plumbing("for-each-ref", "--format=%(refname:short)")
        return said.decode("utf-8", "replace").split()

    def _first(self, names: Sequence[str]) -> str | None:
        found = self._git.objects([f"{name}^{{commit}}" for name in names])
        return next((name for name, item in zip(names, found, strict=True) if item), None)

    def _name(self, default: str) -> str:
        """The branch that `origin/HEAD` names; `origin/HEAD` itself if it names none."""
        if default != ORIGIN_HEAD:
            return default
        said = self._git.plumbing("symbolic-ref", "--quiet", default, good=(0, 1, 128))
        return said.decode("utf-8").strip().removeprefix("refs/remotes/") or "origin/HEAD"

    def _commit(self, revision: str) -> str:
        if "@{" in revision:  # reflogs and upstreams, which cannot be asked for together
            asked = ("rev-parse", "--verify", "--quiet", "--end-of-options")
            said = self._git.plumbing(*asked, f"{revision}^{{commit}}", good=(0, 1, 128))
            found = (said.decode("ascii").strip(), "commit") if said.strip() else None
        else:
            found = self._git.objects([f"{revision}^{{commit}}"])[0]
        if found is None:
            hint = one_of(revision, self._refs(), "there are")
            if self._git.is_shallow:
                hint = "history is cut off here: check out with fetch-depth 0"
            raise UserError(f"there is no revision {revision}", hint=hint)
        return found[0]


def _parts(expression: str | None) -> tuple[str, str, str]:
    """`A...B` as its parts; a bare `A` is `A...`."""
    if expression is None:
        return "", "", ""
    for dots in ("...", ".."):
        left, found, right = expression.partition(dots)
        if found:
            return left, dots, right
    return expression, "...", ""


def _short(name: str) -> str:
    for start in ("refs/heads/", "refs/remotes/"):
        name = name.removeprefix(start)
    return name.removeprefix("origin/")


def read_event(environment: Mapping[str, str]) -> dict[str, object]:
    """The event of GitHub's workflow; empty outside of one, and where its file cannot be read."""
    path = environment.get("GITHUB_EVENT_PATH")
    if not path:
        return {}
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_merge_ref(ref: str) -> bool:
    """`refs/pull/7/merge`, or where actions/checkout keeps it, `refs/remotes/pull/7/merge`."""
    parts = ref.split("/")
    return len(parts) >= 4 and parts[-1] == "merge" and parts[-3] == "pull"
