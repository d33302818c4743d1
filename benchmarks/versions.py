"""Versions cost what one bare Git process costs, however long the history: 1,000, 20,000 commits.

Synthetic repositories: 60 prompts, 400 tags, 2,000 files. Every second figure is Git's own process
doing the same, started from the same Python, in turns with ours.
"""

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from synthetic import Synthetic, build

from loomgit.history.repository import Repository
from loomgit.history.versions import Versions

ROUNDS = 15


def bare(folder: Path, arguments: list[str], lines: list[str] = []) -> Callable[[], None]:  # noqa: B006 - never written to
    """One Git process, fed and read to the end."""
    fed = "".join(f"{line}\n" for line in lines).encode()

    def once() -> None:
        subprocess.run(["git", *arguments], cwd=folder, input=fed, check=True, capture_output=True)

    return once


def subjects(made: Synthetic) -> dict[str, Callable[[], object]]:
    versions = Versions(Repository.open(made.folder))
    cache = made.folder / ".git" / "loom" / "versions.json"
    path, tag = made.prompts[7], next(t for t in made.scoped if t.startswith("prompts/prompt_07@"))
    version = tag.partition("@")[2]
    blobs = Repository.open(made.folder).blobs_at("HEAD", made.prompts)
    tagged = {path: blob for path, blob in blobs.items() if "+" not in versions.names(blobs)[path]}
    counted = sum("+" in name for name in versions.names(blobs).values())
    print(f"{made.folder.name} commits: {len(tagged)} prompts tagged, {counted} counted")
    lookups = [f"refs/tags/{tag}:{tag.partition('@')[0]}.txt" for tag in made.scoped]
    lookups += [f"refs/tags/{tag}:{path}" for tag in made.plain for path in made.prompts]
    tree = [f"refs/tags/{tag}:prompts" for tag in made.plain]

    def cold(asked: dict[str, str]) -> Callable[[], object]:
        def once() -> object:
            cache.unlink(missing_ok=True)
            return versions.names(asked)

        return once

    def warm() -> object:
        return versions.names(blobs)

    return {
        "resolve a tag, read the prompt": lambda: versions.read(path, version),
        "git rev-parse tag:path": bare(made.folder, ["rev-parse", f"refs/tags/{tag}:{path}"]),
        "git cat-file --batch-check, one name": bare(
            made.folder, ["cat-file", "--batch-check"], [f"refs/tags/{tag}:{path}"]
        ),
        "name the tagged prompts, cold": cold(tagged),
        "name all 60 prompts, cold, changes counted": cold(blobs),
        "name all 60 prompts, cached": warm,
        "git for-each-ref, 400 tags": bare(
            made.folder, ["for-each-ref", "--format=%(refname) %(*objectname)", "refs/tags"]
        ),
        "git cat-file --batch-check, all tags x prompts": bare(
            made.folder, ["cat-file", "--batch-check"], lookups
        ),
        "git cat-file --batch-check, all tags once": bare(
            made.folder, ["cat-file", "--batch-check"], lookups[: len(made.scoped)] + tree
        ),
        "git rev-list --count HEAD, one prompt": bare(
            made.folder, ["rev-list", "--count", "HEAD", "--", path]
        ),
    }


def measure(named: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Medians in ms over rounds of all subjects in a new order each, after one for warming up."""
    taken: dict[str, list[float]] = {name: [] for name in named}
    for number in range(ROUNDS + 1):
        for name in random.sample(list(named), len(named)):
            if "cached" in name:
                named[
                    "name all 60 prompts, cold, changes counted"
                ]()  # another's cold run left part
            started = time.perf_counter()
            named[name]()
            if number:
                taken[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(times) for name, times in taken.items()}


def figures(ms: dict[str, float]) -> dict[str, float]:
    one = ms["git cat-file --batch-check, one name"]
    every = ms["git cat-file --batch-check, all tags x prompts"]
    once = ms["git cat-file --batch-check, all tags once"]
    cold, cached = (
        ms["name all 60 prompts, cold, changes counted"],
        ms["name all 60 prompts, cached"],
    )
    return {
        "resolve + read / batch-check (limit 5)": ms["resolve a tag, read the prompt"] / one,
        "resolve + read / rev-parse (limit 5)": ms["resolve a tag, read the prompt"]
        / ms["git rev-parse tag:path"],
        "tagged names, cold / batch-check of all tags once (limit 5)": ms[
            "name the tagged prompts, cold"
        ]
        / once,
        "names, cached / batch-check of all tags once (limit 5)": cached / once,
        "names, cached / batch-check of tags x prompts (limit 5)": cached / every,
        "names, cold with counts / batch-check of tags x prompts": cold / every,
        "names, cold with counts / rev-list of one prompt's whole history": cold
        / ms["git rev-list --count HEAD, one prompt"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, nargs="+", default=[1_000, 20_000])
    sizes = parser.parse_args().commits
    results: dict[str, dict[str, float]] = {}
    ratios: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for commits in sizes:
            measured = measure(subjects(build(Path(folder) / str(commits), commits)))
            results[f"{commits:,} commits"] = measured
            ratios[f"{commits:,} commits"] = figures(measured)
    for title, table in (("versions (ms, medians)", results), ("ratios", ratios)):
        first = next(iter(table.values()))
        width = max(len(name) for name in first)
        print(f"# {title}\n\n{'':<{width}}  " + "  ".join(f"{column:>15}" for column in table))
        for name in first:
            cells = "  ".join(
                f"{column.get(name, float('nan')):15.2f}" for column in table.values()
            )
            print(f"{name:<{width}}  {cells}")
        print()
    print(json.dumps({"benchmark": "versions", "ms": results, "figures": ratios}))


if __name__ == "__main__":
    main()
