"""The files of a new project: an example pipeline that runs without changes, the configuration,
and the files that GitHub and the pre-commit framework need to check the project."""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.config.schema import KINDS, json_schema
from loomgit.errors import WorldError
from loomgit.history.atomic_files import write_new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loomgit.scaffold.install_source import InstallSource

EXAMPLE = "reviews"  # the name of the example pipeline
# The pipeline file is written last. `loom init` adds no example to a project that has a pipeline.
# Because of this order, `loom init` can complete an example after an interruption.
EXAMPLE_FILES = {
    "prompts/classify_review.txt": "prompt.txt",
    "context/sentiment.md": "context.md",
    "data/reviews.csv": "data.csv",
    f"tests/{EXAMPLE}_test.yaml": "test.yaml",
    ".gitignore": "gitignore",
    f"pipelines/{EXAMPLE}.yaml": "pipeline.yaml",
}
CONFIG_FILES = {".loom/config.yaml": "config.yaml"}
GITHUB_FILES = {
    ".github/workflows/loom.yml": "loom.yml",
    ".github/workflows/loom-comment.yml": "loom-comment.yml",
}
FILL_IN = '"" # FILL IN what pip installs, for example "loom-aietl @ git+https://HOST/OWNER/REPOSITORY@COMMIT"'
FRAMEWORK_FILES = {".pre-commit-config.yaml": "pre-commit.yaml"}


class NewFile(Struct, frozen=True):
    """A file to write: its path and content.

    The path is relative to the top folder of the repository if `top` is true, else to the project.
    """

    path: str
    text: str
    top: bool = False


def project_files(*, example: bool) -> Iterator[NewFile]:
    """Yield the configuration and the schemas of a project.

    If `example` is true, also yield the files of the example pipeline.
    """
    for path, name in ((EXAMPLE_FILES if example else {}) | CONFIG_FILES).items():
        yield NewFile(path, _template(name))
    for kind in KINDS:
        text = json.dumps(json_schema(kind), indent=2, ensure_ascii=False)
        yield NewFile(f".loom/schemas/{kind}.json", f"{text}\n")


def github_files(project: str, source: InstallSource) -> Iterator[NewFile]:
    """Yield the GitHub workflows; `project` is the path of the project folder in its repository.

    The workflows install Loom from `source`. If only this machine has the source, the workflows
    contain a line that the user must complete.
    """
    package = FILL_IN if source.is_local else json.dumps(source.requirement)
    folder = "" if project == "." else f"{project}/"
    quoted = json.dumps(project, ensure_ascii=False)
    defaults = f"    defaults:\n      run:\n        working-directory: {quoted}\n"
    for path, name in GITHUB_FILES.items():
        text = _template(name).replace("@DEFAULTS@", defaults if folder else "")
        text = text.replace("@PREFIX@", folder).replace("@PACKAGE@", package)
        yield NewFile(path, text, top=True)


def framework_files(project: str, source: InstallSource) -> Iterator[NewFile]:
    """Yield the configuration of the pre-commit framework.

    The framework installs Loom from `source`. If only this machine has the source, the framework's
    hook runs the `loom` command on the PATH.
    """
    language = "        language: system # the installed `loom`\n"
    if not source.is_local:
        packages = f"[{json.dumps(source.requirement)}] # add what your evaluators import"
        language = f"        language: python\n        additional_dependencies: {packages}\n"
    option = "" if project == "." else f" --project {shlex.quote(project)}"
    entry = json.dumps(f"loom hooks run pre-push{option}", ensure_ascii=False)
    for path, name in FRAMEWORK_FILES.items():
        text = _template(name).replace("@ENTRY@", entry).replace("@LANGUAGE@", language)
        yield NewFile(path, text, top=True)


def write_if_absent(file: Path, text: str) -> bool:
    """Write a new file and return True, or return False if the file exists.

    An existing file does not change. Raises WorldError if the file cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorldError(f"{file} cannot be written: {error.strerror or error}") from error
    return write_new(file, text.encode())


def _template(name: str) -> str:
    return (files("loomgit.scaffold") / "templates" / name).read_text(encoding="utf-8")
