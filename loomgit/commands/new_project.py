"""Creates the files of `loom init`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from loomgit.api import Project
from loomgit.commands.hook_runs import install_hooks
from loomgit.errors import UserError
from loomgit.history.git_command import GitCommand
from loomgit.history.repository import Repository
from loomgit.scaffold.install_source import find_install_source
from loomgit.scaffold.project import (
    EXAMPLE,
    framework_files,
    github_files,
    project_files,
    write_if_absent,
)

if TYPE_CHECKING:
    from loomgit.commands.options import Common, Console
    from loomgit.scaffold.project import NewFile


def create_project(options: Common, *, github: bool, hooks: bool, pre_commit: bool) -> None:
    """Create the missing files and print what was done. Raises UserError or WorldError."""
    root = (options.folder or Path.cwd()).resolve()
    console = options.console
    repository = _open_repository(root, console)
    project = repository.in_repository(".")
    example = not any((root / "pipelines").glob("*.yaml"))
    wanted: list[NewFile] = list(project_files(example=example))
    source = find_install_source()
    workflows = list(github_files(project, source)) if github else []
    wanted += workflows
    if pre_commit:
        wanted += framework_files(project, source)
    created, existing = _create_files(root, repository.worktree, wanted, console)
    fill_in = [os.path.relpath(repository.worktree / file.path, root) for file in workflows]
    fill_in = [path for path in fill_in if source.is_local and path in created]
    installed: list[str] = []
    if hooks:
        installed = install_hooks(Project(root, warn=console.warn).wiring, ["pre-push"], console)
    if fill_in:
        console.warn(
            f"Loom is installed from {source.requirement}, which exists only on this machine: "
            f"set PACKAGE in {' and '.join(fill_in)}"
        )
    if example:
        console.print("")
        console.print(f"Next steps: loom run {EXAMPLE}, pytest --loom")
    console.document(
        {
            "schema_version": 1,
            "made": created,
            "left": existing,
            "fill_in": fill_in,
            "hooks": installed,
            "example": example,
        }
    )


def _open_repository(root: Path, console: Console) -> Repository:
    try:
        return Repository.open(root)
    except UserError as error:
        if "bare repository" in error.message:
            raise
    GitCommand(root, os.environ).run("init", "--quiet")
    console.print("created  a Git repository")
    return Repository.open(root)


def _create_files(
    root: Path, top: Path, wanted: list[NewFile], console: Console
) -> tuple[list[str], list[str]]:
    """Create the missing files; return the paths of the created files and of the existing files."""
    created: list[str] = []
    existing: list[str] = []
    for file in wanted:
        whole = (top if file.top else root) / file.path
        shown = os.path.relpath(whole, root)
        if write_if_absent(whole, file.text):
            created.append(shown)
            console.print(f"created  {shown}")
            continue
        existing.append(shown)
        is_same = whole.is_file() and whole.read_bytes() == file.text.encode()
        console.print(f"skipped  {shown}: the file exists{'' if is_same else _advice(file)}")
    return created, existing


def _advice(file: NewFile) -> str:
    """Return advice about an existing file, or "" if the user need not add anything to the file."""
    if file.path == ".gitignore":
        return "; add /out/ to it"
    if file.path == ".pre-commit-config.yaml":
        return "; add the hook from docs/hooks.md"
    return ""
