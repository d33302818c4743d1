"""Compares the time of Loom's version lookups with plain Git processes.

The synthetic repositories have 1,000 and 20,000 commits, 60 prompts, 400 tags and 2,000 files. One
Python process calls Loom and starts the Git processes, in random order.
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

from measure import measured_rounds, parse
from synthetic import Synthetic, build, git

from loomgit.history.repository import Repository
from loomgit.history.versions import Versions


def bare(folder: Path, arguments: list[str], lines: list[str] = []) -> Callable[[], None]:  # noqa: B006 - `lines` is never changed
    """Return a function that runs a Git process with `lines` as its standard input."""
    stdin = "".join(f"{line}\n" for line in lines).encode()

    def call() -> None:
        subprocess.run(
            ["git", *arguments], cwd=folder, input=stdin, check=True, capture_output=True
        )

    return call


def check(made: Synthetic, versions: Versions, path: str, version: str, tag: str) -> None:
    """Check that Loom reads the same content as Git, and gives each prompt a version name."""
    content = git(made.folder, "cat-file", "blob", f"refs/tags/{tag}:{path}")
    assert versions.read(path, version).text == content, f"wrong content of {path} at {version}"
    blobs = Repository.open(made.folder).blobs_at("HEAD", made.prompts)
    names = versions.names(blobs)
    assert set(names) == set(made.prompts), f"names: {names}"
    assert all(names.values()), f"names: {names}"


def build_calls(made: Synthetic) -> dict[str, Callable[[], object]]:
    """Return the calls of Loom and Git to measure, by name."""
    versions = Versions(Repository.open(made.folder))
    cache = made.folder / ".git" / "loom" / "versions.json"
    path, tag = made.prompts[7], next(t for t in made.scoped if t.startswith("prompts/prompt_07@"))
    version = tag.partition("@")[2]
    check(made, versions, path, version, tag)
    blobs = Repository.open(made.folder).blobs_at("HEAD", made.prompts)
    tagged = {path: blob for path, blob in blobs.items() if "+" not in versions.names(blobs)[path]}
    counted = sum("+" in name for name in versions.names(blobs).values())
    print(f"{made.folder.name} commits: {len(tagged)} tagged prompts, {counted} counted names")
    lookups = [f"refs/tags/{tag}:{tag.partition('@')[0]}.txt" for tag in made.scoped]
    lookups += [f"refs/tags/{tag}:{path}" for tag in made.plain for path in made.prompts]
    tree = [f"refs/tags/{tag}:prompts" for tag in made.plain]

    def cold(prompts: dict[str, str]) -> Callable[[], object]:
        def call() -> object:
            cache.unlink(missing_ok=True)
            return versions.names(prompts)

        return call

    def warm() -> object:
        return versions.names(blobs)

    return {
        "resolve a tag and read the prompt": lambda: versions.read(path, version),
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


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the median time of each call in ms. Each round has a new random order."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for measured in measured_rounds(rounds):
        for name in random.sample(list(calls), len(calls)):
            if "cached" in name:
                calls["name all 60 prompts, cold, changes counted"]()  # fills the whole cache
            started = time.perf_counter()
            calls[name]()
            if measured:
                times[name].append((time.perf_counter() - started) * 1e3)
    return {name: statistics.median(each) for name, each in times.items()}


def compute_figures(ms: dict[str, float]) -> dict[str, float]:
    one = ms["git cat-file --batch-check, one name"]
    product = ms["git cat-file --batch-check, all tags x prompts"]
    once = ms["git cat-file --batch-check, all tags once"]
    cold, cached = (
        ms["name all 60 prompts, cold, changes counted"],
        ms["name all 60 prompts, cached"],
    )
    return {
        "resolve + read / batch-check (limit 5)": ms["resolve a tag and read the prompt"] / one,
        "resolve + read / rev-parse (limit 5)": ms["resolve a tag and read the prompt"]
        / ms["git rev-parse tag:path"],
        "tagged names, cold / batch-check of all tags once (limit 5)": ms[
            "name the tagged prompts, cold"
        ]
        / once,
        "names, cached / batch-check of all tags once (limit 5)": cached / once,
        "names, cached / batch-check of tags x prompts (limit 5)": cached / product,
        "names, cold with counts / batch-check of tags x prompts": cold / product,
        "names, cold with counts / rev-list of the whole history of one prompt": cold
        / ms["git rev-list --count HEAD, one prompt"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, nargs="+", default=[1_000, 20_000])
    parser.add_argument("--rounds", type=int, default=15)
    options = parse(parser, commits=[400], rounds=1)
    results: dict[str, dict[str, float]] = {}
    ratios: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for commits in options.commits:
            made = build(Path(folder) / str(commits), commits)
            medians = measure(build_calls(made), options.rounds)
            results[f"{commits:,} commits"] = medians
            ratios[f"{commits:,} commits"] = compute_figures(medians)
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
