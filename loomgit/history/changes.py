"""The changes of prompts, context and pipelines with the approvals that history holds: merges,
trailers, tags."""

from __future__ import annotations

from collections import deque
from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

from loomgit.domain.changes import Approval, Change, ChangeLog
from loomgit.history.name_cache import NameCache
from loomgit.history.names import Content, Names
from loomgit.history.scopes import Scopes
from loomgit.history.walks import load_graph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from loomgit.history.repository import Repository

TRAILERS = ("Loom-Accept", "Approved-by", "Reviewed-by", "Acked-by", "Signed-off-by")
ACCEPTS = "loom-accept"
FORMAT = "%H%x00%aN%x00%aE%x00%aI%x00%ct%x00%s%x00%(trailers:unfold,only,separator=%x01)"


class _Person(NamedTuple):
    name: str
    email: str

    def is_same(self, other: _Person) -> bool:
        """Whether both may be one: people commit by several names, or from several addresses."""
        same = self.name.casefold() == other.name.casefold()
        return same or (bool(self.email) and self.email.casefold() == other.email.casefold())


class _Step(NamedTuple):
    """A commit; `committed` in seconds since 1970; `files` are (path in the repository, blob: empty
    where the file went)."""

    commit: str
    author: _Person
    time: str
    committed: int
    subject: str
    trailers: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


class _Tag(NamedTuple):
    name: str
    commit: str
    by: _Person | None


def read_changes(
    repository: Repository, paths: Sequence[str], *, since: datetime | None = None
) -> ChangeLog:
    """The commits up to HEAD that changed one of `paths` (the project's files and folders), without
    results.

    `since` is compared with the committer's date. A merge is a change of its own only where it
    holds what none of its parents has. The approval by merge is the one that brought the change
    into HEAD's first-parent line.
    """
    asked = "" if since is None else f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    tip = repository.objects(["HEAD^{commit}"])[0]
    if tip is None:
        return ChangeLog("", asked, (), repository.is_shallow)
    first = 0.0 if since is None else since.timestamp()
    steps = [s for s in _steps(repository, tip[0], paths) if s.committed >= first]
    mergers = _mergers(repository, tip[0], {step.commit for step in steps})
    known = {step.commit: step for step in _about(repository, set(mergers.values()))}
    tags = _tags(repository)
    held = _held(repository, tags, {path for step in steps for path, _ in step.files})
    named = _names(repository, steps)
    changes = []
    for step in steps:
        merge = known.get(mergers.get(step.commit, ""))
        for path, blob in step.files:
            own = repository.in_project(path)
            approvals = [*_merged(step, merge), *_said(step, merge)]
            approvals += _tagged(step, own, blob, tags, held, repository.stems(own))
            changes.append(
                Change(
                    step.commit, step.time, step.author.name, step.subject, own, blob,
                    version=named.get((step.commit, path), ""),
                    approvals=tuple(approvals),
                )
            )  # fmt: skip
    return ChangeLog(tip[0], asked, tuple(changes), repository.is_shallow)


# -- commits


def _steps(repository: Repository, tip: str, paths: Sequence[str]) -> Iterator[_Step]:
    """The commits that change one of the paths, newest first; of a merge what it alone holds."""
    said = repository.plumbing(
        "log", "--no-show-signature", "--date-order", "--full-history", "-c", "--raw", "-z",
        "--no-abbrev", "--no-renames", "--no-ext-diff", f"--format={FORMAT}", "--encoding=UTF-8",
        "--end-of-options", tip, "--", *(repository.pathspec(path) for path in paths),
    )  # fmt: skip
    yield from (step for step in _parse(said) if step.files)


def _about(repository: Repository, commits: Iterable[str]) -> Iterator[_Step]:
    """The commits themselves, without their files."""
    ids = sorted(commits)
    if not ids:
        return
    said = repository.plumbing(
        "log", "--no-show-signature", "--no-walk=unsorted", "--stdin", "-z", f"--format={FORMAT}",
        "--encoding=UTF-8", "--no-patch",
        stdin="".join(f"{commit}\n" for commit in ids).encode("ascii"),
    )  # fmt: skip
    yield from _parse(said)


def _parse(said: bytes) -> Iterator[_Step]:
    """The commits; no part of a message ends one, since Git takes no NUL in it."""
    words = deque(said.decode("utf-8", "surrogateescape").split("\0"))
    while words:
        commit = words.popleft().strip("\n")
        if not commit:
            continue  # what stands between two
        name, email, time, committed, subject, trailers = (
            _clean(words.popleft()) for _ in range(6)
        )
        files = []
        while words and (not (line := words[0].lstrip("\n")) or line.startswith(":")):
            words.popleft()
            if line:  # before those of a merge there is an empty one
                files.append((words.popleft(), _blob(line)))
        lines = tuple(line for line in trailers.split("\x01") if line)
        author = _Person(name, email)
        yield _Step(commit, author, time, int(committed), subject, lines, tuple(files))


def _blob(line: str) -> str:
    """The resulting blob of a raw line; `::` begins that of a merge of two, and so on."""
    parts = line.lstrip(":").split(" ")
    parents = len(line) - len(line.lstrip(":"))
    blob = parts[2 * parents + 1]
    return "" if set(blob) == {"0"} else blob


def _clean(text: str) -> str:
    """Text of a commit: whoever wrote it need not have kept to UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _mergers(repository: Repository, tip: str, commits: set[str]) -> dict[str, str]:
    """The merge that brought a commit into the main line, for those of `commits` that one did."""
    graph = load_graph(repository, [tip])
    line = [tip]
    while parents := graph.get(line[-1], ()):
        line.append(parents[0])
    brought: dict[str, str] = {}
    seen: set[str] = set()
    for merge in reversed(line):
        waiting = [merge]
        while waiting:
            commit = waiting.pop()
            if commit in seen or commit not in graph:
                continue
            seen.add(commit)
            if commit != merge and commit in commits:
                brought[commit] = merge
            waiting += graph[commit]
    return brought


# -- approvals


def _merged(step: _Step, merge: _Step | None) -> Iterator[Approval]:
    if merge is not None:
        own = merge.author.is_same(step.author)
        yield Approval("merge", merge.author.name, merge.subject, merge.commit, own)


def _said(step: _Step, merge: _Step | None) -> Iterator[Approval]:
    """The trailers of the commit and of its merge, that approve: each line once."""
    lines: dict[str, _Step] = {}
    for where in (step, *([merge] if merge is not None else [])):
        for line in where.trailers:
            lines.setdefault(line, where)
    known = {name.lower() for name in TRAILERS}
    for line, where in lines.items():
        name, _, value = line.partition(":")
        if name.strip().lower() not in known or not value.strip():
            continue
        who, _, address = value.partition("<")
        by = _Person(who.strip(), address.strip().rstrip(">"))
        if name.strip().lower() == ACCEPTS:
            by = where.author  # its value is a metric and a reason
        yield Approval("trailer", by.name, line, where.commit, by.is_same(step.author))


def _tags(repository: Repository) -> list[_Tag]:
    """The tags that lead to a commit, oldest first, with who made them."""
    said = repository.plumbing(
        "for-each-ref", "--sort=creatordate",
        "--format=%(refname:strip=2)%00%(taggername)%00%(taggeremail:trim)", "refs/tags",
    ).decode("utf-8", "replace")  # fmt: skip
    rows = [line.split("\0") for line in said.splitlines()]
    commits = {tag.name: tag.commit for tag in repository.tags()}
    return [
        _Tag(tag, commits[tag], _Person(name, email) if name else None)
        for tag, name, email in rows
        if tag in commits
    ]


def _held(
    repository: Repository, tags: Sequence[_Tag], paths: Iterable[str]
) -> dict[tuple[str, str], str]:
    """The blob of each path at each tag, by (tag's name, path in the project)."""
    asked = [(tag, path) for tag in tags for path in sorted(paths)]
    if not asked:
        return {}
    found = repository.objects([f"{tag.commit}:{path}" for tag, path in asked])
    return {
        (tag.name, repository.in_project(path)): item[0]
        for (tag, path), item in zip(asked, found, strict=True)
        if item is not None
    }


def _tagged(
    step: _Step,
    path: str,
    blob: str,
    tags: Sequence[_Tag],
    held: Mapping[tuple[str, str], str],
    stems: Sequence[str],
) -> Iterator[Approval]:
    """The file's own tags that hold this content, and the first tag of the whole that does."""
    whole = False
    for tag in tags:
        if not blob or held.get((tag.name, path)) != blob:
            continue
        plain = "@" not in tag.name and "/" not in tag.name
        scoped = tag.name.startswith(tuple(f"{stem}{mark}" for stem in stems for mark in "@/"))
        if scoped or (plain and not whole):
            whole |= plain
            own = tag.by is None or tag.by.is_same(step.author)
            yield Approval("tag", tag.by.name if tag.by else "", tag.name, tag.commit, own)


def _names(repository: Repository, steps: Sequence[_Step]) -> dict[tuple[str, str], str]:
    """The displayed version of each content at its commit, by (commit, path)."""
    tags = repository.tags()
    names = Names(repository, Scopes(tags), NameCache(repository.common_dir, tags))
    places = {
        (step.commit, path): Content(repository.in_project(path), blob, step.commit)
        for step in steps
        for path, blob in step.files
        if blob
    }
    found = names.find(list(dict.fromkeys(places.values())))
    return {place: found[content] for place, content in places.items()}
