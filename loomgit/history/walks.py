"""Walks through history, each one process for any number of files: what changed since which tag.

Files are bits of an integer, so that one pass over the commits counts for all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from loomgit.history.repository import MANY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from loomgit.history.repository import Repository

Graph = dict[str, tuple[str, ...]]  # parents of each commit, children before parents


class Span(NamedTuple):
    """Changes of these paths (one file's names over time) from `since`, left out, up to `tip`."""

    paths: tuple[str, ...]
    since: str
    tip: str


def load_graph(repository: Repository, tips: Iterable[str]) -> Graph:
    """All commits that `tips` reach."""
    said = repository.plumbing(
        "rev-list", "--topo-order", "--parents", "--end-of-options", *dict.fromkeys(tips), "--"
    )
    rows = (line.split(" ") for line in said.decode("ascii").splitlines())
    return {commit: tuple(parents) for commit, *parents in rows}


def reach(graph: Graph, starts: Mapping[str, int]) -> dict[str, int]:
    """The bits of every commit: those of `starts`, handed on to all ancestors."""
    bits = dict.fromkeys(graph, 0) | {c: b for c, b in starts.items() if c in graph}
    for commit, parents in graph.items():
        if own := bits[commit]:
            for parent in parents:
                bits[parent] |= own
    return bits


def count_changes(repository: Repository, graph: Graph, spans: Sequence[Span]) -> list[int]:
    """How many commits of each span change its paths, as `git rev-list --count` counts.

    That is with Git's simplification: where a merge took a file whole from one side, the other
    sides do not count. One process.
    """
    tips, since = _bits(span.tip for span in spans), _bits(span.since for span in spans)
    inside, behind = reach(graph, tips), reach(graph, since)
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
        here = active[commit] & ~behind[commit]
        counted = _follow(commit, graph[commit], here, active, behind, since, changed)
        while counted:
            lowest = counted & -counted
            counts[lowest.bit_length() - 1] += 1
            counted ^= lowest
    return counts


def _follow(
    commit: str,
    parents: tuple[str, ...],
    here: int,
    active: dict[str, int],
    behind: Mapping[str, int],
    since: Mapping[str, int],
    changed: Mapping[tuple[str, str], int],
) -> int:
    """Hand `here` on to the parents that matter; the bits for which this commit is a change.

    The rules are those of `try_to_simplify_commit` in Git's revision.c: a parent behind the start
    of the span is irrelevant unless it is that start.
    """
    if not parents:
        return here & changed[commit, ""]
    relevant = [~behind[parent] | since.get(parent, 0) for parent in parents]
    changes = [changed[commit, parent] for parent in parents]
    for parent, matters, change in zip(parents, relevant, changes, strict=True):
        same = here & matters & ~change
        active[parent] |= same
        here &= ~same
    differs = relevant_parent = irrelevant_change = 0
    for parent, matters, change in zip(parents, relevant, changes, strict=True):
        active[parent] |= here
        relevant_parent |= matters
        differs |= matters & change
        irrelevant_change |= ~matters & change
    return here & (differs | (~relevant_parent & irrelevant_change))


def _bits(commits: Iterable[str]) -> dict[str, int]:
    bits: dict[str, int] = {}
    for number, commit in enumerate(commits):
        bits[commit] = bits.get(commit, 0) | 1 << number
    return bits


def _changes(
    repository: Repository, edges: Sequence[tuple[str, str]], bit_of: Mapping[str, int]
) -> list[int]:
    """The bits of the paths that each step (commit, parent or "" for a root) changes."""
    if not edges:
        return []
    few = [repository.pathspec(path) for path in bit_of] if len(bit_of) <= MANY else []
    steps = "".join(f"{commit} {parent}".rstrip() + "\n" for commit, parent in edges)
    said = repository.plumbing(
        "diff-tree", "--stdin", "--root", "--always", "-r", "-z", "--raw", "--no-renames",
        "--no-ext-diff", "--", *few,
        stdin=steps.encode("ascii"),
    )  # fmt: skip
    inside = {
        repository.in_repository(path).encode("utf-8", "surrogateescape"): bit
        for path, bit in bit_of.items()
    }
    answers: list[int] = []
    words = iter(said.split(b"\0"))
    for word in words:
        if word.startswith(b":"):
            answers[-1] |= inside.get(next(words), 0)
        elif word:
            answers.append(0)
    return answers


def load_renames(repository: Repository, tip: str) -> list[tuple[str, str]]:
    """(old path, new path) of each renaming in which the content stayed, newest first."""
    said = repository.plumbing(
        "log", "--no-show-signature", "-M100%", "--diff-filter=R", "--raw", "-z", "--format=",
        "--end-of-options", tip, "--", repository.pathspec("."),
    ).decode("utf-8", "surrogateescape")  # fmt: skip
    words = [word for word in said.split("\0") if word]
    moves: list[tuple[str, str]] = []
    at = 0
    while at < len(words):
        if words[at].lstrip("\n").startswith(":"):
            old, new = (repository.in_project(word) for word in words[at + 1 : at + 3])
            moves.append((old, new))
            at += 3
        else:
            at += 1
    return moves


def former_paths(path: str, moves: Sequence[tuple[str, str]]) -> list[str]:
    """The paths that a file had before, latest first."""
    former: list[str] = []
    for old, new in moves:
        if new == path:
            former.append(old)
            path = old
    return former
