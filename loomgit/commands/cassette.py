"""`loom cassette verify|prune`: verifies or prunes recorded replies, which Git tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from loomgit.commands.options import Common, common
from loomgit.domain.suggestions import suggest_or_list
from loomgit.errors import ProblemsFound, UserError

if TYPE_CHECKING:
    from pathlib import Path

    from loomgit.api import Project
    from loomgit.domain.place import Problem
    from loomgit.gateway.cassette import Cassette
    from loomgit.wiring.project import Wiring

FOLDER = ".loom/cassettes"
NAMES = click.argument("pipelines", nargs=-1, metavar="[PIPELINE...]")


@click.group("cassette")
def command() -> None:
    """Verify or prune recorded replies in .loom/cassettes."""


@command.command("verify")
@NAMES
@common
def verify(options: Common, pipelines: tuple[str, ...]) -> None:
    """Check that every line is intact and every reply matches its request."""
    cassettes = _open(options.project(), pipelines)
    console = options.console
    for name, cassette in cassettes.items():
        console.answer(f"{cassette.shown}: {_counted(len(cassette.entries))}")
        for origin in sorted({entry.origin for entry in cassette.entries.values()}):
            count = sum(entry.origin == origin for entry in cassette.entries.values())
            if console.verbose:
                console.print(f"  {name} at {origin}: {_counted(count)}")
    if not cassettes:
        console.answer("no recorded replies")
    counts = {name: len(cassette.entries) for name, cassette in cassettes.items()}
    console.document({"schema_version": 1, "cassettes": counts})


@command.command("prune")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, without removing it.")
@NAMES
@common
def prune(options: Common, dry_run: bool, pipelines: tuple[str, ...]) -> None:
    """Remove replies that the current prompt and context do not use.

    Run the tests with `--replay auto` first, because this marks the replies that the tests use. If
    a pipeline no longer exists, its whole cassette is removed.
    """
    project, console = options.project(), options.console
    show = console.answer if dry_run else console.print
    wiring = project.wiring
    known = project.pipeline_names()
    removed: dict[str, int] = {}
    for name, cassette in _open(project, pipelines).items():
        origin = _origin(project, wiring, name) if name in known else None
        unused = [key for key, entry in cassette.entries.items() if entry.origin != origin]
        removed[name] = len(unused)
        remaining = len(cassette.entries) - len(unused)
        if not dry_run and not remaining:
            cassette.path.unlink()
        elif not dry_run:
            cassette.remove(unused)
        verb, keep = ("would remove", "keep") if dry_run else ("removed", "kept")
        show(f"{cassette.shown}: {verb} {_counted(len(unused))}, {keep} {remaining:,}")
    if not removed:
        show("no recorded replies")
    console.document({"schema_version": 1, "dry_run": dry_run, "removed": removed})


def _open(project: Project, names: tuple[str, ...]) -> dict[str, Cassette]:
    """Open the cassettes of the pipelines `names` (all if empty); return them by pipeline name.

    Raises UserError if a pipeline has no cassette, and ProblemsFound if cassettes are damaged.
    """
    from loomgit.gateway.cassette import Cassette  # noqa: PLC0415 - keeps `--help` fast

    files = _files(project.root)
    problems: list[Problem] = []
    opened: dict[str, Cassette] = {}
    for name in names or sorted(files):
        if name not in files:
            hint = suggest_or_list(name, files, "recorded")
            raise UserError(f"the pipeline {name} has no recorded replies", hint=hint)
        try:
            opened[name] = Cassette(files[name], f"{FOLDER}/{name}.jsonl")
        except ProblemsFound as damaged:
            problems += damaged.problems
    if problems:
        raise ProblemsFound(problems)
    return opened


def _files(root: Path) -> dict[str, Path]:
    return {path.stem: path for path in (root / FOLDER).glob("*.jsonl")}


def _origin(project: Project, wiring: Wiring, name: str) -> str:
    """Return the hash of a pipeline's current prompt and context. Raises LoomError."""
    from loomgit.gateway.cassette import hash_origin  # noqa: PLC0415 - keeps `--help` fast

    transform = project.pipeline(name).transform
    if transform.prompt is None:
        return hash_origin("", {})  # a pipeline without a transform
    paths = [(transform.prompt, transform.prompt_version)]
    paths += [(file.path, file.version) for file in transform.context]
    files = []
    for file_or_error in wiring.versions.read_all(paths):
        if isinstance(file_or_error, UserError):
            raise file_or_error
        files.append(file_or_error)
    prompt, *context = files
    return hash_origin(prompt.blob, {file.path: file.blob for file in context})


def _counted(count: int) -> str:
    return f"{count:,} {'reply' if count == 1 else 'replies'}"
