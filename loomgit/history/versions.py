"""Versions of prompt and context files: found by tag or revision, named by their content."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from msgspec.structs import replace

from loomgit.domain.versions import FileVersion
from loomgit.errors import UserError
from loomgit.history.name_cache import NameCache
from loomgit.history.names import Content, Names
from loomgit.history.renames import Former, Renames
from loomgit.history.scopes import Scopes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loomgit.history.objects import Found
    from loomgit.history.repository import Repository

LISTED = 12  # versions that an error names before it says "and more"


class Versions:
    """Reads files at versions and gives contents their names.

    A version is, the first that exists: the tag `<file without ending>@<version>`, the tag
    `<file without ending>/<version>`, the tag `<version>`, any revision. A file that had another
    path there is found by its `id:`, by the moves that left its content as it was, by its content.
    """

    def __init__(self, repository: Repository, at: str | None = None) -> None:
        """`at` is where a file is read that has no version: a commit's or tree's id, `""` for the
        index, None for the working tree."""
        self._repository = repository
        self._at = at

    def read(self, path: str, version: str | None = None) -> FileVersion:
        """The file at `version`, or (None) as it is now. UserError where there is none."""
        found = self.read_all([(path, version)])[0]
        if isinstance(found, UserError):
            raise found
        return found

    def read_all(self, items: Sequence[tuple[str, str | None]]) -> list[FileVersion | UserError]:
        """Each (path, version) in its place, or what `read` would raise for it.

        Any number in the same few processes: one for all that have a version; for those in the
        working tree, and those whose version is no tag, what `names` takes.
        """
        current = [path for path, version in items if version is None]
        pinned = [(path, version) for path, version in items if version is not None]
        drafted = self._drafts(current) if self._at is None else self._drafts_at(self._at, current)
        loaded = dict(zip(pinned, self._load(pinned), strict=True))
        drafts = [
            drafted[path] if version is None else loaded[path, version] for path, version in items
        ]
        nameless = {
            Content(draft.former_path or draft.path, draft.blob, draft.revision or "HEAD")
            for draft in drafts
            if isinstance(draft, FileVersion) and not draft.name
        }
        names = self._names().find(list(nameless)) if nameless else {}
        return [self._named(draft, names) for draft in drafts]

    def _drafts(self, paths: Sequence[str]) -> dict[str, FileVersion | UserError]:
        hashed = self._repository.hash_files(paths)
        return {path: self._draft(path, hashed) for path in paths}

    def _drafts_at(self, at: str, paths: Sequence[str]) -> dict[str, FileVersion | UserError]:
        """The files at a commit or in the index."""
        asked = [f"{at}:{self._repository.in_repository(path)}" for path in paths]
        drafts: dict[str, FileVersion | UserError] = {}
        for path, item in zip(paths, self._repository.contents(asked), strict=True):
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
        # What Git would store, not what the checkout made of it: the same text on every platform.
        content = (self._repository.root / path).read_bytes()
        try:
            return FileVersion(path, "", hashed[path], decode(content, path))
        except UserError as error:
            return error

    @staticmethod
    def _named(
        draft: FileVersion | UserError, names: Mapping[Content, str]
    ) -> FileVersion | UserError:
        if isinstance(draft, UserError) or draft.name:
            return draft
        path = draft.former_path or draft.path
        return replace(draft, name=names[Content(path, draft.blob, draft.revision or "HEAD")])

    def _load(self, items: Sequence[tuple[str, str]]) -> list[FileVersion | UserError]:
        """The files at their versions; without a name where the version is no tag."""
        asked = [
            [f"{name}{end}" for name in self._candidates(path, version) for end in self._ends(path)]
            for path, version in items
        ]
        answers = iter(self._repository.contents([name for names in asked for name in names]))
        loaded: list[FileVersion | UserError] = []
        for path, version in items:
            pairs = [
                (name, next(answers), next(answers)) for name in self._candidates(path, version)
            ]
            try:
                loaded.append(self._choose(path, version, pairs))
            except UserError as error:
                loaded.append(error)
        return loaded

    def _ends(self, path: str) -> tuple[str, str]:
        return "^{commit}", f":{self._repository.in_repository(path)}"

    def _candidates(self, path: str, version: str) -> list[str]:
        """The revisions that `version` of a file may mean, in the order in which they count."""
        stems = self._repository.stems(path)
        tags = [f"{stem}{mark}{version}" for mark in "@/" for stem in stems]
        return [*(f"refs/tags/{tag}" for tag in (*tags, version)), version]

    def _choose(
        self, path: str, version: str, found: Sequence[tuple[str, Found | None, Found | None]]
    ) -> FileVersion:
        """The first revision that exists, read; the file elsewhere in it, where it is not there."""
        for name, commit, item in found:
            if commit is None:
                continue
            shown = version if name.startswith("refs/tags/") else ""
            if item is not None and item.type == "blob":
                text = decode(item.content, f"{path}@{version}")
                return FileVersion(path, shown, item.id, text, commit.id)
            former = Renames(self._repository, path).find_at(commit.id, version)
            if former is None:
                raise UserError(
                    f"{path} does not exist at {version}", hint=self._hint(path, version)
                )
            return self._read_former(path, version, shown, former)
        scopes = Scopes(self._repository.tags())
        stems = self._repository.stems(path)
        if any(s.version == version for tags in scopes.others(stems).values() for s in tags):
            former = Renames(self._repository, path).find_tagged(scopes, stems, version)
            if former is not None:
                return self._read_former(path, version, version, former)
        raise UserError(f"{path} has no version {version}", hint=self._hint(path, version))

    def _read_former(self, path: str, version: str, shown: str, former: Former) -> FileVersion:
        content = self._repository.read_blob(former.blob)
        text = decode(content, f"{former.path}@{version}")
        return FileVersion(path, shown, former.blob, text, former.commit, former.path)

    def _names(self) -> Names:
        return self._lasting_names if self._at else self._present_names()

    @cached_property
    def _lasting_names(self) -> Names:
        """Who reads at a commit does so for one comparison: the tags stay what they are."""
        return self._present_names()

    def _present_names(self) -> Names:
        tags = self._repository.tags()
        cache = NameCache(self._repository.common_dir, tags)
        return Names(self._repository, Scopes(tags), cache)

    def _hint(self, path: str, version: str) -> str:
        known = self.known(path)
        if not known:
            return f"it has no tagged version; `loom tag {path} {version}` makes one"
        more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
        return f"its versions: {', '.join(known[:LISTED])}{more}"

    def known(self, path: str) -> list[str]:
        """The tagged versions of a file, newest first: scoped tags, else tags of the whole."""
        scopes = Scopes(self._repository.tags())
        if scoped := scopes.of(self._repository.stems(path)):
            return list(dict.fromkeys(each.version for each in scoped))
        inside = self._repository.in_repository(path)
        found = self._repository.objects([f"{e.tag.commit}:{inside}" for e in scopes.plain])
        return [each.version for each, item in zip(scopes.plain, found, strict=True) if item]

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
        name = f"{self._repository.stems(path)[0]}@{version}"
        self._repository.create_tag(name, message or f"{path} {version}")
        return name

    def names(self, blobs: Mapping[str, str], revision: str | None = None) -> dict[str, str]:
        """The displayed version of each content, by path.

        `revision` is where the content was read; None, the working tree, where a content that HEAD
        does not hold is `.dirty`. Four processes for any number of files, two where their names
        were found before; three more where one has no tag of its own and changes are counted.
        """
        contents = {path: Content(path, blob, revision or "HEAD") for path, blob in blobs.items()}
        found = self._names().find(list(contents.values()))
        return {path: found[content] for path, content in contents.items()}


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
