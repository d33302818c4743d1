"""`loom init`: a project that runs at once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from loomgit.commands.options import Common, common
from loomgit.errors import UserError

if TYPE_CHECKING:
    from loomgit.commands.options import Console
    from loomgit.history.repository import Repository
    from loomgit.scaffold.project import File


@click.command("init")
@click.option("--github", is_flag=True, help="Also the workflows that guard pull requests.")
@click.option("--hooks", is_flag=True, help="Also the Git hook that guards pushes.")
@click.option("--pre-commit", is_flag=True, help="Also what the pre-commit framework needs.")
@common
def command(options: Common, github: bool, hooks: bool, pre_commit: bool) -> None:
    """Make a small project that runs at once, offline; nothing that is there is changed.

    Without a Git repository around it one is made. A folder that has pipelines already gets no
    example, only what it lacks besides.
    """
    from loomgit.scaffold.install_source import (  # noqa: PLC0415 - `--help` must not pay for it
        find_install_source,
    )
    from loomgit.scaffold.project import (  # noqa: PLC0415 - as above
        EXAMPLE,
        framework_files,
        github_files,
        project_files,
    )

    root = (options.folder or Path.cwd()).resolve()
    console = options.console
    repository = _repository(root, console)
    project = repository.in_repository(".")
    example = not any((root / "pipelines").glob("*.yaml"))
    wanted: list[File] = list(project_files(example=example))
    source = find_install_source()
    workflows = list(github_files(project, source)) if github else []
    wanted += workflows
    if pre_commit:
        wanted += framework_files(project, source)
    made, left = _make(root, repository.worktree, wanted, console)
    fill_in = [os.path.relpath(repository.worktree / file.path, root) for file in workflows]
    fill_in = [path for path in fill_in if source.is_local and path in made]
    installed: list[str] = []
    if hooks:
        from loomgit.api import Project  # noqa: PLC0415 - as above
        from loomgit.commands.hooks import put_hooks  # noqa: PLC0415 - as above

        installed = put_hooks(Project(root, warn=console.warn).wiring, ["pre-push"], console)
    if fill_in:
        console.warn(
            f"Loom is installed from {source.requirement}, which only this machine has: "
            f"fill in the line PACKAGE of {' and '.join(fill_in)}"
        )
    if example:
        console.print("")
        console.print(f"Now: loom run {EXAMPLE}, and pytest --loom")
    console.document(
        {
            "schema_version": 1,
            "made": made,
            "left": left,
            "fill_in": fill_in,
            "hooks": installed,
            "example": example,
        }
    )


def _repository(root: Path, console: Console) -> Repository:
    from loomgit.history.command import GitCommand  # noqa: PLC0415 - as above
    from loomgit.history.repository import Repository  # noqa: PLC0415 - as above

    try:
        return Repository.open(root)
    except UserError as error:
        if "bare repository" in error.message:
            raise
    GitCommand(root, os.environ).run("init", "--quiet")
    console.print("made   a Git repository")
    return Repository.open(root)


def _make(
    root: Path, top: Path, wanted: list[File], console: Console
) -> tuple[list[str], list[str]]:
    """Make what is not there; the paths that were made, and those that were left."""
    from loomgit.scaffold.project import put  # noqa: PLC0415 - as above

    made: list[str] = []
    left: list[str] = []
    for file in wanted:
        whole = (top if file.top else root) / file.path
        shown = os.path.relpath(whole, root)
        if put(whole, file.text):
            made.append(shown)
            console.print(f"made   {shown}")
            continue
        left.append(shown)
        same = whole.is_file() and whole.read_bytes() == file.text.encode()
        console.print(f"left   {shown}: it is there already{'' if same else _advice(file)}")
    return made, left


def _advice(file: File) -> str:
    """What to do by hand about a file that is somebody else's."""
    if file.path == ".gitignore":
        return "; add /out/ to it"
    if file.path == ".pre-commit-config.yaml":
        return "; the hook to add is in docs/hooks.md"
    return ""
