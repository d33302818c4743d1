"""Measures how long the pre-push hook delays a push without relevant changes.

The script measures `git push` without a hook, with Loom's hook, with a hook that only starts
Python, and (if installed) with the hook of the pre-commit framework. These pushes run in turn. Each
push sends one new commit to a bare repository on the same disk. The project has 60 pipelines, each
with its own prompt and data set, and 2,000 other files.
"""

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import PYTHON, ROOT, Sample, measured_rounds, median, parse, report, run

sys.path.insert(0, str(ROOT))
from tests.projects import PIPELINE, PROMPT, REVIEWS, TAXONOMY
from tests.repos import CLEAN, commit, git, make

LIMIT = 0.030  # the maximum delay of a push by the hook, in seconds
FRAMEWORK = """\
repos:
  - repo: local
    hooks:
      - {id: nothing, name: nothing, entry: "true", language: system, always_run: true,
         pass_filenames: false, stages: [pre-push]}
"""


def project_files(pipelines: int, others: int) -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {"context/taxonomy.md": TAXONOMY}
    for number in range(pipelines):
        text = PIPELINE.replace("name: demo", f"name: p{number}")
        text = text.replace("prompts/classify", f"prompts/p{number}")
        text = text.replace("data/reviews", f"data/p{number}")
        files[f"pipelines/p{number}.yaml"] = text
        files[f"prompts/p{number}.txt"] = PROMPT
        files[f"data/p{number}.csv"] = REVIEWS
    return files | {f"src/{n % 50}/module_{n}.py": f"NUMBER = {n}\n" for n in range(others)}


def prepare(folder: Path, kind: str) -> Path:
    """Make a clone with its own remote, and install the hook that `kind` names (see `main`)."""
    clone, remote = folder / kind, folder / f"{kind}.git"
    git(folder, "clone", "--quiet", "--bare", "--no-local", "source", remote.name)
    git(folder, "clone", "--quiet", str(remote), clone.name)
    hook = clone / ".git/hooks/pre-push"
    if kind == "hook":
        subprocess.run(
            [PYTHON, "-m", "loomgit", "hooks", "install"],
            cwd=clone, env={**os.environ, **CLEAN}, check=True, capture_output=True,
        )  # fmt: skip
    elif kind == "python":
        # `sh` starts Python, because a `#!` line cannot contain a path with a space.
        hook.write_text(f"#!/bin/sh\nexec {shlex.quote(PYTHON)} -c pass\n")
        hook.chmod(0o755)
    elif kind == "framework":
        (clone / ".pre-commit-config.yaml").write_text(FRAMEWORK)
        git(clone, "config", "user.name", "x")
        subprocess.run(
            ["pre-commit", "install", "--hook-type", "pre-push"],
            cwd=clone, check=True, capture_output=True,
        )  # fmt: skip
    return clone


def push(clone: Path) -> Sample:
    """Push the new commit of a clone, and check that it arrives."""
    sample = run(["git", "push", "--quiet", "origin", "main"], clone, CLEAN)
    head, remote = git(clone, "rev-parse", "HEAD"), git(clone, "ls-remote", "origin", "main")
    assert remote.startswith(head), f"{clone.name}: the push did not arrive"
    return sample


def check(clone: Path) -> None:
    """Check that Loom's hook runs: it must reject the push of an invalid pipeline."""
    (clone / "pipelines/p0.yaml").write_text("name: [\n")
    git(clone, "commit", "--quiet", "-am", "Break a pipeline")
    command = ["git", "push", "--quiet", "origin", "main"]
    process = subprocess.run(
        command, cwd=clone, env={**os.environ, **CLEAN}, check=False, capture_output=True
    )
    assert process.returncode, "the hook did not stop the push of a bad pipeline"
    assert b"pipelines/p0.yaml" in process.stderr + process.stdout, process.stderr.decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--pipelines", type=int, default=60)
    parser.add_argument("--files", type=int, default=2000)
    options = parse(parser, rounds=1, pipelines=3, files=50)
    kinds = ["none", "hook", "python", *(["framework"] if shutil.which("pre-commit") else [])]
    samples: dict[str, list[Sample]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commit(make(folder / "source"), project_files(options.pipelines, options.files))
        clones = {kind: prepare(folder, kind) for kind in kinds}
        for clone in clones.values():
            git(clone, "config", "user.name", "x")
            git(clone, "config", "user.email", "x@example.org")
        for number, measured in enumerate(measured_rounds(options.rounds)):
            for kind, clone in clones.items():
                (clone / "src/0/module_0.py").write_text(f"NUMBER = {number} + 1\n")
                git(clone, "commit", "--quiet", "-am", "Change")
                sample = push(clone)
                if measured:
                    samples[kind].append(sample)
        check(clones["hook"])
    plain = [sample.wall for sample in samples["none"]]
    figures: dict[str, float | str] = {}
    for kind in kinds[1:]:
        pairs = zip(samples[kind], plain, strict=True)
        extra = statistics.median(sample.wall - wall for sample, wall in pairs)
        limit = f" (limit {LIMIT * 1000:.0f})" if kind == "hook" else ""
        figures[f"{kind}: ms over plain git push{limit}"] = extra * 1000
    medians = {f"git push, {kind}": median(each) for kind, each in samples.items()}
    report("pre-push hook, push without relevant changes", medians, figures)


if __name__ == "__main__":
    main()
