"""Versions of prompt and context files: found by tag or revision, named by their content."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from loomgit.domain.versions import FileVersion
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.history.repository import Repository

SHORT = 8  # digits of a blob id in a version's name
LISTED = 12  # versions that an error names before it says "and more"


class Versions:
    """Reads files at versions and gives contents their names.

    A version is, the first that exists: the tag `<file without ending>@<version>`, the tag
    `<file without ending>/<version>`, the tag `<version>`, any revision.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def read(self, path: str, version: str | None = None) -> FileVersion:
        """The file at `version`, or (None) in the working tree. UserError where there is none."""
        return self._pinned(path, version) if version is not None else self._current(path)

    def _current(self, path: str) -> FileVersion:
        blob = self._repository.hash_files([path]).get(path)
        if blob is None:
            raise UserError(f"{path} does not exist")
        # What Git would store, not what the checkout made of it: the same text on every platform.
        content = (self._repository.root / path).read_bytes()
        name = self.names({path: blob})[path]
        return FileVersion(path, name, blob, decode(content, path))

    def _pinned(self, path: str, version: str) -> FileVersion:
        revisions = [*(f"refs/tags/{tag}" for tag in tag_names(path, version)), version]
        inside = self._repository.in_repository(path)
        commits = self._repository.objects([f"{name}^{{commit}}" for name in revisions])
        blobs = self._repository.objects([f"{name}:{inside}" for name in revisions])
        for name, commit, blob in zip(revisions, commits, blobs, strict=True):
            if commit is None:
                continue
            if blob is None or blob[1] != "blob":
                raise UserError(
                    f"{path} does not exist at {version}", hint=self._hint(path, version)
                )
            text = decode(self._repository.read_blob(blob[0]), f"{path}@{version}")
            shown = version if name.startswith("refs/tags/") else None
            shown = shown or self.names({path: blob[0]}, revision=commit[0])[path]
            return FileVersion(path, shown, blob[0], text, commit[0])
        raise UserError(f"{path} has no version {version}", hint=self._hint(path, version))

    def _hint(self, path: str, version: str) -> str:
        known = self.known(path)
        if not known:
            return f"it has no tagged version; `loom tag {path} {version}` makes one"
        more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
        return f"its versions: {', '.join(known[:LISTED])}{more}"

    def known(self, path: str) -> list[str]:
        """The tagged versions of a file, newest first: scoped tags, then tags of the whole."""
        tags = self._repository.tags()
        scoped = [name for tag in tags if (name := _unscoped(path, tag)) is not None]
        if scoped:
            return scoped
        inside = self._repository.in_repository(path)
        plain = [tag for tag in tags if _is_plain(tag)]
        found = self._repository.objects([f"refs/tags/{tag}:{inside}" for tag in plain])
        return [tag for tag, item in zip(plain, found, strict=True) if item]

    def tag(self, path: str, version: str, message: str | None = None) -> str:
        """Make the annotated tag `<file without ending>@<version>` at HEAD; returns its name.

        Raises UserError where the file's content is not what HEAD holds, or the tag exists.
        """
        blob = self._repository.hash_files([path]).get(path)
        committed = self._repository.blobs_at("HEAD", [path]).get(path)
        if committed is None:
            raise UserError(
                f"{path} is not committed", hint="commit it first: a tag names a commit"
            )
        if blob != committed:
            raise UserError(
                f"{path} has changes that are not committed", hint="commit or undo them first"
            )
        name = tag_names(path, version)[0]
        self._repository.create_tag(name, message or f"{path} {version}")
        return name

    def names(self, blobs: Mapping[str, str], revision: str | None = None) -> dict[str, str]:
        """The displayed version of each content, by path.

        `revision` is where the content was read; None, the working tree, where a content that HEAD
        does not hold is `.dirty`.
        """
        tags = self._repository.tags()
        committed = self._repository.blobs_at(revision or "HEAD", list(blobs))
        asked: list[tuple[str, str, str]] = []
        for path in blobs:
            scoped = [(tag, name) for tag in tags if (name := _unscoped(path, tag)) is not None]
            plain = [(tag, tag) for tag in tags if _is_plain(tag)]
            asked += [(path, tag, name) for tag, name in [*scoped, *plain]]
        found = self._repository.objects(
            [f"refs/tags/{tag}:{self._repository.in_repository(path)}" for path, tag, _ in asked]
        )
        tagged: dict[str, str] = {}
        for (path, _, name), item in zip(asked, found, strict=True):
            if item and item[0] == blobs[path]:
                tagged.setdefault(path, name)
        return {
            path: tagged.get(path) or self._untagged(path, blob, committed.get(path) != blob)
            for path, blob in blobs.items()
        }

    def _untagged(self, path: str, blob: str, dirty: bool) -> str:
        end = f"g{blob[:SHORT]}" + (".dirty" if dirty else "")
        tag = self._newest(path)
        if tag is None:
            return end
        name = _unscoped(path, tag) or tag
        if self._repository.is_shallow:
            return f"{name}+{end}"
        return f"{name}+{self._repository.changes_since(f'refs/tags/{tag}', path)}.{end}"

    def _newest(self, path: str) -> str | None:
        stem = str(PurePosixPath(path).with_suffix(""))
        for pattern in (f"{stem}@*", f"{stem}/*"):
            if tags := self._repository.reachable_tags(_literal(pattern)):
                return tags[0]
        inside = self._repository.in_repository(path)
        plain = [tag for tag in self._repository.reachable_tags("*") if _is_plain(tag)]
        found = self._repository.objects([f"refs/tags/{tag}:{inside}" for tag in plain])
        return next((tag for tag, item in zip(plain, found, strict=True) if item), None)


def tag_names(path: str, version: str) -> tuple[str, str, str]:
    """The tags that may name `version` of a file, in the order in which they are looked for."""
    stem = PurePosixPath(path).with_suffix("")
    return f"{stem}@{version}", f"{stem}/{version}", version


def split_version(argument: str) -> tuple[str, str | None]:
    """`path@version` as its two parts; the last `@` parts them, without one there is no version."""
    path, at, version = argument.rpartition("@")
    return (path, version) if at and path and version else (argument, None)


def decode(content: bytes, where: str) -> str:
    """A text file's content, UTF-8 with or without a mark, line ends as LF."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{where}:{line}: not UTF-8 (byte 0x{content[error.start]:02x})",
            hint="save the file as UTF-8",
        ) from error
    return text.replace("\r\n", "\n")


def _unscoped(path: str, tag: str) -> str | None:
    stem = str(PurePosixPath(path).with_suffix(""))
    for mark in ("@", "/"):
        if tag.startswith(stem + mark):
            return tag[len(stem) + 1 :]
    return None


def _is_plain(tag: str) -> bool:
    return "@" not in tag and "/" not in tag


def _literal(pattern: str) -> str:
    """A for-each-ref pattern in which only the closing `*` is one."""
    stem = pattern[:-1]
    return "".join(f"\\{c}" if c in "*?[\\" else c for c in stem) + "*"
