"""The trail of one file through history: which commits brought which content, across renames."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loomgit.history.renames import find_id
from loomgit.history.repository import MANY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.history.repository import Repository

Moves = dict[str, dict[str, str]]  # of a commit: the new path of a file, and the one it had before


class Step(NamedTuple):
    """A commit that changed the file, and those before it that did (Git's simplified history)."""

    commit: str
    parents: tuple[str, ...]
    time: str
    author: str
    subject: str


class Arrival(NamedTuple):
    """A step that brought `blob`, at the repository's `path`: no parent holds it."""

    step: Step
    path: str
    blob: str


class Trail:
    """Follows the file at `path` (the repository's) back from `tip`.

    A file that was moved is followed where its content stayed, or its `id:`. That takes one walk
    through history, and one more for each path that it had.
    """

    def __init__(self, repository: Repository, path: str, tip: str) -> None:
        self._repository = repository
        self._path = path
        self._tip = tip
        self._paths = [path]
        self._moves: Moves = {}
        self._held: dict[str, dict[str, str]] = {}

    def arrivals(self) -> list[Arrival]:
        """Each commit that brought a content, newest first; children before parents."""
        looked: set[str] = set()
        while True:
            steps = self._load()
            names = self._names(steps)
            created = [s.commit for s in steps if self._is_new(s, names) and s.commit not in looked]
            looked.update(created)
            if not self._find_moves({commit: names[commit] for commit in created}):
                break
        found = []
        for step in steps:
            path = names[step.commit]
            blob = self._held[step.commit].get(path)
            if blob and blob not in {self._blob(parent, names) for parent in step.parents}:
                found.append(Arrival(step, path, blob))
        return found

    def _load(self) -> list[Step]:
        said = self._repository.plumbing(
            "rev-list", "--date-order", "--parents", "--encoding=UTF-8",
            "--format=%aI%x00%an%x00%s", "--end-of-options", self._tip, "--",
            *(f":(top,literal){path}" for path in self._paths),
        ).decode("utf-8", "replace")  # fmt: skip
        lines = said.split("\n")
        steps = []
        for head, about in zip(lines[::2], lines[1::2], strict=False):
            _, commit, *parents = head.split(" ")
            steps.append(Step(commit, tuple(parents), *about.split("\0", 2)))
        asked = [(step.commit, path) for step in steps for path in self._paths]
        objects = self._repository.objects([f"{commit}:{path}" for commit, path in asked])
        self._held = {step.commit: {} for step in steps}
        for (commit, path), item in zip(asked, objects, strict=True):
            if item and item[1] == "blob":
                self._held[commit][path] = item[0]
        return steps

    def _blob(self, commit: str, names: Mapping[str, str]) -> str | None:
        return self._held[commit].get(names[commit])

    def _names(self, steps: Sequence[Step]) -> dict[str, str]:
        """The file's path at each commit."""
        names: dict[str, str] = {}
        for step in steps:
            name = names.setdefault(step.commit, self._path)
            for parent in step.parents:
                names.setdefault(parent, self._name_before(step, name, parent))
        return names

    def _name_before(self, step: Step, name: str, parent: str) -> str:
        """The file's path at a parent: where it was moved from, else the same.

        A merge may join a side that has not moved the file yet: there any of its former paths is.
        """
        there = self._held[parent]
        if former := self._moves.get(step.commit, {}).get(name):
            return former
        if name not in there and len(step.parents) > 1:
            return next((path for path in self._former(name) if path in there), name)
        return name

    def _former(self, name: str) -> list[str]:
        back = {new: old for moves in self._moves.values() for new, old in moves.items()}
        former: list[str] = []
        while (name := back.get(name, "")) and name not in former:
            former.append(name)
        return former

    def _is_new(self, step: Step, names: Mapping[str, str]) -> bool:
        held_before = any(self._blob(parent, names) for parent in step.parents)
        return self._blob(step.commit, names) is not None and not held_before

    def _find_moves(self, created: Mapping[str, str]) -> bool:
        """Look where the files came from that these commits made; whether any came from a path."""
        if not created:
            return False
        said = self._repository.plumbing(
            "diff-tree", "--stdin", "-m", "-r", "-z", "--raw", "--no-abbrev", "-M100%",
            "--no-ext-diff", "--diff-filter=DR",
            stdin="".join(f"{commit}\n" for commit in created).encode("ascii"),
        ).decode("utf-8", "surrogateescape")  # fmt: skip
        commit = ""
        gone: list[tuple[str, str, str]] = []  # commit, path, blob
        words = iter(said.split("\0"))
        for word in words:
            if not word.startswith(":"):
                commit = word or commit
                continue
            _, _, blob, _, status = word.split(" ")
            path = next(words)
            if status == "D":
                gone.append((commit, path, blob))
            elif next(words) == created[commit]:
                self._moves.setdefault(commit, {})[created[commit]] = path
        self._find_ids(created, gone)
        old = [move for commit in created for move in self._moves.get(commit, {}).values()]
        self._paths = list(dict.fromkeys([*self._paths, *old]))
        return bool(old)

    def _find_ids(self, created: Mapping[str, str], gone: Sequence[tuple[str, str, str]]) -> None:
        """A file with an `id:` was the one that went in the same commit and had that id."""
        ends = [item for item in gone if item[0] not in self._moves][:MANY]
        if not ends:
            return
        commits = list(dict.fromkeys(commit for commit, _, _ in ends))
        own = self._ids([self._held[commit][created[commit]] for commit in commits])
        wanted = dict(zip(commits, own, strict=True))
        ends = [item for item in ends if wanted[item[0]]]
        ids = self._ids([blob for _, _, blob in ends])
        for (commit, path, _), identity in zip(ends, ids, strict=True):
            if identity == wanted[commit]:
                self._moves.setdefault(commit, {}).setdefault(created[commit], path)

    def _ids(self, blobs: Sequence[str]) -> list[str]:
        found = self._repository.contents(blobs)
        return [find_id(item.content) if item else "" for item in found]
