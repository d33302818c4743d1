"""Base class for the models of project files, and conversion of pydantic's errors to Problems."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator

from loomgit.config.document import Document, Path, describe, is_null
from loomgit.config.scalars import InvalidValue
from loomgit.domain.suggestions import did_you_mean, nearest
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from loomgit.domain.place import Problem

TAG_PREFIX = "\0"  # prefix of union tags; YAML forbids it, so no key in a file can equal a tag
NO_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"
LIST, MAP, TEXT = f"{TAG_PREFIX}a list", f"{TAG_PREFIX}a map", f"{TAG_PREFIX}text"


class FileModel(BaseModel):
    """A map in a file. Unknown keys are errors. A known key with a null value is removed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), defer_build=True
    )

    @classmethod
    def keys(cls) -> list[str]:
        """Return the known keys of the map. The key of a field is its alias, else its name."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, data: object, info: ValidationInfo) -> object:
        """Remove the known keys that are null.

        Also record in the validation context that this model validates this map.
        """
        if not isinstance(data, dict):
            return data
        if info.context is not None:
            info.context[id(data)] = cls
        if not any(map(is_null, data.values())):
            return data
        known = set(cls.keys())
        return {k: v for k, v in data.items() if not (k in known and is_null(v))}


def union_tag(value: object) -> str:
    """Return the tag of the union branch for a value: MAP, LIST or TEXT."""
    if isinstance(value, dict):
        return MAP
    return LIST if isinstance(value, list) else TEXT


AnyPart = TypeVar("AnyPart", bound=FileModel)


def build_model(model: type[AnyPart]) -> type[AnyPart]:
    """Build the pydantic model at its first use, and return it.

    Before a build, pydantic loads its plugins. This takes 1.5 s if logfire, a dependency of
    arbiter-ai, is installed. The models of files need no plugins, so plugins are disabled during
    the build. They are enabled again afterwards, because other models in this process may need
    plugins.
    """
    if not model.__pydantic_complete__:
        before = os.environ.get(NO_PLUGINS)
        os.environ[NO_PLUGINS] = "__all__"
        try:
            model.model_rebuild()
        finally:
            if before is None:
                del os.environ[NO_PLUGINS]
            else:
                os.environ[NO_PLUGINS] = before
    return model


def validate(model: type[AnyPart], document: Document, at: Path = ()) -> AnyPart | list[Problem]:
    """Validate the map at path `at`. Return an instance of `model`, or all problems of the map."""
    models_by_id: dict[int, type[FileModel]] = {}
    tree = document.find(at)
    try:
        return build_model(model).model_validate({} if tree is None else tree, context=models_by_id)
    except ValidationError as error:
        details = error.errors(include_url=False)
        paths = [_path(detail, at) for detail in details]
        intended = {
            (*path[:-1], nearest(str(path[-1]), _keys(document, path, models_by_id)))
            for detail, path in zip(details, paths, strict=True)
            if detail["type"] == "extra_forbidden"
        }
        return [
            _problem(detail, path, document, models_by_id)
            for detail, path in zip(details, paths, strict=True)
            # A misspelt required key is both unknown and missing. Report only the unknown key.
            if not (detail["type"] == "missing" and path in intended)
        ]


def _path(error: ErrorDetails, at: Path) -> Path:
    return (*at, *(step for step in error["loc"] if not str(step).startswith(TAG_PREFIX)))


def _keys(document: Document, path: Path, models_by_id: dict[int, type[FileModel]]) -> list[str]:
    """Return the known keys of the map that contains the key at `path`."""
    model = models_by_id.get(id(document.find(path[:-1])))
    return model.keys() if model else []


def _problem(
    error: ErrorDetails, path: Path, document: Document, models_by_id: dict[int, type[FileModel]]
) -> Problem:
    kind, value = error["type"], error["input"]
    context: dict[str, Any] = error.get("ctx", {})  # pydantic declares `ctx` with this type
    wrong = context.get("error")
    if isinstance(wrong, InvalidValue):
        return document.problem((*path, *wrong.within), str(wrong), wrong.hint)
    if kind == "extra_forbidden":
        return unknown_key(document, path, _keys(document, path, models_by_id))
    if kind == "missing":
        return missing_key(document, path)
    if kind == "union_tag_not_found":
        misspelt = [key for key in value if nearest(key, ["type"]) and key not in ("name", "type")]
        if misspelt:
            return unknown_key(document, (*path, misspelt[0]), ["type"])
        return missing_key(document, (*path, "type"))
    if kind == "union_tag_invalid":
        return _no_matching_branch(document, path, value, str(context["expected_tags"]))
    if kind == "too_short":
        return document.problem(path, "expected at least one item, found none")
    form = {"model_type": "a map", "dict_type": "a map", "tuple_type": "a list"}[kind]
    hint = None
    if form == "a list" and isinstance(value, str) and not is_null(value):
        hint = f"write [{value}]" if len(value) < 40 and "," not in value else "write a list"
    return document.problem(path, f"expected {form}, found {describe(value)}", hint)


def _no_matching_branch(document: Document, path: Path, value: object, tags: str) -> Problem:
    """Return the problem for a value that matches no branch of a union.

    `tags` is the part of pydantic's message that lists the tags of all branches.
    """
    options = [tag.strip("'\" ").replace("\\x00", "").strip(TAG_PREFIX) for tag in tags.split(",")]
    if all(TAG_PREFIX + option in (LIST, MAP, TEXT) for option in options):
        return document.problem(path, f"expected {' or '.join(options)}, found {describe(value)}")
    if not isinstance(value, dict):
        return document.problem(path, f"expected a map, found {describe(value)}")
    written_type = value.get("type")
    type_path = (*path, "type")
    if not isinstance(written_type, str) or is_null(written_type):
        return document.problem(type_path, f"expected a type, found {describe(written_type)}")
    hint = did_you_mean(written_type, options) or f"one of: {', '.join(options)}"
    return document.problem(type_path, f"unknown type '{written_type}'", hint)


def unknown_key(document: Document, path: Path, keys: Iterable[str]) -> Problem:
    """Return the problem for an unknown key.

    The hint contains the most similar key in `keys`, or all `keys` if none is similar.
    """
    keys = list(keys)
    hint = did_you_mean(str(path[-1]), keys)
    if hint is None and keys:
        hint = f"the known keys are: {', '.join(keys)}"
    return document.problem(path, "unknown key", hint)


def missing_key(document: Document, path: Path) -> Problem:
    """Return the problem for a required key that is missing or null.

    If the key is null, the problem has the position of the key. If the key is missing, the problem
    has the position of the map.
    """
    if document.has(path):
        return document.problem(path, "expected a value, found nothing")
    return document.problem(path[:-1], f"missing key '{path[-1]}'")


def problems_error(problems: Iterable[Problem]) -> ProblemsFound:
    """Return one error with all problems, without duplicates, sorted by position in the file."""
    unique = dict.fromkeys(problems)
    return ProblemsFound(sorted(unique, key=lambda p: (p.place.line, p.place.column, p.message)))
