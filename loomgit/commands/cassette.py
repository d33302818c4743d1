"""`loom cassette verify|prune`: the recorded replies that Git tracks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from loomgit.commands.options import Common, common
from loomgit.domain.words import one_of
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
    """Check or tidy up the recorded replies under .loom/cassettes."""


@command.command("verify")
@NAMES
@common
def verify(options: Common, pipelines: tuple[str, ...]) -> None:
    """Check that every line is whole and every reply belongs to its request."""
    cassettes = _open(options.project(), pipelines)
    console = options.console
    for name, cassette in cassettes.items():
        console.answer(f"{cassette.shown}: {_counted(len(cassette.entries))}")
        for origin in sorted({entry.origin for entry in cassette.entries.values()}):
            count = sum(entry.origin == origin for entry in cassette.entries.values())
            if console.verbose:
                console.print(f"  {name} at {origin}: {_counted(count)}")
    if not cassettes:
        console.answer("nothing is recorded")
    counts = {name: len(cassette.entries) for name, cassette in cassettes.items()}
    console.document({"schema_version": 1, "cassettes": counts})


@command.command("prune")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@NAMES
@common
def prune(options: Common, dry_run: bool, pipelines: tuple[str, ...]) -> None:
    """Remove replies that were last asked for by another state of the prompt or its context.

    A session with replay `auto` marks what it asks for, so run one before. The cassette of a
    pipeline that is gone is removed whole.
    """
    from loomgit.wiring.project import Wiring  # noqa: PLC0415 - `--help` must not pay for it

    project, console = options.project(), options.console
    wiring = Wiring(project.root, os.environ, console.warn)
    known = project.pipeline_names()
    removed: dict[str, int] = {}
    for name, cassette in _open(project, pipelines).items():
        origin = _origin(project, wiring, name) if name in known else None
        gone = [key for key, entry in cassette.entries.items() if entry.origin != origin]
        removed[name] = len(gone)
        stay = len(cassette.entries) - len(gone)
        if not dry_run and not stay:
            cassette.path.unlink()
        elif not dry_run:
            cassette.remove(gone)
        verb = "would remove" if dry_run else "removed"
        console.answer(f"{cassette.shown}: {verb} {_counted(len(gone))}, {stay:,} stay")
    if not removed:
        console.answer("nothing is recorded")
    console.document({"schema_version": 1, "dry_run": dry_run, "removed": removed})


def _open(project: Project, names: tuple[str, ...]) -> dict[str, Cassette]:
    """The cassettes by pipeline. Raises ProblemsFound with the damage of all of them."""
    from loomgit.gateway.cassette import Cassette  # noqa: PLC0415 - as above

    files = _files(project.root)
    problems: list[Problem] = []
    opened: dict[str, Cassette] = {}
    for name in names or sorted(files):
        if name not in files:
            hint = one_of(name, files, "recorded")
            raise UserError(f"nothing is recorded for the pipeline {name}", hint=hint)
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
    """The mark of what the pipeline would ask now."""
    from loomgit.gateway.cassette import origin_of  # noqa: PLC0415 - as above

    transform = project.pipeline(name).transform
    asked = [(transform.prompt or "", transform.prompt_version)]
    asked += [(file.path, file.version) for file in transform.context]
    blobs = []
    for found in wiring.versions.read_all(asked):
        if isinstance(found, UserError):
            raise found
        blobs.append(found)
    prompt, *context = blobs
    return origin_of(prompt.blob, {file.path: file.blob for file in context})


def _counted(count: int) -> str:
    return f"{count:,} {'reply' if count == 1 else 'replies'}"
