"""Reads versions of prompt and context files by tag or revision.

Also finds the version name for the content of a file.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.versions import FileVersion
from loomgit.errors import UserError
from loomgit.history.name_cache import NameCache
from loomgit.history.renames import FormerPath, Renames
from loomgit.history.tag_scopes import TagScopes
from loomgit.history.version_names import FileContent, VersionNames

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.history.git_objects import GitObject
    from loomgit.history.repository import Repository

MAX_LISTED = 12  # maximum number of versions in an error message


class Versions:
    """Reads files at given versions, and derives the version name of a file's content.

    A version is the first of these that exists: the tag `<file without suffix>@<version>`, the tag
    `<file without suffix>/<version>`, the tag `<version>`, the revision `<version>`. If the file
    has another path at the version, the file is identified by its `id:`, by renames that kept the
    content unchanged, or by its content.
    """

    def __init__(self, repository: Repository, at: str | None = None) -> None:
        """`at` is the revision at which files are read if no version is requested.

        It is the id of a commit or tree, `""` for the index, or None for the working tree.
        """
        self._repository = repository
        self._at = at

    def read(self, path: str, version: str | None = None) -> FileVersion:
        """Return the file at `version`, or at the revision of `__init__` if `version` is None.

        Raises UserError if the file or the version does not exist.
        """
        file = self.read_all([(path, version)])[0]
        if isinstance(file, UserError):
            raise file
        return file

    def read_all(self, items: Sequence[tuple[str, str | None]]) -> list[FileVersion | UserError]:
        """Return one result per item: the file, or the error that `read` would raise for the item.

        Each item is a pair (path, version). The results have the same order. One Git process
        reads all files with an explicit version. If an item has no version, or if its version is
        not a tag, this method also starts the Git processes that `names()` uses.
        """
        current = [path for path, version in items if version is None]
        pinned = [(path, version) for path, version in items if version is not None]
        drafted = self._drafts(current) if self._at is None else self._drafts_at(self._at, current)
        loaded = dict(zip(pinned, self._load(pinned), strict=True))
        drafts = [
            drafted[path] if version is None else loaded[path, version] for path, version in items
        ]
        nameless = {
            FileContent(draft.former_path or draft.path, draft.blob, draft.revision or "HEAD")
            for draft in drafts
            if isinstance(draft, FileVersion) and not draft.name
        }
        names = self._names().find(list(nameless)) if nameless else {}
        return [self._named(draft, names) for draft in drafts]

    def _drafts(self, paths: Sequence[str]) -> dict[str, FileVersion | UserError]:
        hashed = self._repository.hash_files(paths)
        return {path: self._draft(path, hashed) for path in paths}

    def _drafts_at(self, at: str, paths: Sequence[str]) -> dict[str, FileVersion | UserError]:
        """Return the files at a commit or in the index."""
        names = [f"{at}:{self._repository.in_repository(path)}" for path in paths]
        drafts: dict[str, FileVersion | UserError] = {}
        for path, item in zip(paths, self._repository.contents(names), strict=True):
            where = f" at {at[:12]}" if at else " in the index"
            if item is None or item.type != "blob":
                drafts[path] = UserError(f"{path} does not exist{where}")
                continue
            try:
                text = decode(item.content, path)
            except UserError as error:
                drafts[path] = error
            else:
                drafts[path] = FileVersion(path, "", item.id, text, at or None)
        return drafts

    def _draft(self, path: str, hashed: Mapping[str, str]) -> FileVersion | UserError:
        if path not in hashed:
            return UserError(f"{path} does not exist")
        # `decode` converts line ends to LF, so that the text is the same on all platforms.
        content = (self._repository.root / path).read_bytes()
        try:
            return FileVersion(path, "", hashed[path], decode(content, path))
        except UserError as error:
            return error

    @staticmethod
    def _named(
        draft: FileVersion | UserError, names: Mapping[FileContent, str]
    ) -> FileVersion | UserError:
        if isinstance(draft, UserError) or draft.name:
            return draft
        path = draft.former_path or draft.path
        return replace(draft, name=names[FileContent(path, draft.blob, draft.revision or "HEAD")])

    def _load(self, items: Sequence[tuple[str, str]]) -> list[FileVersion | UserError]:
        """Return the file, or the error, for each (path, version).

        The field `name` of a file is empty if the version is not a tag.
        """
        names = [
            f"{revision}{suffix}"
            for path, version in items
            for revision in self._candidates(path, version)
            for suffix in self._suffixes(path)
        ]
        objects = iter(self._repository.contents(names))
        loaded: list[FileVersion | UserError] = []
        for path, version in items:
            candidates = [
                (revision, next(objects), next(objects))
                for revision in self._candidates(path, version)
            ]
            try:
                loaded.append(self._choose(path, version, candidates))
            except UserError as error:
                loaded.append(error)
        return loaded

    def _suffixes(self, path: str) -> tuple[str, str]:
        """Return two suffixes that turn a revision into the name of a Git object.

        A revision with the first suffix names the commit. A revision with the second suffix names
        the file at this commit.
        """
        return "^{commit}", f":{self._repository.in_repository(path)}"

    def _candidates(self, path: str, version: str) -> list[str]:
        """Return the revisions to which `version` may refer, in order of precedence.

        The tags of the file come first, then the tag `version`, then the revision `version`.
        """
        stems = self._repository.stems(path)
        tags = [f"{stem}{mark}{version}" for mark in "@/" for stem in stems]
        return [*(f"refs/tags/{tag}" for tag in (*tags, version)), version]

    def _choose(
        self,
        path: str,
        version: str,
        candidates: Sequence[tuple[str, GitObject | None, GitObject | None]],
    ) -> FileVersion:
        """Return the file at the first candidate (revision, commit, file) whose revision exists.

        If the path does not exist at this revision, the file is searched under its former paths.
        """
        for revision, commit, item in candidates:
            if commit is None:
                continue
            shown = version if revision.startswith("refs/tags/") else ""
            if item is not None and item.type == "blob":
                text = decode(item.content, f"{path}@{version}")
                return FileVersion(path, shown, item.id, text, commit.id)
            former = Renames(self._repository, path).find_at(commit.id, version)
            if former is None:
                raise UserError(
                    f"{path} does not exist at {version}", hint=self._hint(path, version)
                )
            return self._read_former(path, version, shown, former)
        scopes = TagScopes(self._repository.tags())
        stems = self._repository.stems(path)
        if any(s.version == version for tags in scopes.others(stems).values() for s in tags):
            former = Renames(self._repository, path).find_tagged(scopes, stems, version)
            if former is not None:
                return self._read_former(path, version, version, former)
        raise UserError(f"{path} has no version {version}", hint=self._hint(path, version))

    def _read_former(self, path: str, version: str, shown: str, former: FormerPath) -> FileVersion:
        content = self._repository.read_blob(former.blob)
        text = decode(content, f"{former.path}@{version}")
        return FileVersion(path, shown, former.blob, text, former.commit, former.path)

    def _names(self) -> VersionNames:
        return self._cached_names if self._at else self._load_names()

    @cached_property
    def _cached_names(self) -> VersionNames:
        """The version names, cached because tags do not change during a comparison."""
        return self._load_names()

    def _load_names(self) -> VersionNames:
        tags = self._repository.tags()
        cache = NameCache(self._repository.common_dir, tags)
        return VersionNames(self._repository, TagScopes(tags), cache)

    def _hint(self, path: str, version: str) -> str:
        known = self.known(path)
        if not known:
            return f"it has no tagged version; run `loom tag {path} {version}` to create one"
        more = f" and {len(known) - MAX_LISTED} more" if len(known) > MAX_LISTED else ""
        return f"its versions: {', '.join(known[:MAX_LISTED])}{more}"

    def known(self, path: str) -> list[str]:
        """Return the versions of a file, newest first.

        These are the versions in the file's own tags. If the file has no own tags, the tags of the
        whole repository are used. Tags of commits that do not contain the file are left out.
        """
        scopes = TagScopes(self._repository.tags())
        if scoped := scopes.of(self._repository.stems(path)):
            return list(dict.fromkeys(tag.version for tag in scoped))
        inside = self._repository.in_repository(path)
        names = [f"{scoped_tag.tag.commit}:{inside}" for scoped_tag in scopes.plain]
        objects = zip(scopes.plain, self._repository.objects(names), strict=True)
        return [scoped_tag.version for scoped_tag, item in objects if item]

    def tag(self, path: str, version: str, message: str | None = None) -> str:
        """Create the annotated tag `<file without suffix>@<version>` at HEAD. Return its name.

        Raises UserError if the file differs from HEAD, if the tag exists, or if its name is
        invalid.
        """
        blob = self._repository.hash_files([path]).get(path)
        committed = self._repository.blobs_at("HEAD", [path]).get(path)
        if committed is None:
            raise UserError(
                f"{path} is not committed", hint="commit it first, because a tag refers to a commit"
            )
        if blob != committed:
            raise UserError(
                f"{path} has uncommitted changes", hint="commit or revert the changes first"
            )
        name = f"{self._repository.stems(path)[0]}@{version}"
        self._repository.create_tag(name, message or f"{path} {version}")
        return name

    def names(self, blobs: Mapping[str, str], revision: str | None = None) -> dict[str, str]:
        """Return the displayed version of each file, by path. `blobs` maps paths to blob ids.

        `revision` is the revision that contains the blobs. If it is None, the blobs are those of
        the working tree. In this case, the version of a blob ends with `.dirty` if the blob differs
        from HEAD and no tag contains it. If every blob is in a tag, this method runs at most four
        processes (two if the names are cached), independent of the number of files. Otherwise, more
        processes run to count the changes.
        """
        contents = {
            path: FileContent(path, blob, revision or "HEAD") for path, blob in blobs.items()
        }
        versions = self._names().find(list(contents.values()))
        return {path: versions[content] for path, content in contents.items()}


def split_version(argument: str) -> tuple[str, str | None]:
    """Split `path@version` at the last `@`.

    If there is no `@`, or if the path or the version would be empty, the whole text is the path.
    """
    path, at, version = argument.rpartition("@")
    return (path, version) if at and path and version else (argument, None)


def decode(content: bytes, where: str) -> str:
    """Decode a text file: UTF-8 with or without a byte order mark, with LF line ends.

    Raises UserError with the line and byte if the content is not UTF-8.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{where}:{line}: not UTF-8 (byte 0x{content[error.start]:02x})",
            hint="save the file as UTF-8",
        ) from error
    return text.replace("\r\n", "\n")
