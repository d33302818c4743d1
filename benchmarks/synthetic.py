"""Builds synthetic repositories with any number of commits, by `git fast-import`."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

PROMPTS = 60
FILES = 2_000
SCOPED_TAGS = 300
PLAIN_TAGS = 100
MERGE_EVERY = 40
START = 1_600_000_000


@dataclass(frozen=True)
class Synthetic:
    """A repository with its prompts, its scoped tags and its plain tags."""

    folder: Path
    prompts: list[str]
    scoped: list[str]
    plain: list[str]


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
    process = subprocess.run(command, cwd=folder, input=stdin, check=True, capture_output=True)
    return process.stdout.decode()


def build(folder: Path, commits: int) -> Synthetic:
    """Make a repository with this number of commits; every 40th commit is a merge."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    prompts = [f"prompts/prompt_{number:02d}.txt" for number in range(PROMPTS)]
    lines: list[str] = []
    for number in range(1, commits + 1):
        merge = number % MERGE_EVERY == 0
        parents = [number - 1, number - 3] if merge else [number - 1]
        _commit(lines, number, [p for p in parents if p > 0], _changes(number, prompts))
    scoped, plain = _tags(lines, commits, prompts)
    git(folder, "fast-import", "--quiet", stdin="".join(lines).encode())
    git(folder, "reset", "--quiet", "--hard")
    git(folder, "pack-refs", "--all")
    return Synthetic(folder, prompts, scoped, plain)


def _changes(number: int, prompts: list[str]) -> dict[str, str]:
    if number == 1:
        first = {f"src/part_{n % 40:02d}/file_{n:04d}.txt": f"file {n}\n" for n in range(FILES)}
        return first | {path: f"prompt {path}\n" for path in prompts}
    changes = {f"src/part_{number % 40:02d}/file_{number % FILES:04d}.txt": f"file at {number}\n"}
    if number % 5 == 0:
        path = prompts[number // 5 % len(prompts)]
        changes[path] = f"prompt {path} at {number}: {{{{ input.text }}}}\n"
    return changes


def _commit(lines: list[str], number: int, parents: list[int], changes: dict[str, str]) -> None:
    lines.append(f"commit refs/heads/main\nmark :{number}\n")
    lines.append(f"committer Ada <ada@example.org> {START + number * 600} +0000\ndata 1\nx\n")
    for word, parent in zip(("from", "merge"), parents, strict=False):
        lines.append(f"{word} :{parent}\n")
    for path, text in changes.items():
        lines.append(f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n")


def _tags(lines: list[str], commits: int, prompts: list[str]) -> tuple[list[str], list[str]]:
    """Add five scoped tags for each prompt, and 100 plain tags; return their names.

    A scoped tag is for one prompt; a plain tag is for the whole repository. The tags are spread
    over the history, but its last tenth has no plain tag. Every second scoped tag and all plain
    tags are annotated. Two of three prompts have a tag at their newest content.
    """
    scoped, plain = [], []
    turn = 5 * len(prompts)  # commits between two changes of one prompt
    for index, path in enumerate(prompts):
        last = (commits - 5 * index) // turn * turn + 5 * index
        for version in range(SCOPED_TAGS // len(prompts), 0, -1):
            back = (SCOPED_TAGS // len(prompts) - version) * turn * max(1, commits // 8_000)
            at = max(1, last - back - (turn if index % 3 == 0 else 0))
            name = f"{path.removesuffix('.txt')}@v{version}.0"
            _tag(lines, name, at, annotated=version % 2 == 0)
            scoped.append(name)
    for number in range(PLAIN_TAGS):
        name = f"v{number // 10}.{number % 10}"
        _tag(lines, name, 1 + commits * 9 // 10 * number // PLAIN_TAGS, annotated=True)
        plain.append(name)
    return scoped, plain


def _tag(lines: list[str], name: str, commit: int, *, annotated: bool) -> None:
    if annotated:
        tagger = f"tagger Ada <ada@example.org> {START} +0000"
        lines.append(f"tag {name}\nfrom :{commit}\n{tagger}\ndata 1\nx\n")
    else:
        lines.append(f"reset refs/tags/{name}\nfrom :{commit}\n\n")
