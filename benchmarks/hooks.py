"""What the pre-push hook costs where nothing relevant has changed: `git push` without a hook, with
ours, with one that only starts Python, and through the pre-commit framework where that is there.

Each push brings one new commit to a bare repository on the same disk; all kinds take turns. The
project has 60 pipelines with a prompt and a data set each, among 2,000 other files.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import PYTHON, ROOT, Sample, report, run

sys.path.insert(0, str(ROOT))
from tests.projects import PIPELINE, PROMPT, REVIEWS, TAXONOMY
from tests.repos import CLEAN, commit, git, make

LIMIT = 0.030  # seconds that a push may take longer
PIPELINES = 60
FILES = 2000
FRAMEWORK = """\
repos:
  - repo: local
    hooks:
      - {id: nothing, name: nothing, entry: "true", language: system, always_run: true,
         pass_filenames: false, stages: [pre-push]}
"""


def project() -> dict[str, str | bytes]:
    files: dict[str, str | bytes] = {"context/taxonomy.md": TAXONOMY}
    for number in range(PIPELINES):
        text = PIPELINE.replace("name: demo", f"name: p{number}")
        text = text.replace("prompts/classify", f"prompts/p{number}")
        text = text.replace("data/reviews", f"data/p{number}")
        files[f"pipelines/p{number}.yaml"] = text
        files[f"prompts/p{number}.txt"] = PROMPT
        files[f"data/p{number}.csv"] = REVIEWS
    return files | {f"src/{n % 50}/module_{n}.py": f"NUMBER = {n}\n" for n in range(FILES)}


def prepare(folder: Path, kind: str) -> Path:
    """A clone with a remote of its own and the hook of this kind."""
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
        hook.write_text(f"#!{PYTHON}\n")
        hook.chmod(0o755)
    elif kind == "framework":
        (clone / ".pre-commit-config.yaml").write_text(FRAMEWORK)
        git(clone, "config", "user.name", "x")
        subprocess.run(
            ["pre-commit", "install", "--hook-type", "pre-push"],
            cwd=clone, check=True, capture_output=True,
        )  # fmt: skip
    return clone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    kinds = ["none", "hook", "python", *(["framework"] if shutil.which("pre-commit") else [])]
    taken: dict[str, list[Sample]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        commit(make(folder / "source"), project())
        clones = {kind: prepare(folder, kind) for kind in kinds}
        for clone in clones.values():
            git(clone, "config", "user.name", "x")
            git(clone, "config", "user.email", "x@example.org")
        for number in range(rounds + 1):
            for kind, clone in clones.items():
                (clone / "src/0/module_0.py").write_text(f"NUMBER = {number} + 1\n")
                git(clone, "commit", "--quiet", "-am", "Change")
                sample = run(["git", "push", "--quiet", "origin", "main"], clone, CLEAN)
                if number:  # the first does not count
                    taken[kind].append(sample)
    plain = [sample.wall for sample in taken["none"]]
    figures: dict[str, float | str] = {}
    for kind in kinds[1:]:
        pairs = zip(taken[kind], plain, strict=True)
        extra = statistics.median(sample.wall - wall for sample, wall in pairs)
        limit = f" (limit {LIMIT * 1000:.0f})" if kind == "hook" else ""
        figures[f"{kind}: ms over plain git push{limit}"] = extra * 1000
    medians = {
        f"git push, {kind}": Sample(
            statistics.median(s.wall for s in samples),
            statistics.median(s.cpu for s in samples),
            statistics.median(s.peak for s in samples),
        )
        for kind, samples in taken.items()
    }
    report("pre-push hook, nothing relevant changed", medians, figures)


if __name__ == "__main__":
    main()
