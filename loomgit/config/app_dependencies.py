"""The pydantic model of `dependencies.yaml` in a version of an app, and its parser."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field

from loomgit.config.document import quote
from loomgit.config.file_model import FileModel, missing_key, problems_error, validate
from loomgit.config.scalars import (
    InvalidValue,
    Name,
    NonBlankText,
    Reader,
    choice,
    read_nonblank_text,
)
from loomgit.config.yaml_text import parse_yaml
from loomgit.domain.apps import Dependencies, LocalArtifact, SharedArtifact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loomgit.config.document import Document
    from loomgit.domain.place import Problem

# A hash that ends in dots is shortened. It loads, and differs from the hash of every file.
HASH = re.compile(r"(?:sha256:)?([0-9a-f]{64}|[0-9a-z]{1,63}\.\.\.)")
PREFIXES = ("/loopai-data/shared/", "/shared/")
FOLDERS = ("artifacts", "datasets")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def _read_hash(value: object) -> str:
    text = read_nonblank_text(value, "a hash")
    matched = HASH.fullmatch(text)
    if matched is None:
        raise InvalidValue(
            f"{quote(text)} is not a SHA-256 hash", "write sha256: and 64 hexadecimal digits"
        )
    return matched[1]


def _read_shared_path(value: object) -> str:
    """Return the path relative to the folder `shared`."""
    text = read_nonblank_text(value, "a path")
    prefix = next((each for each in PREFIXES if text.startswith(each)), None)
    parts = PurePosixPath(text.removeprefix(prefix or "")).parts
    if (
        prefix is None
        or ".." in parts
        or len(parts) < 2
        or parts[0] not in FOLDERS
        or _CONTROL.search(text)
    ):
        raise InvalidValue(
            f"{quote(text)} is not a path in /shared/artifacts or /shared/datasets",
            "for example /shared/artifacts/models/base-v1.pkl, which is the file "
            ".loom/shared/artifacts/models/base-v1.pkl",
        )
    return "/".join(parts)


def _read_local_path(value: object) -> str:
    text = read_nonblank_text(value, "a path")
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not path.parts or _CONTROL.search(text):
        raise InvalidValue(
            f"{quote(text)} is not a path in the folder of the version", "for example ./rules.json"
        )
    return path.as_posix()


Hash: TypeAlias = Annotated[str, Reader(_read_hash, {"type": "string", "pattern": "^(sha256:)?.+"})]
SharedPath: TypeAlias = Annotated[
    str,
    Reader(
        _read_shared_path,
        {"type": "string", "pattern": "^(/loopai-data)?/shared/(artifacts|datasets)/.+"},
    ),
]
LocalPath: TypeAlias = Annotated[
    str, Reader(_read_local_path, {"type": "string", "pattern": "^[^/]"})
]


class SharedArtifactModel(FileModel):
    """A shared file or folder that the program reads"""

    type: NonBlankText = Field(description="For example model or vectorizer")
    name: Name
    version: Name = Field(description="The pinned version, for example v2")
    path: SharedPath = Field(description="The path in /shared/artifacts or /shared/datasets")
    hash: Hash | None = Field(default=None, description="sha256: and 64 hexadecimal digits")
    sha256: Hash | None = Field(default=None, description="Another name of the key `hash`")
    update_policy: Annotated[Literal["pinned"], choice("update policy", ("pinned",))] = Field(
        default="pinned", description="pinned: the artifact is never updated automatically"
    )


class LocalArtifactModel(FileModel):
    """A file of the version that the program reads"""

    type: NonBlankText = Field(description="For example custom-rules")
    path: LocalPath = Field(description="The path relative to the folder of the version")
    description: NonBlankText | None = None


class DependenciesModel(FileModel):
    """Files that a version of an app depends on"""

    model_config = ConfigDict(title="Loom dependencies")

    shared_artifacts: tuple[SharedArtifactModel, ...] = Field(
        default=(), description="Files and folders in .loom/shared"
    )
    local_artifacts: tuple[LocalArtifactModel, ...] = Field(
        default=(), description="Files in the folder of the version"
    )


def parse_dependencies(text: str, path: str) -> Dependencies:
    """Parse a file `dependencies.yaml`, which can be empty. Raises ProblemsFound."""
    document = parse_yaml(text, path, may_be_empty=True)
    model = validate(DependenciesModel, document)
    if isinstance(model, list):
        raise problems_error([*document.problems, *model])
    problems = [*document.problems, *_hash_problems(model, document)]
    if problems:
        raise problems_error(problems)
    return Dependencies(
        tuple(
            SharedArtifact(
                type=item.type,
                name=item.name,
                version=item.version,
                path=item.path,
                sha256=item.hash or item.sha256 or "",
                place=document.place(("shared_artifacts", number)),
            )
            for number, item in enumerate(model.shared_artifacts)
        ),
        tuple(
            LocalArtifact(
                type=item.type,
                path=item.path,
                description=item.description or "",
                place=document.place(("local_artifacts", number, "path")),
            )
            for number, item in enumerate(model.local_artifacts)
        ),
    )


def _hash_problems(model: DependenciesModel, document: Document) -> Iterator[Problem]:
    """Yield the problems of artifacts with no hash, or with two different hashes."""
    for number, item in enumerate(model.shared_artifacts):
        at = ("shared_artifacts", number)
        if item.hash is None and item.sha256 is None:
            yield missing_key(document, (*at, "hash"))
        elif item.hash and item.sha256 and item.hash != item.sha256:
            yield document.problem((*at, "sha256"), "differs from the key 'hash'", "remove one")
