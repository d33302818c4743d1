"""Chooses the two revisions of a comparison: the baseline and the head.

The choice depends on an expression such as `A...B`, on the current branch, and on the GitHub event.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.suggestions import suggest_or_list
from loomgit.errors import UserError, WorldError
from loomgit.history.trees import INDEX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.domain.versions import Commit
    from loomgit.history.repository import Repository

MOST_ANCESTORS = 500
WORKTREE, STAGED = "worktree", "index"
ORIGIN_HEAD = "refs/remotes/origin/HEAD"
REMOTE_DEFAULTS = ("refs/remotes/origin/main", "refs/remotes/origin/master")
DEFAULTS = (ORIGIN_HEAD, "refs/heads/main", "refs/heads/master", *REMOTE_DEFAULTS)


class ComparedRevisions(Struct, frozen=True):
    """The baseline and the head of a comparison, each with its display name.

    The head is the revision that is compared with the baseline. `base` is the commit of the
    baseline, or None if there is no baseline; `why` is then the reason. `head` is a commit id, `""`
    for the index, or None for the working tree. `unknown` is true if a baseline may exist but could
    not be determined.
    """

    base: str | None
    base_name: str
    head: str | None
    head_name: str
    why: str = ""
    unknown: bool = False


class Baselines:
    """Chooses the revisions of comparisons.

    `configured` is the default branch in the project's settings, or None. `environment` contains
    the environment variables that GitHub sets for a workflow.
    """

    def __init__(
        self,
        git: Repository,
        configured: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._git = git
        self._configured = configured
        self._environment = environment or {}

    def choose(self, expression: str | None = None, head: str | None = None) -> ComparedRevisions:
        """Return the baseline and the head that `expression` and `head` select.

        `A..B` compares B with A. `A...B` compares B with the merge base of A and B. `A` means
        `A...`. If `expression` is None, the baseline depends on the branch and the GitHub event.

        `head` is `worktree`, `index` or a revision. If neither B nor `head` is given, the head is
        the working tree if it has uncommitted changes, else HEAD. Raises UserError if a revision is
        unknown, or if both B and `head` are given.
        """
        left, dots, right = _parts(expression)
        if right and head is not None:
            raise UserError(
                f"both {expression} and --head {head} set the head", hint="pass only one of them"
            )
        if expression is not None and not left and not right:
            hint = "is a variable empty? pass a branch, a tag or a commit"
            raise UserError(f"'{expression}' names no revision", hint=hint)
        current = self._git.head()
        tree, tree_name = self._head(right or head, current)
        tip = self._tip(tree, current)
        if expression is None:
            return self._implied(current, tip, tree, tree_name)
        start = self._commit(left or "HEAD")
        if dots == "..":
            return ComparedRevisions(start, left or "HEAD", tree, tree_name)
        return self._fork(start, left or "HEAD", tip, tree, tree_name)

    def merged(self, one: str, two: str) -> ComparedRevisions:
        """Return `one` as the baseline, and the merge of `two` into `one` as the head.

        The merge commit belongs to no branch, and the working tree does not change. Raises
        UserError if the two revisions conflict.
        """
        ours, theirs = self._commit(one), self._commit(two)
        output = self._git.plumbing(
            "merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", ours, theirs,
            good=(0, 1),
        )  # fmt: skip
        tree, *conflicts = output.decode("utf-8", "replace").split("\0")
        if files := ", ".join(filter(None, conflicts)):
            raise UserError(f"{one} and {two} conflict in {files}", hint="merge them first")
        identity = ("-c", "user.name=loom", "-c", "user.email=loom@localhost")
        commit = self._git.plumbing(
            *identity, "commit-tree", tree, "-p", ours, "-p", theirs, "-m", f"{two} into {one}",
            env={"GIT_AUTHOR_DATE": "@1 +0000", "GIT_COMMITTER_DATE": "@1 +0000"},
        )  # fmt: skip
        return ComparedRevisions(ours, one, commit.decode().strip(), f"{two} merged into {one}")

    def default_branch(self) -> str | None:
        """Return the ref of the default branch, or None if the default branch is unknown.

        The default branch is the configured branch. If no branch is configured, it is the first of
        these branches that exists: the remote's default branch, `main`, `master`. The default
        branch is unknown if none of these exists, or if a shallow clone did not fetch the
        configured branch. Raises UserError if the configured branch does not exist. Also raises
        UserError if `origin/HEAD` names a missing branch, and no other default branch is found.
        """
        if self._configured is None:
            missing = self._missing_default()
            return self._first(DEFAULTS) if missing is None else self._replacement(missing)
        name = self._configured
        ref = self._first(
            (f"refs/heads/{name}", f"refs/remotes/origin/{name}", f"refs/tags/{name}")
        )
        if ref is None and not self._git.is_shallow:
            message = f".loom/config.yaml: baseline: there is no branch {name}"
            raise UserError(message, hint="fetch the branch, or name another one")
        return ref

    def ancestors(self, commit: str) -> list[str]:
        """Return `commit` and up to 500 of its first-parent ancestors, newest first."""
        output = self._git.plumbing(
            "rev-list", "--first-parent", f"--max-count={MOST_ANCESTORS + 1}",
            "--end-of-options", commit, "--",
        )  # fmt: skip
        return output.decode("ascii").split()

    # -- private methods

    def _head(self, requested: str | None, current: Commit) -> tuple[str | None, str]:
        """Return the revision of the head (see `ComparedRevisions.head`) and its display name."""
        is_changed = current.dirty or current.id == "unborn"
        if requested == WORKTREE or (requested is None and is_changed):
            return None, "working tree"
        if requested == STAGED:
            return INDEX, "index"
        return self._commit(requested or "HEAD"), requested or current.branch or "HEAD"

    def _tip(self, tree: str | None, current: Commit) -> str | None:
        """Return the commit of the head, or None if the repository has no commit yet.

        For the working tree and the index, this is the commit at HEAD.
        """
        if tree:
            return tree
        return None if current.id == "unborn" else current.id

    def _implied(
        self, current: Commit, tip: str | None, tree: str | None, tree_name: str
    ) -> ComparedRevisions:
        """Choose the baseline by the GitHub event or the branch if the user named no baseline."""
        if tip is None:
            why = "there is no commit yet"
            return ComparedRevisions(None, "", tree, tree_name, why)
        if tip == current.id and (queued := self._queue_base(tip)):
            return ComparedRevisions(queued, "the merge queue's base", tree, tree_name)
        if tip == current.id and self._is_test_merge(current):
            return self._before(tip, "the pull request's base", tree, tree_name)
        default = self.default_branch()
        if default is None:
            why = (
                "there is no default branch: set `baseline` in .loom/config.yaml, or pass a branch"
            )
            if self._git.is_shallow:
                why = "the default branch was not fetched: check out with fetch-depth 0"
            return ComparedRevisions(None, "", tree, tree_name, why, unknown=True)
        name = _short(self._name(default))
        is_checked_out = tree in (None, INDEX, current.id)
        if current.branch and name == current.branch and is_checked_out:
            return self._on_default(current, tip, tree, tree_name)
        return self._fork(self._commit(default), name, tip, tree, tree_name)

    def _on_default(
        self, current: Commit, tip: str, tree: str | None, tree_name: str
    ) -> ComparedRevisions:
        """Choose the baseline for a head that is on the default branch.

        If the commit of the upstream branch differs from the head's commit, the baseline is the
        upstream branch. Otherwise, if the head is the index or a changed working tree, the baseline
        is the commit HEAD. In all other cases, the baseline is the previous commit.
        """
        upstream = self._upstream()
        if upstream is not None and upstream != tip:
            return ComparedRevisions(upstream, f"upstream of {current.branch}", tree, tree_name)
        if tree == INDEX or (tree is None and current.dirty):
            return ComparedRevisions(tip, "HEAD", tree, tree_name)
        return self._before(tip, "HEAD^1", tree, tree_name)

    def _before(self, tip: str, name: str, tree: str | None, tree_name: str) -> ComparedRevisions:
        """Return the revisions to compare. The baseline is the first parent of the commit `tip`."""
        parent = self._git.objects([f"{tip}^1^{{commit}}"])[0]
        if parent is not None:
            return ComparedRevisions(parent[0], name, tree, tree_name)
        if self._git.is_shallow:
            why = "the shallow clone ends at the head: check out with fetch-depth 2 or more"
        else:
            why = "the head is the first commit"
        return ComparedRevisions(None, name, tree, tree_name, why, unknown=self._git.is_shallow)

    def _fork(
        self, start: str, name: str, tip: str | None, tree: str | None, tree_name: str
    ) -> ComparedRevisions:
        """Return the revisions to compare. The baseline is the merge base of `start` and `tip`.

        `tip` is the head's commit.
        """
        label = f"merge base with {name}"
        if tip is None:
            return ComparedRevisions(None, label, tree, tree_name, "there is no commit yet")
        output = self._git.plumbing("merge-base", "--end-of-options", start, tip, good=(0, 1))
        if output.strip():
            return ComparedRevisions(output.decode("ascii").split()[0], label, tree, tree_name)
        if self._git.is_shallow:
            why = f"the shallow clone has no merge base with {name}: check out with fetch-depth 0"
        else:
            why = f"{name} and the head share no history"
        return ComparedRevisions(None, label, tree, tree_name, why, unknown=self._git.is_shallow)

    def _queue_base(self, tip: str) -> str | None:
        """Return the base commit if GitHub tests `tip` in a merge queue, else None.

        GitHub's event `merge_group` is described at
        https://docs.github.com/en/webhooks/webhook-events-and-payloads#merge_group
        """
        entry = read_event(self._environment).get("merge_group")
        if not isinstance(entry, dict) or entry.get("head_sha") != tip:
            return None
        return self._commit(str(entry.get("base_sha", "")))

    def _missing_default(self) -> str | None:
        """Return the branch name in `origin/HEAD` if that branch does not exist, else None."""
        name = self._name(ORIGIN_HEAD)
        return None if name == "origin/HEAD" or self._first((ORIGIN_HEAD,)) else name

    def _replacement(self, missing: str) -> str:
        """Return another default branch.

        `missing` is the branch that `origin/HEAD` names but that no longer exists. The candidates
        are the upstream of the current branch, then the remote's `main` and `master`. The upstream
        is a candidate only if its name differs from that of the current branch. A local `main` is
        not a candidate, because it may be the old copy of a branch that the remote has renamed.
        Raises UserError if no candidate exists.
        """
        output = self._git.plumbing(
            "for-each-ref", "--format=%(HEAD)%(refname:lstrip=2)%00%(upstream)", "refs/heads"
        )
        lines = (line for line in output.decode("utf-8", "replace").splitlines() if line[0] == "*")
        own, _, upstream = next(lines, "*\0")[1:].partition("\0")
        tracked = () if upstream.endswith(f"/{own}") or not upstream else (upstream,)
        ref = self._first((*tracked, *REMOTE_DEFAULTS))
        if ref is None:
            raise UserError(
                f"the default branch is unknown: origin/HEAD names {missing}, which does not exist",
                hint="run `git remote set-head origin -a`, or set `baseline` in .loom/config.yaml",
            )
        return ref

    def _is_test_merge(self, current: Commit) -> bool:
        """Whether HEAD is the merge commit that GitHub creates to test a pull request.

        `GITHUB_REF` alone is not sufficient, because it names the merge commit even if the job has
        checked out another commit.
        """
        if current.branch or not self._is_merge(current.id):
            return False
        if _is_merge_ref(self._environment.get("GITHUB_REF", "")):
            return True
        output = self._git.plumbing(
            "for-each-ref", f"--points-at={current.id}", "--format=%(refname)"
        )
        return any(_is_merge_ref(ref) for ref in output.decode("utf-8", "replace").splitlines())

    def _is_merge(self, commit: str) -> bool:
        """Whether a commit has two or more parents, including parents that were not fetched."""
        header = self._git.plumbing("cat-file", "commit", commit).partition(b"\n\n")[0]
        return header.count(b"\nparent ") > 1

    def _upstream(self) -> str | None:
        """Return the commit of the current branch's upstream, or None if there is no upstream."""
        try:
            output = self._git.plumbing("rev-parse", "--verify", "--quiet", "@{upstream}^{commit}")
        except WorldError:
            return None
        return output.decode("ascii").strip()

    def _refs(self) -> list[str]:
        """Return the short names of all refs."""
        output = self._git.plumbing("for-each-ref", "--format=%(refname:short)")
        return output.decode("utf-8", "replace").split()

    def _first(self, names: Sequence[str]) -> str | None:
        """Return the first name that refers to a commit, or None if no name does."""
        objects = self._git.objects([f"{name}^{{commit}}" for name in names])
        return next((name for name, item in zip(names, objects, strict=True) if item), None)

    def _name(self, default: str) -> str:
        """Return the name of a default branch.

        If `default` is `origin/HEAD`, return the branch to which this ref points. If it points to
        no branch, return `origin/HEAD`. If `default` is any other ref, return `default` itself.
        """
        if default != ORIGIN_HEAD:
            return default
        output = self._git.plumbing("symbolic-ref", "--quiet", default, good=(0, 1, 128))
        return output.decode("utf-8").strip().removeprefix("refs/remotes/") or "origin/HEAD"

    def _commit(self, revision: str) -> str:
        """Return the commit id of a revision. Raises UserError if the revision does not exist."""
        if "@{" in revision:  # `objects` supports neither reflogs nor `@{upstream}`
            command = ("rev-parse", "--verify", "--quiet", "--end-of-options")
            output = self._git.plumbing(*command, f"{revision}^{{commit}}", good=(0, 1, 128))
            commit = (output.decode("ascii").strip(), "commit") if output.strip() else None
        else:
            commit = self._git.objects([f"{revision}^{{commit}}"])[0]
        if commit is None:
            hint = suggest_or_list(revision, self._refs(), "known revisions")
            if self._git.is_shallow:
                hint = "this is a shallow clone: check out with fetch-depth 0"
            raise UserError(f"there is no revision {revision}", hint=hint)
        return commit[0]


def _parts(expression: str | None) -> tuple[str, str, str]:
    """Split `A...B` or `A..B` into (left, dots, right); a bare `A` means `A...`."""
    if expression is None:
        return "", "", ""
    for dots in ("...", ".."):
        left, separator, right = expression.partition(dots)
        if separator:
            return left, dots, right
    return expression, "...", ""


def _short(name: str) -> str:
    for prefix in ("refs/heads/", "refs/remotes/"):
        name = name.removeprefix(prefix)
    return name.removeprefix("origin/")


def read_event(environment: Mapping[str, str]) -> dict[str, object]:
    """Return the JSON object that describes the event of the GitHub workflow.

    The object is empty outside a workflow, or if the event file is unreadable.
    """
    path = environment.get("GITHUB_EVENT_PATH")
    if not path:
        return {}
    try:
        event = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return event if isinstance(event, dict) else {}


def _is_merge_ref(ref: str) -> bool:
    """Whether GitHub uses a ref for the test merge of a pull request.

    The ref is `refs/pull/7/merge`, or `refs/remotes/pull/7/merge` after `actions/checkout`.
    """
    parts = ref.split("/")
    return len(parts) >= 4 and parts[-1] == "merge" and parts[-3] == "pull"
