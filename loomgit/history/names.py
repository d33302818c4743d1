"""The names of contents: the tag that holds one, else the newest tag before it and what came since.

Any number of files in the same few processes; a walk through history only where a content has no
tag of its own.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from loomgit.history.scopes import stem_of
from loomgit.history.walks import (
    Span,
    count_changes,
    former_paths,
    load_graph,
    load_renames,
    reach,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.history.name_cache import NameCache
    from loomgit.history.repository import Repository
    from loomgit.history.scopes import Scoped, Scopes

SHORT = 8  # digits of a blob id in a version's name


class Content(NamedTuple):
    """A file's content, and the revision from which its history is looked at."""

    path: str
    blob: str
    revision: str


class Held(NamedTuple):
    """A version of a file, and the content that it holds."""

    version: str
    commit: str
    blob: str


class Holdings(Struct, frozen=True):
    """What the tags hold of one file, newest first: its own tags, and those of the whole.

    `paths` are the file's names over time.
    """

    paths: tuple[str, ...]
    scoped: tuple[Held, ...] = ()
    plain: tuple[Held, ...] = ()

    def holding(self, blob: str) -> str:
        """The version with this very content, empty where there is none."""
        held = (held.version for held in (*self.scoped, *self.plain) if held.blob == blob)
        return next(held, "")


class _Seen(Struct, frozen=True):
    """What a revision is and has: its commit (empty before the first), the blobs of the files."""

    tip: str
    blob: str


class Names:
    """Names contents by the tags of a repository."""

    def __init__(self, repository: Repository, scopes: Scopes, cache: NameCache) -> None:
        self._repository = repository
        self._scopes = scopes
        self._cache = cache

    def find(self, contents: Sequence[Content]) -> dict[Content, str]:
        """The displayed version of each content; `.dirty` where its revision does not hold it."""
        known = self._cache.load()
        new = [content for content in contents if _exact_key(content) not in known]
        seen, holdings = self._look(contents, {content.path for content in new})
        fresh = {_exact_key(c): holdings[c.path].holding(c.blob) for c in new}
        known |= fresh
        unknown = [c for c in contents if _recall(known, c, seen[c]) is None]
        if unknown:
            missing = {content.path for content in unknown} - holdings.keys()
            holdings |= self._look([], missing)[1] if missing else {}
            tips = {content: seen[content].tip for content in unknown}
            since = Ancestry(self._repository, self._scopes).find(tips, holdings)
            for content, (word, moved) in since.items():
                key = _moved_key if moved else _since_key
                fresh[key(content, seen[content])] = word
            known |= fresh
        self._cache.add(fresh)
        return {c: _whole(c, _recall(known, c, seen[c]) or "", seen[c]) for c in contents}

    def _look(
        self, contents: Sequence[Content], paths: Iterable[str]
    ) -> tuple[dict[Content, _Seen], dict[str, Holdings]]:
        """What the revisions have, and what the tags hold of `paths`, in one or two processes."""
        inside = {path: self._repository.in_repository(path) for path in paths}
        own = [
            (path, scoped)
            for path in inside
            for scoped in self._scopes.of(self._repository.stems(path))
        ]
        folders = list(dict.fromkeys(posixpath.dirname(name) for name in inside.values()))
        plain = [(tag, folder) for tag in self._scopes.plain for folder in folders]
        questions = [
            *(f"{content.revision}^{{commit}}" for content in contents),
            *(f"{c.revision}:{self._repository.in_repository(c.path)}" for c in contents),
            *(f"{scoped.tag.commit}:{inside[path]}" for path, scoped in own),
            *(f"{scoped.tag.commit}:{folder}" for scoped, folder in plain),
        ]
        found = self._repository.objects(questions)
        answers = iter([item[0] if item else "" for item in found])
        tips = [next(answers) for _ in contents]
        seen = {c: _Seen(tip, next(answers)) for c, tip in zip(contents, tips, strict=True)}
        scoped_held: dict[str, list[Held]] = {path: [] for path in inside}
        for path, scoped in own:
            if blob := next(answers):
                scoped_held[path].append(Held(scoped.version, scoped.tag.commit, blob))
        trees = {(tag, folder): next(answers) for tag, folder in plain}
        files = self._repository.folders(tree for tree in trees.values() if tree)
        return seen, {
            path: Holdings((path,), tuple(scoped_held[path]), _plain_held(name, trees, files))
            for path, name in inside.items()
        }


class Ancestry:
    """Finds the newest tag before a content that no tag holds, and counts the changes since."""

    def __init__(self, repository: Repository, scopes: Scopes) -> None:
        self._repository = repository
        self._scopes = scopes

    def find(
        self, tips: Mapping[Content, str], holdings: Mapping[str, Holdings]
    ) -> dict[Content, tuple[str, bool]]:
        """What stands before the blob's id: `v1.0+3.`, `v1.0+` in a shallow clone, or nothing.

        With a `=` before it the whole name: that of a tag which the file had under an older path.
        Beside it, whether there is such a path: then other contents of the file mean other words.
        """
        own = {content: holdings[content.path] for content in tips}
        moved = self._moved({c: t for c, t in tips.items() if t and not own[c].scoped})
        own |= moved
        words = {c: f"={name}" for c in tips if (name := own[c].holding(c.blob))}
        asked = [c for c in tips if c not in words and tips[c] and (own[c].scoped or own[c].plain)]
        if asked:
            words |= self._count(asked, tips, own)
        return {content: (words.get(content, ""), content in moved) for content in tips}

    def _count(
        self,
        asked: Sequence[Content],
        tips: Mapping[Content, str],
        holdings: Mapping[Content, Holdings],
    ) -> dict[Content, str]:
        graph = load_graph(self._repository, [tips[content] for content in asked])
        starts: dict[str, int] = {}
        for number, content in enumerate(asked):
            starts[tips[content]] = starts.get(tips[content], 0) | 1 << number
        behind = reach(graph, starts)
        newest: dict[Content, Held] = {}
        for number, content in enumerate(asked):
            for held in (*holdings[content].scoped, *holdings[content].plain):
                if behind.get(held.commit, 0) >> number & 1:
                    newest[content] = held
                    break
        if self._repository.is_shallow:
            return {content: f"{held.version}+" for content, held in newest.items()}
        spans = [Span(holdings[c].paths, held.commit, tips[c]) for c, held in newest.items()]
        counts = count_changes(self._repository, graph, spans)
        pairs = zip(newest.items(), counts, strict=True)
        return {content: f"{held.version}+{count}." for (content, held), count in pairs}

    def _moved(self, tips: Mapping[Content, str]) -> dict[Content, Holdings]:
        """The holdings of files that had another path, by the tags of that path."""
        found: dict[Content, Holdings] = {}
        if not tips or not self._has_orphans():
            return found
        moves = {tip: load_renames(self._repository, tip) for tip in set(tips.values())}
        former = {content: former_paths(content.path, moves[tip]) for content, tip in tips.items()}
        asked = [
            (content, path, scoped)
            for content, paths in former.items()
            for path in paths
            for scoped in self._scopes.of(self._repository.stems(path))
        ]
        inside = [self._repository.in_repository(path) for _, path, _ in asked]
        names = [f"{s.tag.commit}:{name}" for (_, _, s), name in zip(asked, inside, strict=True)]
        for (content, _, scoped), item in zip(asked, self._repository.objects(names), strict=True):
            if item:
                before = found.get(content, Holdings((content.path, *former[content])))
                held = Held(scoped.version, scoped.tag.commit, item[0])
                found[content] = Holdings(before.paths, (*before.scoped, held))
        return found

    def _has_orphans(self) -> bool:
        """Whether some tags' file was there at the tag and is no more: else nothing was renamed."""
        newest = {
            self._repository.in_repository(self._repository.of_stem(stem)): tags[0].tag.commit
            for stem, tags in self._scopes.others(()).items()
        }
        names = [
            f"{revision}:{posixpath.dirname(stem)}"
            for stem, commit in newest.items()
            for revision in (commit, "HEAD")
        ]
        found = [item[0] if item else "" for item in self._repository.objects(names)]
        stems = {
            tree: {stem_of(name) for name in files}
            for tree, files in self._repository.folders(filter(None, found)).items()
        }
        pairs = zip(newest, found[::2], found[1::2], strict=True)
        return any(
            posixpath.basename(stem) in stems.get(then, ())
            and posixpath.basename(stem) not in stems.get(now, ())
            for stem, then, now in pairs
        )


def _plain_held(
    name: str,
    trees: Mapping[tuple[Scoped, str], str],
    files: Mapping[str, Mapping[str, str]],
) -> tuple[Held, ...]:
    folder, file = posixpath.split(name)
    return tuple(
        Held(scoped.version, scoped.tag.commit, blob)
        for (scoped, of), tree in trees.items()
        if of == folder and tree and (blob := files[tree].get(file))
    )


def _recall(known: Mapping[str, str], content: Content, seen: _Seen) -> str | None:
    """The word that was found for a content: `=` and its name, or what stands before its id."""
    if name := known[_exact_key(content)]:
        return f"={name}"
    return known.get(_moved_key(content, seen), known.get(_since_key(content, seen)))


def _exact_key(content: Content) -> str:
    return f"{content.blob} {content.path}"


def _moved_key(content: Content, seen: _Seen) -> str:
    return f"moved {seen.tip} {content.blob} {content.path}"


def _since_key(content: Content, seen: _Seen) -> str:
    """No content in it: an edit that is not committed changes nothing in what came before."""
    return f"since {seen.tip} {content.path}"


def _whole(content: Content, word: str, seen: _Seen) -> str:
    if word.startswith("="):
        return word[1:]
    return f"{word}g{content.blob[:SHORT]}" + (".dirty" if seen.blob != content.blob else "")
