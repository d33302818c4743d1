"""Follows one file across renames, and finds the commits that introduced each of its contents."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loomgit.history.renames import find_id
from loomgit.history.repository import MAX_PATHSPECS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.history.repository import Repository

Moves = dict[str, dict[str, str]]  # commit -> new path -> old path


class HistoryCommit(NamedTuple):
    """A commit that changed the file.

    `parents` are the commit's parents in Git's simplified history, which omits commits that did not
    change the file. `time` is the author date, ISO 8601.
    """

    commit: str
    parents: tuple[str, ...]
    time: str
    author: str
    subject: str


class ContentChange(NamedTuple):
    """A change that gave the file new content.

    `step` is the commit that made the change. None of the parents of this commit has the
    content. `path` is the path in the repository, and `blob` is the id of the content.
    """

    step: HistoryCommit
    path: str
    blob: str


class FileHistory:
    """Follows a file backwards from the commit `tip`, at which it has the path `path`.

    The path is relative to the repository. A moved file is followed if its content or the `id:` in
    its front matter is unchanged. Each former path requires one more pass through the history.
    """

    def __init__(self, repository: Repository, path: str, tip: str) -> None:
        self._repository = repository
        self._path = path
        self._tip = tip
        self._paths = [path]
        self._moves: Moves = {}
        self._blobs: dict[str, dict[str, str]] = {}  # commit -> path -> blob id

    def arrivals(self) -> list[ContentChange]:
        """Return the changes that gave the file new content, newest first.

        A commit always comes before its parents, even if the date of a parent is newer.
        """
        checked: set[str] = set()
        while True:
            steps = self._load()
            paths = self._paths_at(steps)
            new = [step.commit for step in steps if self._is_new(step, paths)]
            created = [commit for commit in new if commit not in checked]
            checked.update(created)
            if not self._find_moves({commit: paths[commit] for commit in created}):
                break
        changes = []
        for step in steps:
            path = paths[step.commit]
            blob = self._blobs[step.commit].get(path)
            if blob and blob not in {self._blob(parent, paths) for parent in step.parents}:
                changes.append(ContentChange(step, path, blob))
        return changes

    def _load(self) -> list[HistoryCommit]:
        output = self._repository.plumbing(
            "rev-list", "--date-order", "--parents", "--encoding=UTF-8",
            "--format=%aI%x00%an%x00%s", "--end-of-options", self._tip, "--",
            *(f":(top,literal){path}" for path in self._paths),
        ).decode("utf-8", "replace")  # fmt: skip
        lines = output.split("\n")
        steps = []
        for header, details in zip(lines[::2], lines[1::2], strict=False):
            _, commit, *parents = header.split(" ")
            steps.append(HistoryCommit(commit, tuple(parents), *details.split("\0", 2)))
        places = [(step.commit, path) for step in steps for path in self._paths]
        objects = self._repository.objects([f"{commit}:{path}" for commit, path in places])
        self._blobs = {step.commit: {} for step in steps}
        for (commit, path), item in zip(places, objects, strict=True):
            if item and item[1] == "blob":
                self._blobs[commit][path] = item[0]
        return steps

    def _blob(self, commit: str, paths: Mapping[str, str]) -> str | None:
        return self._blobs[commit].get(paths[commit])

    def _paths_at(self, steps: Sequence[HistoryCommit]) -> dict[str, str]:
        """Return the path of the file at each commit and at its parents, by commit id."""
        paths: dict[str, str] = {}
        for step in steps:
            path = paths.setdefault(step.commit, self._path)
            for parent in step.parents:
                paths.setdefault(parent, self._path_at_parent(step, path, parent))
        return paths

    def _path_at_parent(self, step: HistoryCommit, path: str, parent: str) -> str:
        """Return the path of the file at `parent`, a parent of the commit `step`.

        If the commit moved the file, this is the old path. If the commit is a merge and `path` does
        not exist at the parent, this is the latest former path that exists there. In all other
        cases, the path is unchanged.
        """
        at_parent = self._blobs[parent]
        if former := self._moves.get(step.commit, {}).get(path):
            return former
        if path not in at_parent and len(step.parents) > 1:
            return next((former for former in self._former(path) if former in at_parent), path)
        return path

    def _former(self, path: str) -> list[str]:
        """Return the known former paths of a path, latest first."""
        old_of = {new: old for moves in self._moves.values() for new, old in moves.items()}
        former: list[str] = []
        while (path := old_of.get(path, "")) and path not in former:
            former.append(path)
        return former

    def _is_new(self, step: HistoryCommit, paths: Mapping[str, str]) -> bool:
        """Whether the file exists at the commit and at none of its parents."""
        existed = any(self._blob(parent, paths) for parent in step.parents)
        return self._blob(step.commit, paths) is not None and not existed

    def _find_moves(self, created: Mapping[str, str]) -> bool:
        """Find commits that moved the file instead of creating it. Return True if there are any.

        `created` maps each commit to the path that is new in this commit. The moves are added
        to `_moves`, and the old paths to `_paths`.
        """
        if not created:
            return False
        output = self._repository.plumbing(
            "diff-tree", "--stdin", "-m", "-r", "-z", "--raw", "--no-abbrev", "-M100%",
            "--no-ext-diff", "--diff-filter=DR",
            stdin="".join(f"{commit}\n" for commit in created).encode("ascii"),
        ).decode("utf-8", "surrogateescape")  # fmt: skip
        commit = ""
        deleted: list[tuple[str, str, str]] = []  # (commit, path, blob id)
        tokens = iter(output.split("\0"))
        for token in tokens:
            if not token.startswith(":"):
                commit = token or commit
                continue
            _, _, blob, _, status = token.split(" ")
            path = next(tokens)
            if status == "D":
                deleted.append((commit, path, blob))
            elif next(tokens) == created[commit]:
                self._moves.setdefault(commit, {})[created[commit]] = path
        self._find_moves_by_id(created, deleted)
        old = [move for commit in created for move in self._moves.get(commit, {}).values()]
        self._paths = list(dict.fromkeys([*self._paths, *old]))
        return bool(old)

    def _find_moves_by_id(
        self, created: Mapping[str, str], deleted: Sequence[tuple[str, str, str]]
    ) -> None:
        """Find moves by the `id:` of the files, and add these moves to `_moves`.

        A commit moved a file if the deleted file and the created file have the same id. `deleted`
        contains (commit, path, blob id).
        """
        candidates = [item for item in deleted if item[0] not in self._moves][:MAX_PATHSPECS]
        if not candidates:
            return
        commits = list(dict.fromkeys(commit for commit, _, _ in candidates))
        created_ids = self._ids([self._blobs[commit][created[commit]] for commit in commits])
        id_of = dict(zip(commits, created_ids, strict=True))
        candidates = [item for item in candidates if id_of[item[0]]]
        deleted_ids = self._ids([blob for _, _, blob in candidates])
        for (commit, path, _), identity in zip(candidates, deleted_ids, strict=True):
            if identity == id_of[commit]:
                self._moves.setdefault(commit, {}).setdefault(created[commit], path)

    def _ids(self, blobs: Sequence[str]) -> list[str]:
        contents = self._repository.contents(blobs)
        return [find_id(item.content) if item else "" for item in contents]
