"""Derives the displayed version (for example `v1.0+3.g1a2b3c4d`) of a file's content.

If a tag contains the content, the displayed version is the version in the tag's name. Otherwise, it
consists of the version of the newest earlier tag, the number of changes since that tag, and the
start of the blob id. A few Git processes are sufficient for any number of files. The history is
read only for contents that no tag contains.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from loomgit.history.commit_counts import (
    Span,
    count_changes,
    former_paths,
    load_graph,
    load_renames,
    propagate_bits,
)
from loomgit.history.tag_scopes import stem_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.history.name_cache import NameCache
    from loomgit.history.repository import Repository
    from loomgit.history.tag_scopes import ScopedTag, TagScopes

BLOB_ID_DIGITS = 8  # digits of a blob id in a version's name


class FileContent(NamedTuple):
    """A file's content, and the revision from which the file's history is read backwards."""

    path: str
    blob: str
    revision: str


class TaggedContent(NamedTuple):
    """A tagged version of a file, the tag's commit, and the file's blob id in this commit."""

    version: str
    commit: str
    blob: str


class TaggedContents(Struct, frozen=True):
    """The tagged contents of one file, newest first.

    `paths` are the current path and the former paths of the file. `scoped` are the contents at the
    file's own tags. `plain` are the contents at tags of the whole repository.
    """

    paths: tuple[str, ...]
    scoped: tuple[TaggedContent, ...] = ()
    plain: tuple[TaggedContent, ...] = ()

    def holding(self, blob: str) -> str:
        """Return the newest version with this content, or an empty text if no tag contains it.

        The file's own tags take precedence.
        """
        tagged = (*self.scoped, *self.plain)
        return next((content.version for content in tagged if content.blob == blob), "")


class _RevisionState(Struct, frozen=True):
    """The commit id of a revision, and the blob id of a file at this revision.

    A missing id is an empty text.
    """

    tip: str
    blob: str


class VersionNames:
    """Finds the displayed versions of file contents, with the help of the repository's tags."""

    def __init__(self, repository: Repository, scopes: TagScopes, cache: NameCache) -> None:
        self._repository = repository
        self._scopes = scopes
        self._cache = cache

    def find(self, contents: Sequence[FileContent]) -> dict[FileContent, str]:
        """Return the version to display for each of these file contents.

        It ends with `.dirty` if the content is in no tag and differs from the file at the revision.
        """
        known = self._cache.load()
        new = [content for content in contents if _exact_key(content) not in known]
        states, tagged = self._load(contents, {content.path for content in new})
        added = {_exact_key(c): tagged[c.path].holding(c.blob) for c in new}
        known |= added
        unknown = [c for c in contents if _recall(known, c, states[c]) is None]
        if unknown:
            missing = {content.path for content in unknown} - tagged.keys()
            tagged |= self._load([], missing)[1] if missing else {}
            tips = {content: states[content].tip for content in unknown}
            prefixes = TagDistance(self._repository, self._scopes).find(tips, tagged)
            for content, (prefix, moved) in prefixes.items():
                key = _moved_key if moved else _since_key
                added[key(content, states[content])] = prefix
            known |= added
        self._cache.add(added)
        return {c: _full_name(c, _recall(known, c, states[c]) or "", states[c]) for c in contents}

    def _load(
        self, contents: Sequence[FileContent], paths: Iterable[str]
    ) -> tuple[dict[FileContent, _RevisionState], dict[str, TaggedContents]]:
        """Return two maps: the revision states by content, and the tagged contents by path.

        Runs one or two Git processes.
        """
        inside = {path: self._repository.in_repository(path) for path in paths}
        own = [
            (path, scoped)
            for path in inside
            for scoped in self._scopes.of(self._repository.stems(path))
        ]
        folders = list(dict.fromkeys(posixpath.dirname(name) for name in inside.values()))
        plain = [(tag, folder) for tag in self._scopes.plain for folder in folders]
        names = [
            *(f"{content.revision}^{{commit}}" for content in contents),
            *(f"{c.revision}:{self._repository.in_repository(c.path)}" for c in contents),
            *(f"{scoped.tag.commit}:{inside[path]}" for path, scoped in own),
            *(f"{scoped.tag.commit}:{folder}" for scoped, folder in plain),
        ]
        objects = self._repository.objects(names)
        ids = iter([item[0] if item else "" for item in objects])
        tips = [next(ids) for _ in contents]
        states = {c: _RevisionState(tip, next(ids)) for c, tip in zip(contents, tips, strict=True)}
        scoped_contents: dict[str, list[TaggedContent]] = {path: [] for path in inside}
        for path, scoped in own:
            if blob := next(ids):
                scoped_contents[path].append(TaggedContent(scoped.version, scoped.tag.commit, blob))
        trees = {(tag, folder): next(ids) for tag, folder in plain}
        files = self._repository.folders(tree for tree in trees.values() if tree)
        return states, {
            path: TaggedContents(
                (path,), tuple(scoped_contents[path]), _plain_contents(name, trees, files)
            )
            for path, name in inside.items()
        }


class TagDistance:
    """Counts how often a file has changed since its newest earlier tag.

    It is used if no tag contains the file's current content.
    """

    def __init__(self, repository: Repository, scopes: TagScopes) -> None:
        self._repository = repository
        self._scopes = scopes

    def find(
        self, tips: Mapping[FileContent, str], holdings: Mapping[str, TaggedContents]
    ) -> dict[FileContent, tuple[str, bool]]:
        """Return a pair (prefix, has_former_path) for each content.

        The prefix is the part of the displayed version before the blob id. It is `v1.0+3.` after
        three changes since `v1.0`, `v1.0+` in a shallow clone, or empty if no earlier tag exists.
        If a tag of a former path contains the content, the prefix is `=`, followed by the full
        version. `has_former_path` is true if a former path has tags. In this case, the prefix is
        valid only for this content of the file.

        `tips` contains the commits from which the history is read. `holdings` contains the tagged
        contents of each path.
        """
        tagged = {content: holdings[content.path] for content in tips}
        moved = self._moved({c: t for c, t in tips.items() if t and not tagged[c].scoped})
        tagged |= moved
        prefixes = {c: f"={name}" for c in tips if (name := tagged[c].holding(c.blob))}
        uncounted = [
            c
            for c in tips
            if c not in prefixes and tips[c] and (tagged[c].scoped or tagged[c].plain)
        ]
        if uncounted:
            prefixes |= self._count(uncounted, tips, tagged)
        return {content: (prefixes.get(content, ""), content in moved) for content in tips}

    def _count(
        self,
        contents: Sequence[FileContent],
        tips: Mapping[FileContent, str],
        tagged: Mapping[FileContent, TaggedContents],
    ) -> dict[FileContent, str]:
        graph = load_graph(self._repository, [tips[content] for content in contents])
        starts: dict[str, int] = {}
        for number, content in enumerate(contents):
            starts[tips[content]] = starts.get(tips[content], 0) | 1 << number
        behind = propagate_bits(graph, starts)
        newest: dict[FileContent, TaggedContent] = {}
        for number, content in enumerate(contents):
            for tag in (*tagged[content].scoped, *tagged[content].plain):
                if behind.get(tag.commit, 0) >> number & 1:
                    newest[content] = tag
                    break
        if self._repository.is_shallow:
            return {content: f"{tag.version}+" for content, tag in newest.items()}
        spans = [Span(tagged[c].paths, tag.commit, tips[c]) for c, tag in newest.items()]
        counts = count_changes(self._repository, graph, spans)
        pairs = zip(newest.items(), counts, strict=True)
        return {content: f"{tag.version}+{count}." for (content, tag), count in pairs}

    def _moved(self, tips: Mapping[FileContent, str]) -> dict[FileContent, TaggedContents]:
        """Return the tagged contents at the former paths of each file in `tips`.

        The result has no entry for a content if no former path of its file has tags.
        """
        tagged: dict[FileContent, TaggedContents] = {}
        if not tips or not self._has_orphans():
            return tagged
        moves = {tip: load_renames(self._repository, tip) for tip in set(tips.values())}
        former = {content: former_paths(content.path, moves[tip]) for content, tip in tips.items()}
        candidates = [
            (content, path, scoped)
            for content, paths in former.items()
            for path in paths
            for scoped in self._scopes.of(self._repository.stems(path))
        ]
        inside = [self._repository.in_repository(path) for _, path, _ in candidates]
        names = [f"{c[2].tag.commit}:{name}" for c, name in zip(candidates, inside, strict=True)]
        objects = self._repository.objects(names)
        for (content, _, scoped), item in zip(candidates, objects, strict=True):
            if item:
                before = tagged.get(content, TaggedContents((content.path, *former[content])))
                added = TaggedContent(scoped.version, scoped.tag.commit, item[0])
                tagged[content] = TaggedContents(before.paths, (*before.scoped, added))
        return tagged

    def _has_orphans(self) -> bool:
        """Whether a tagged file no longer exists at HEAD, for example because it was renamed.

        If all tagged files still exist, the slow search for renames is unnecessary.
        """
        newest = {
            self._repository.in_repository(self._repository.of_stem(stem)): tags[0].tag.commit
            for stem, tags in self._scopes.others(()).items()
        }
        names = [
            f"{revision}:{posixpath.dirname(stem)}"
            for stem, commit in newest.items()
            for revision in (commit, "HEAD")
        ]
        trees = [item[0] if item else "" for item in self._repository.objects(names)]
        stems = {
            tree: {stem_of(name) for name in files}
            for tree, files in self._repository.folders(filter(None, trees)).items()
        }
        pairs = zip(newest, trees[::2], trees[1::2], strict=True)
        return any(
            posixpath.basename(stem) in stems.get(tag_tree, ())
            and posixpath.basename(stem) not in stems.get(head_tree, ())
            for stem, tag_tree, head_tree in pairs
        )


def _plain_contents(
    name: str,
    trees: Mapping[tuple[ScopedTag, str], str],
    files: Mapping[str, Mapping[str, str]],
) -> tuple[TaggedContent, ...]:
    """Return the contents of the file `name` at the tags of the whole repository.

    `trees` maps (tag, folder) to a tree id. `files` maps a tree id to {file name: blob id}.
    """
    folder, file = posixpath.split(name)
    return tuple(
        TaggedContent(scoped.version, scoped.tag.commit, blob)
        for (scoped, tree_folder), tree in trees.items()
        if tree_folder == folder and tree and (blob := files[tree].get(file))
    )


def _recall(known: Mapping[str, str], content: FileContent, state: _RevisionState) -> str | None:
    """Return the cached prefix (see `TagDistance.find`), or None if the cache has none."""
    if name := known[_exact_key(content)]:
        return f"={name}"
    return known.get(_moved_key(content, state), known.get(_since_key(content, state)))


def _exact_key(content: FileContent) -> str:
    return f"{content.blob} {content.path}"


def _moved_key(content: FileContent, state: _RevisionState) -> str:
    return f"moved {state.tip} {content.blob} {content.path}"


def _since_key(content: FileContent, state: _RevisionState) -> str:
    """Return the cache key of a prefix such as `v1.0+3.`.

    The content is not part of the key: an uncommitted edit changes the content, not the prefix.
    """
    return f"since {state.tip} {content.path}"


def _full_name(content: FileContent, prefix: str, state: _RevisionState) -> str:
    if prefix.startswith("="):
        return prefix[1:]
    return f"{prefix}g{content.blob[:BLOB_ID_DIGITS]}" + (
        ".dirty" if state.blob != content.blob else ""
    )
