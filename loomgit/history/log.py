"""Reads the log of a file: the contents that the file has had, with their version names."""

from __future__ import annotations

import contextlib
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from loomgit.domain.log import FileLog, LogEntry
from loomgit.domain.suggestions import did_you_mean
from loomgit.errors import UserError
from loomgit.history.file_history import ContentChange, FileHistory
from loomgit.history.name_cache import NameCache
from loomgit.history.tag_scopes import TagScopes
from loomgit.history.version_names import FileContent, VersionNames

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loomgit.history.repository import Repository


class _ContentVersion(NamedTuple):
    """One content of the file, and the changes that introduced this content, newest first.

    If `changes` is empty, the content exists only in the working tree.
    """

    blob: str
    changes: list[ContentChange]


def read_log(repository: Repository, path: str, limit: int | None = None) -> FileLog:
    """Return the distinct contents of a file, newest first. Test results are not filled in.

    Content that was restored later is listed once, at the position of the latest commit that
    introduced it. Uncommitted content is listed first. At most `limit` contents are returned (None:
    all). Raises UserError if neither the history nor the working tree contains the file.
    """
    inside = repository.in_repository(path)
    outside = inside.startswith(("/", "../")) or inside == ".."
    tip = None if outside else repository.objects(["HEAD^{commit}"])[0]
    changes = FileHistory(repository, inside, tip[0]).arrivals() if tip else []
    at_head = repository.blobs_at("HEAD", [path]).get(path) if tip else None
    in_worktree = None if outside else repository.hash_files([path]).get(path)
    draft = in_worktree if in_worktree != at_head else None
    contents = _group(changes, draft)
    if not contents:
        raise _unknown(repository, path)
    shown = contents[:limit]
    names = _name(repository, path, shown)
    boundary = _shallow_boundary(repository)
    entries = [
        _entry(
            content,
            path=repository.in_project(content.changes[0].path) if content.changes else path,
            name=name,
            boundary=boundary,
            head=content.blob == at_head,
            worktree=content.blob == draft,
        )
        for content, name in zip(shown, names, strict=True)
    ]
    return FileLog(path, tuple(entries), len(contents), repository.is_shallow)


def _group(changes: Iterable[ContentChange], draft: str | None) -> list[_ContentVersion]:
    contents = {draft: _ContentVersion(draft, [])} if draft else {}
    for change in changes:
        contents.setdefault(change.blob, _ContentVersion(change.blob, [])).changes.append(change)
    return list(contents.values())


def _name(repository: Repository, path: str, contents: Sequence[_ContentVersion]) -> list[str]:
    """Return the version name to display for each content.

    It is the name at the latest commit that introduced the content. If no commit introduced it, it
    is the name at HEAD.
    """
    tags = repository.tags()
    names = VersionNames(repository, TagScopes(tags), NameCache(repository.common_dir, tags))
    files = []
    for content in contents:
        last = content.changes[0] if content.changes else None
        last_path = repository.in_project(last.path) if last else path
        files.append(FileContent(last_path, content.blob, last.step.commit if last else "HEAD"))
    versions = names.find(files)
    return [versions[file] for file in files]


def _entry(
    content: _ContentVersion,
    *,
    path: str,
    name: str,
    boundary: frozenset[str],
    head: bool,
    worktree: bool,
) -> LogEntry:
    commits = tuple(change.step.commit for change in content.changes)
    is_known = commits and commits[0] not in boundary
    step = content.changes[0].step if is_known else None
    return LogEntry(
        name=name,
        blob=content.blob,
        path=path,
        commits=commits,
        time=step.time if step else "",
        author=step.author if step else "",
        subject=step.subject if step else "",
        head=head,
        worktree=worktree,
    )


def _shallow_boundary(repository: Repository) -> frozenset[str]:
    """Return the ids of the oldest commits in a shallow clone. In a full clone, return no ids.

    If a content first appears in one of these commits, an earlier commit that was not fetched may
    have introduced it.
    """
    with contextlib.suppress(FileNotFoundError):
        return frozenset((repository.common_dir / "shallow").read_text("ascii").split())
    return frozenset()


def _unknown(repository: Repository, path: str) -> UserError:
    if (repository.root / path).is_dir():
        return UserError(f"{path} is a folder", hint="pass a file in it")
    files = list(repository.list_files("."))
    same = [name for name in files if PurePosixPath(name).stem == PurePosixPath(path).stem]
    hint = f"did you mean '{same[0]}'?" if same else did_you_mean(path, files)
    if hint is None and repository.is_shallow:
        hint = "this is a shallow clone: run `git fetch --unshallow` to fetch the older history"
    return UserError(f"{path} is neither in the working tree nor in the history", hint=hint)
