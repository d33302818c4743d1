"""Reads the changes to prompts, context and pipelines from Git, with their approvals.

An approval is a merge, a trailer of a commit message (`Reviewed-by: ...`), or a tag.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC
from typing import TYPE_CHECKING, NamedTuple

from loomgit.domain.changes import Approval, ChangeLog, LoggedChange
from loomgit.history.commit_counts import load_graph
from loomgit.history.name_cache import NameCache
from loomgit.history.tag_scopes import TagScopes
from loomgit.history.version_names import FileContent, VersionNames

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
        """Whether the two persons have the same name or the same email address.

        One match is sufficient, because a person may use several names and addresses.
        """
        same = self.name.casefold() == other.name.casefold()
        return same or (bool(self.email) and self.email.casefold() == other.email.casefold())


class _Step(NamedTuple):
    """A commit and the files that it changed.

    `time` is the author date, ISO 8601. `committed` is the committer date in seconds since 1970.
    Each item of `files` is (path in the repository, new blob id). The blob id is empty if the
    commit deleted the file.
    """

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
    tagger: _Person | None


def read_changes(
    repository: Repository, paths: Sequence[str], *, since: datetime | None = None
) -> ChangeLog:
    """Return the changes that the commits up to HEAD made to `paths`.

    The changes do not contain their test results yet. `paths` are files and folders of the project.
    Commits with a committer date before `since` are left out. A merge is a change only if a file's
    content differs from the content in all parents of the merge. A merge approves a change if it
    added the change to HEAD's first-parent line (HEAD, its first parent, the first parent of that
    commit, and so on).
    """
    start = "" if since is None else f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    tip = repository.objects(["HEAD^{commit}"])[0]
    if tip is None:
        return ChangeLog("", start, (), repository.is_shallow)
    first = 0.0 if since is None else since.timestamp()
    steps = [s for s in _steps(repository, tip[0], paths) if s.committed >= first]
    mergers = _mergers(repository, tip[0], {step.commit for step in steps})
    merges = {step.commit: step for step in _load_commits(repository, set(mergers.values()))}
    tags = _tags(repository)
    blobs = _blobs_at_tags(repository, tags, {path for step in steps for path, _ in step.files})
    versions = _versions(repository, steps)
    changes = []
    for step in steps:
        merge = merges.get(mergers.get(step.commit, ""))
        for path, blob in step.files:
            project_path = repository.in_project(path)
            stems = repository.stems(project_path)
            approvals = [*_by_merge(step, merge), *_by_trailers(step, merge)]
            approvals += _by_tags(step, project_path, blob, tags, blobs, stems)
            changes.append(
                LoggedChange(
                    step.commit, step.time, step.author.name, step.subject, project_path, blob,
                    version=versions.get((step.commit, path), ""),
                    approvals=tuple(approvals),
                )
            )  # fmt: skip
    return ChangeLog(tip[0], start, tuple(changes), repository.is_shallow)


# -- commits


def _steps(repository: Repository, tip: str, paths: Sequence[str]) -> Iterator[_Step]:
    """Yield the commits that change one of the paths, newest first.

    For a merge, only the files that differ from all of its parents are listed.
    """
    output = repository.plumbing(
        "log", "--no-show-signature", "--date-order", "--full-history", "-c", "--raw", "-z",
        "--no-abbrev", "--no-renames", "--no-ext-diff", f"--format={FORMAT}", "--encoding=UTF-8",
        "--end-of-options", tip, "--", *(repository.pathspec(path) for path in paths),
    )  # fmt: skip
    yield from (step for step in _parse(output) if step.files)


def _load_commits(repository: Repository, commits: Iterable[str]) -> Iterator[_Step]:
    """Yield the commits with these ids. Their changed files are not read, so `files` is empty."""
    ids = sorted(commits)
    if not ids:
        return
    output = repository.plumbing(
        "log", "--no-show-signature", "--no-walk=unsorted", "--stdin", "-z", f"--format={FORMAT}",
        "--encoding=UTF-8", "--no-patch",
        stdin="".join(f"{commit}\n" for commit in ids).encode("ascii"),
    )  # fmt: skip
    yield from _parse(output)


def _parse(output: bytes) -> Iterator[_Step]:
    """Yield the commits in the output of `git log`.

    NUL characters separate the fields. A field cannot contain NUL, because Git does not allow it in
    a message.
    """
    tokens = deque(output.decode("utf-8", "surrogateescape").split("\0"))
    while tokens:
        commit = tokens.popleft().strip("\n")
        if not commit:
            continue  # this token separates two commits
        name, email, time, committed, subject, trailers = (
            _clean(tokens.popleft()) for _ in range(6)
        )
        files = []
        while tokens and (not (line := tokens[0].lstrip("\n")) or line.startswith(":")):
            tokens.popleft()
            if line:  # an empty token precedes the files of a merge
                files.append((tokens.popleft(), _blob(line)))
        lines = tuple(line for line in trailers.split("\x01") if line)
        author = _Person(name, email)
        yield _Step(commit, author, time, int(committed), subject, lines, tuple(files))


def _blob(line: str) -> str:
    """Return the new blob id in a raw diff line, or an empty text if the file was deleted.

    The line starts with one `:` for each parent of the commit.
    """
    parts = line.lstrip(":").split(" ")
    parents = len(line) - len(line.lstrip(":"))
    blob = parts[2 * parents + 1]
    return "" if set(blob) == {"0"} else blob


def _clean(text: str) -> str:
    """Replace invalid characters in a commit's text, because the text may not be UTF-8."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _mergers(repository: Repository, tip: str, commits: set[str]) -> dict[str, str]:
    """Map each of `commits` to the merge that added it to the first-parent line of `tip`.

    The first-parent line is `tip`, its first parent, the first parent of that commit, and so on.
    Commits that no merge added are left out.
    """
    graph = load_graph(repository, [tip])
    first_parents = [tip]
    while parents := graph.get(first_parents[-1], ()):
        first_parents.append(parents[0])
    mergers: dict[str, str] = {}
    seen: set[str] = set()
    for merge in reversed(first_parents):
        pending = [merge]
        while pending:
            commit = pending.pop()
            if commit in seen or commit not in graph:
                continue
            seen.add(commit)
            if commit != merge and commit in commits:
                mergers[commit] = merge
            pending += graph[commit]
    return mergers


# -- approvals


def _by_merge(step: _Step, merge: _Step | None) -> Iterator[Approval]:
    if merge is not None:
        own = merge.author.is_same(step.author)
        yield Approval("merge", merge.author.name, merge.subject, merge.commit, own)


def _by_trailers(step: _Step, merge: _Step | None) -> Iterator[Approval]:
    """Yield an approval for each approving trailer in the messages of the commit and its merge.

    Identical trailers give only one approval.
    """
    lines: dict[str, _Step] = {}
    for source in (step, *([merge] if merge is not None else [])):
        for line in source.trailers:
            lines.setdefault(line, source)
    known = {name.lower() for name in TRAILERS}
    for line, source in lines.items():
        name, _, value = line.partition(":")
        if name.strip().lower() not in known or not value.strip():
            continue
        person, _, address = value.partition("<")
        approver = _Person(person.strip(), address.strip().rstrip(">"))
        if name.strip().lower() == ACCEPTS:
            approver = source.author  # this trailer has a metric and a reason, but no name
        own = approver.is_same(step.author)
        yield Approval("trailer", approver.name, line, source.commit, own)


def _tags(repository: Repository) -> list[_Tag]:
    """Return the tags that refer to commits, oldest first. A lightweight tag has no tagger."""
    output = repository.plumbing(
        "for-each-ref", "--sort=creatordate",
        "--format=%(refname:strip=2)%00%(taggername)%00%(taggeremail:trim)", "refs/tags",
    ).decode("utf-8", "replace")  # fmt: skip
    rows = [line.split("\0") for line in output.splitlines()]
    commits = {tag.name: tag.commit for tag in repository.tags()}
    return [
        _Tag(tag, commits[tag], _Person(name, email) if name else None)
        for tag, name, email in rows
        if tag in commits
    ]


def _blobs_at_tags(
    repository: Repository, tags: Sequence[_Tag], paths: Iterable[str]
) -> dict[tuple[str, str], str]:
    """Map (tag name, path in the project) to the blob id of the file at the tag.

    `paths` are paths in the repository. Files that do not exist at a tag are left out.
    """
    places = [(tag, path) for tag in tags for path in sorted(paths)]
    if not places:
        return {}
    objects = repository.objects([f"{tag.commit}:{path}" for tag, path in places])
    return {
        (tag.name, repository.in_project(path)): item[0]
        for (tag, path), item in zip(places, objects, strict=True)
        if item is not None
    }


def _by_tags(
    step: _Step,
    path: str,
    blob: str,
    tags: Sequence[_Tag],
    blobs: Mapping[tuple[str, str], str],
    stems: Sequence[str],
) -> Iterator[Approval]:
    """Yield an approval for each of the file's own tags at which the file has the content `blob`.

    Also yield an approval for the oldest repository-wide tag (such as `v1`) at which the file has
    this content.
    """
    has_plain = False
    for tag in tags:
        if not blob or blobs.get((tag.name, path)) != blob:
            continue
        plain = "@" not in tag.name and "/" not in tag.name
        scoped = tag.name.startswith(tuple(f"{stem}{mark}" for stem in stems for mark in "@/"))
        if scoped or (plain and not has_plain):
            has_plain |= plain
            tagger = tag.tagger
            own = tagger is None or tagger.is_same(step.author)
            yield Approval("tag", tagger.name if tagger else "", tag.name, tag.commit, own)


def _versions(repository: Repository, steps: Sequence[_Step]) -> dict[tuple[str, str], str]:
    """Map (commit, path in the repository) to the displayed version of the file at the commit."""
    tags = repository.tags()
    names = VersionNames(repository, TagScopes(tags), NameCache(repository.common_dir, tags))
    places = {
        (step.commit, path): FileContent(repository.in_project(path), blob, step.commit)
        for step in steps
        for path, blob in step.files
        if blob
    }
    versions = names.find(list(dict.fromkeys(places.values())))
    return {place: versions[content] for place, content in places.items()}
