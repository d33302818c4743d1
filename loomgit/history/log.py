"""The log of a file: its contents through history, with their names."""

from __future__ import annotations

import contextlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from loomgit.domain.log import FileLog, LogEntry
from loomgit.domain.words import did_you_mean
from loomgit.errors import UserError
from loomgit.history.name_cache import NameCache
from loomgit.history.names import Content, Names
from loomgit.history.scopes import Scopes
from loomgit.history.trail import Arrival, Trail

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.history.repository import Repository


class _Held(NamedTuple):
    """A content; what brought it in, latest first: nothing, where only the working tree has it."""

    blob: str
    arrivals: list[Arrival]


def read_log(repository: Repository, path: str, limit: int | None = None) -> FileLog:
    """The different contents of the file, newest first, without results.

    A content that came back stands where it came last. One that is not committed is first. Raises
    UserError where neither history nor the working tree has the file.
    """
    inside = repository.in_repository(path)
    outside = inside.startswith(("/", "../")) or inside == ".."
    tip = None if outside else repository.objects(["HEAD^{commit}"])[0]
    arrivals = Trail(repository, inside, tip[0]).arrivals() if tip else []
    at_head = repository.blobs_at("HEAD", [path]).get(path) if tip else None
    here = None if outside else repository.hash_files([path]).get(path)
    draft = here if here != at_head else None
    contents = _order(arrivals, draft)
    if not contents:
        raise _unknown(repository, path)
    shown = contents[:limit]
    names = _name(repository, path, shown)
    edge = _edge(repository)
    entries = [
        _entry(
            held,
            path=path if not held.arrivals else repository.in_project(held.arrivals[0].path),
            name=name,
            edge=edge,
            head=held.blob == at_head,
            worktree=held.blob == draft,
        )
        for held, name in zip(shown, names, strict=True)
    ]
    return FileLog(path, tuple(entries), len(contents), repository.is_shallow)


def _order(arrivals: Iterable[Arrival], draft: str | None) -> list[_Held]:
    contents = {draft: _Held(draft, [])} if draft else {}
    for arrival in arrivals:
        contents.setdefault(arrival.blob, _Held(arrival.blob, [])).arrivals.append(arrival)
    return list(contents.values())


def _name(repository: Repository, path: str, contents: Sequence[_Held]) -> list[str]:
    """The displayed versions: of each content where it came last."""
    tags = repository.tags()
    names = Names(repository, Scopes(tags), NameCache(repository.common_dir, tags))
    asked = []
    for held in contents:
        last = held.arrivals[0] if held.arrivals else None
        where = repository.in_project(last.path) if last else path
        asked.append(Content(where, held.blob, last.step.commit if last else "HEAD"))
    found = names.find(asked)
    return [found[content] for content in asked]


def _entry(
    held: _Held,
    *,
    path: str,
    name: str,
    edge: frozenset[str],
    head: bool,
    worktree: bool,
) -> LogEntry:
    commits = tuple(arrival.step.commit for arrival in held.arrivals)
    known = commits and commits[0] not in edge
    step = held.arrivals[0].step if known else None
    return LogEntry(
        name=name,
        blob=held.blob,
        path=path,
        commits=commits,
        time=step.time if step else "",
        author=step.author if step else "",
        subject=step.subject if step else "",
        head=head,
        worktree=worktree,
    )


def _edge(repository: Repository) -> frozenset[str]:
    """The commits at which a shallow clone ends: what they hold may be older than they are."""
    with contextlib.suppress(FileNotFoundError):
        return frozenset((repository.common_dir / "shallow").read_text("ascii").split())
    return frozenset()


def _unknown(repository: Repository, path: str) -> UserError:
    if (repository.root / path).is_dir():
        return UserError(f"{path} is a folder", hint="name a file in it")
    files = list(repository.list_files("."))
    same = [name for name in files if PurePosixPath(name).stem == PurePosixPath(path).stem]
    hint = f"did you mean '{same[0]}'?" if same else did_you_mean(path, files)
    if hint is None and repository.is_shallow:
        hint = "history is cut off here (shallow clone); `git fetch --unshallow` brings the rest"
    return UserError(f"{path} is neither in the working tree nor in its history", hint=hint)
