"""Counts the commits that change files, with one Git process for any number of files.

Each file has one bit in an integer. Therefore, one pass over the commits counts the changes to all
files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loomgit.history.repository import MAX_PATHSPECS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.history.repository import Repository

Graph = dict[str, tuple[str, ...]]  # commit -> parents; a commit comes before its parents


class Span(NamedTuple):
    """The changes to `paths` after the commit `since`, up to and including the commit `tip`.

    `paths` are the current path and the former paths of one file.
    """

    paths: tuple[str, ...]
    since: str
    tip: str


def load_graph(repository: Repository, tips: Iterable[str]) -> Graph:
    """Return all commits that are reachable from `tips`, with their parents."""
    output = repository.plumbing(
        "rev-list", "--topo-order", "--parents", "--end-of-options", *dict.fromkeys(tips), "--"
    )
    rows = (line.split(" ") for line in output.decode("ascii").splitlines())
    return {commit: tuple(parents) for commit, *parents in rows}


def propagate_bits(graph: Graph, starts: Mapping[str, int]) -> dict[str, int]:
    """Return the bits of every commit in `graph`.

    `starts` maps commits to their bits. Each commit passes its bits on to all of its ancestors.
    """
    bits = dict.fromkeys(graph, 0) | {c: b for c, b in starts.items() if c in graph}
    for commit, parents in graph.items():
        if own := bits[commit]:
            for parent in parents:
                bits[parent] |= own
    return bits


def count_changes(repository: Repository, graph: Graph, spans: Sequence[Span]) -> list[int]:
    """Return, for each span, the number of commits that change its paths. Runs one Git process.

    The number is the same as that of `git rev-list --count`. This includes Git's history
    simplification: if a merge took a file unchanged from one parent, the commits that are reachable
    only through the other parents are not counted.
    """
    tips, since = _bits(span.tip for span in spans), _bits(span.since for span in spans)
    inside, behind = propagate_bits(graph, tips), propagate_bits(graph, since)
    commits = [commit for commit in graph if inside[commit] & ~behind[commit]]
    edges = [(commit, parent) for commit in commits for parent in graph[commit] or ("",)]
    bit_of: dict[str, int] = {}
    for number, span in enumerate(spans):
        for path in span.paths:
            bit_of[path] = bit_of.get(path, 0) | 1 << number
    changed = dict(zip(edges, _changes(repository, edges, bit_of), strict=True))
    counts = [0] * len(spans)
    active = dict.fromkeys(graph, 0) | tips
    for commit in commits:
        bits = active[commit] & ~behind[commit]
        remaining = _follow(commit, graph[commit], bits, active, behind, since, changed)
        while remaining:
            lowest = remaining & -remaining
            counts[lowest.bit_length() - 1] += 1
            remaining ^= lowest
    return counts


def _follow(
    commit: str,
    parents: tuple[str, ...],
    bits: int,
    active: dict[str, int],
    behind: Mapping[str, int],
    since: Mapping[str, int],
    changed: Mapping[tuple[str, str], int],
) -> int:
    """Pass `bits` to the parents of `commit`. Return the bits of the files that `commit` changes.

    For each file, only the commits after the commit `since` in the file's `Span` are counted. A
    parent is irrelevant to the file if it is an ancestor of `since`. All other parents are
    relevant. If the file is the same in `commit` and in a relevant parent, the file's bit goes only
    to the first such parent. Otherwise, the bit goes to all parents. Git has the same rules: see
    `try_to_simplify_commit` in Git's revision.c.
    """
    if not parents:
        return bits & changed[commit, ""]
    relevant = [~behind[parent] | since.get(parent, 0) for parent in parents]
    changes = [changed[commit, parent] for parent in parents]
    for parent, mask, change in zip(parents, relevant, changes, strict=True):
        same = bits & mask & ~change
        active[parent] |= same
        bits &= ~same
    relevant_change = relevant_parent = irrelevant_change = 0
    for parent, mask, change in zip(parents, relevant, changes, strict=True):
        active[parent] |= bits
        relevant_parent |= mask
        relevant_change |= mask & change
        irrelevant_change |= ~mask & change
    return bits & (relevant_change | (~relevant_parent & irrelevant_change))


def _bits(commits: Iterable[str]) -> dict[str, int]:
    bits: dict[str, int] = {}
    for number, commit in enumerate(commits):
        bits[commit] = bits.get(commit, 0) | 1 << number
    return bits


def _changes(
    repository: Repository, edges: Sequence[tuple[str, str]], bit_of: Mapping[str, int]
) -> list[int]:
    """Return an integer for each edge (commit, parent): the sum of the bits of the changed paths.

    `bit_of` maps each path to its bit. A path is changed if it differs between the two commits. The
    parent of a root commit is "".
    """
    if not edges:
        return []
    specs = [repository.pathspec(path) for path in bit_of] if len(bit_of) <= MAX_PATHSPECS else []
    lines = "".join(f"{commit} {parent}".rstrip() + "\n" for commit, parent in edges)
    output = repository.plumbing(
        "diff-tree", "--stdin", "--root", "--always", "-r", "-z", "--raw", "--no-renames",
        "--no-ext-diff", "--", *specs,
        stdin=lines.encode("ascii"),
    )  # fmt: skip
    bit_of_name = {
        repository.in_repository(path).encode("utf-8", "surrogateescape"): bit
        for path, bit in bit_of.items()
    }
    changes: list[int] = []
    tokens = iter(output.split(b"\0"))
    for token in tokens:
        if token.startswith(b":"):
            changes[-1] |= bit_of_name.get(next(tokens), 0)
        elif token:
            changes.append(0)
    return changes


def load_renames(repository: Repository, tip: str) -> list[tuple[str, str]]:
    """Return (old path, new path) of each rename that kept the content unchanged, newest first.

    Only renames in the history of the commit `tip` are returned.
    """
    output = repository.plumbing(
        "log", "--no-show-signature", "-M100%", "--diff-filter=R", "--raw", "-z", "--format=",
        "--end-of-options", tip, "--", repository.pathspec("."),
    ).decode("utf-8", "surrogateescape")  # fmt: skip
    tokens = [token for token in output.split("\0") if token]
    moves: list[tuple[str, str]] = []
    position = 0
    while position < len(tokens):
        if tokens[position].lstrip("\n").startswith(":"):
            names = tokens[position + 1 : position + 3]
            old, new = (repository.in_project(name) for name in names)
            moves.append((old, new))
            position += 3
        else:
            position += 1
    return moves


def former_paths(path: str, moves: Sequence[tuple[str, str]]) -> list[str]:
    """Return the former paths of a file, latest first.

    `moves` are pairs (old path, new path), newest first.
    """
    former: list[str] = []
    for old, new in moves:
        if new == path:
            former.append(old)
            path = old
    return former
