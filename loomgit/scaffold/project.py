"""The files of a new project: the configuration, a complete example pipeline, and the files with
which GitHub and the pre-commit framework check the project."""

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
# The keys are paths in the project, the values are names of templates. `loom init` adds the example
# only to a project that has no pipeline. Therefore, the pipeline file must be the last item: if
# `loom init` is interrupted, the next call can add the missing files.
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
    """A file to create: its path and its text.

    If `top` is true, the path is relative to the top folder of the repository. Otherwise, it is
    relative to the project folder.
    """

    path: str
    text: str
    top: bool = False


def project_files(*, example: bool) -> Iterator[NewFile]:
    """Yield the configuration file and the JSON Schema files of a project.

    If `example` is true, first yield the files of the example pipeline.
    """
    for path, name in ((EXAMPLE_FILES if example else {}) | CONFIG_FILES).items():
        yield NewFile(path, _template(name))
    for kind in KINDS:
        text = json.dumps(json_schema(kind), indent=2, ensure_ascii=False)
        yield NewFile(f".loom/schemas/{kind}.json", f"{text}\n")


def github_files(project: str, source: InstallSource) -> Iterator[NewFile]:
    """Yield the GitHub workflow files, which install Loom from `source`.

    `project` is the path of the project folder in its repository. If other machines cannot install
    from `source`, the workflows contain a line that the user must complete.
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
    """Yield the configuration file of the pre-commit framework, which runs Loom before a push.

    `project` is the path of the project folder in its repository. The framework installs Loom from
    `source`. If other machines cannot install from `source`, the framework runs the `loom` command
    that it finds on the PATH.
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
    """Create the file and return True. If the file exists, leave it unchanged and return False.

    Raises WorldError if the file cannot be created.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorldError(f"{file} cannot be written: {error.strerror or error}") from error
    return write_new(file, text.encode())


def _template(name: str) -> str:
    return (files("loomgit.scaffold") / "templates" / name).read_text(encoding="utf-8")
