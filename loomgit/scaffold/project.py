"""A new project's files: a small pipeline with its prompt, context, data and tests, that runs as it
is; and what GitHub and the pre-commit framework need to guard it."""

from __future__ import annotations

import json
import shlex
from importlib.resources import files
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.config.schema import KINDS, json_schema
from loomgit.errors import WorldError
from loomgit.history.files import write_new

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from loomgit.scaffold.install_source import InstallSource

EXAMPLE = "reviews"  # the name of the pipeline
# The pipeline comes last: with a pipeline a project is no longer an empty one, and gets no example.
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


class File(Struct, frozen=True):
    """A file to be made: where, and what is in it; `top` says that it goes to the top of the
    repository and not to the project's folder."""

    path: str
    text: str
    top: bool = False


def project_files(*, example: bool) -> Iterator[File]:
    """Those of the project itself; with `example` a pipeline and what belongs to it."""
    for path, name in ((EXAMPLE_FILES if example else {}) | CONFIG_FILES).items():
        yield File(path, _template(name))
    for kind in KINDS:
        text = json.dumps(json_schema(kind), indent=2, ensure_ascii=False)
        yield File(f".loom/schemas/{kind}.json", f"{text}\n")


def github_files(project: str, source: InstallSource) -> Iterator[File]:
    """The workflows, for a project that is in this folder of its repository.

    They install Loom from `source`. A source that only this machine has leaves a line to fill in.
    """
    package = FILL_IN if source.is_local else json.dumps(source.requirement)
    folder = "" if project == "." else f"{project}/"
    quoted = json.dumps(project, ensure_ascii=False)
    place = f"    defaults:\n      run:\n        working-directory: {quoted}\n"
    for path, name in GITHUB_FILES.items():
        text = _template(name).replace("@DEFAULTS@", place if folder else "")
        text = text.replace("@PREFIX@", folder).replace("@PACKAGE@", package)
        yield File(path, text, top=True)


def framework_files(project: str, source: InstallSource) -> Iterator[File]:
    """The pre-commit framework's configuration.

    The framework installs Loom from `source`. If only this machine has the source, the hook runs
    the `loom` command on the PATH.
    """
    language = "        language: system # the installed `loom`\n"
    if not source.is_local:
        packages = f"[{json.dumps(source.requirement)}] # add what your evaluators import"
        language = f"        language: python\n        additional_dependencies: {packages}\n"
    option = "" if project == "." else f" --project {shlex.quote(project)}"
    entry = json.dumps(f"loom hooks run pre-push{option}", ensure_ascii=False)
    for path, name in FRAMEWORK_FILES.items():
        text = _template(name).replace("@ENTRY@", entry).replace("@LANGUAGE@", language)
        yield File(path, text, top=True)


def put(file: Path, text: str) -> bool:
    """Make a file; returns whether it was made: one that is there is left as it is.

    Raises WorldError where it cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorldError(f"{file} cannot be written: {error.strerror or error}") from error
    return write_new(file, text.encode())


def _template(name: str) -> str:
    return (files("loomgit.scaffold") / "templates" / name).read_text(encoding="utf-8")
