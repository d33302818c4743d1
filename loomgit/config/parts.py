"""The ground of all models of files: pydantic reads, its faults become Problems in plain words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, model_validator

from loomgit.config.document import Document, Path, describe, is_null
from loomgit.config.scalars import Wrong
from loomgit.domain.words import did_you_mean, nearest
from loomgit.errors import ProblemsFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from loomgit.domain.place import Problem

MARK = "\0"  # begins the tags of unions: YAML has no such character, so no key is taken for one
NO_PLUGINS = "PYDANTIC_DISABLE_PLUGINS"
LIST, MAP, TEXT = f"{MARK}a list", f"{MARK}a map", f"{MARK}text"


class Part(BaseModel):
    """A map of a file: unknown keys are faults, a key with nothing behind it counts as absent."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=(), defer_build=True
    )

    @classmethod
    def keys(cls) -> list[str]:
        """The keys as users write them."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="before")
    @classmethod
    def without_nulls(cls, data: object, info: ValidationInfo) -> object:
        """Leave out what is null, and remember which model judged this map."""
        if not isinstance(data, dict):
            return data
        if info.context is not None:
            info.context[id(data)] = cls
        if not any(map(is_null, data.values())):
            return data
        known = set(cls.keys())
        return {k: v for k, v in data.items() if not (k in known and is_null(v))}


def shape(value: object) -> str:
    """The tag of a union's branch by what was written."""
    if isinstance(value, dict):
        return MAP
    return LIST if isinstance(value, list) else TEXT


AnyPart = TypeVar("AnyPart", bound=Part)


def ready(model: type[AnyPart]) -> type[AnyPart]:
    """The model, built on its first use.

    Building asks pydantic's plugins, and loading them costs 1.5 s where logfire is installed, which
    comes with arbiter-ai. They have no business here, so they are off for as long as it takes; the
    models of whoever shares this process keep theirs.
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


def check(model: type[AnyPart], document: Document, at: Path = ()) -> AnyPart | list[Problem]:
    """Read the map at `at`: the model's value, or every fault in it."""
    judges: dict[int, type[Part]] = {}
    tree = document.find(at)
    try:
        return ready(model).model_validate({} if tree is None else tree, context=judges)
    except ValidationError as error:
        details = error.errors(include_url=False)
        paths = [_path(detail, at) for detail in details]
        meant = {
            (*path[:-1], nearest(str(path[-1]), _keys(document, path, judges)))
            for detail, path in zip(details, paths, strict=True)
            if detail["type"] == "extra_forbidden"
        }
        return [
            _problem(detail, path, document, judges)
            for detail, path in zip(details, paths, strict=True)
            # A misspelt key is one fault, not an unknown key and a missing one.
            if not (detail["type"] == "missing" and path in meant)
        ]


def _path(error: ErrorDetails, at: Path) -> Path:
    return (*at, *(step for step in error["loc"] if not str(step).startswith(MARK)))


def _keys(document: Document, path: Path, judges: dict[int, type[Part]]) -> list[str]:
    judge = judges.get(id(document.find(path[:-1])))
    return judge.keys() if judge else []


def _problem(
    error: ErrorDetails, path: Path, document: Document, judges: dict[int, type[Part]]
) -> Problem:
    kind, value = error["type"], error["input"]
    context: dict[str, Any] = error.get("ctx", {})  # pydantic's own type for it
    wrong = context.get("error")
    if isinstance(wrong, Wrong):
        return document.problem((*path, *wrong.within), str(wrong), wrong.hint)
    if kind == "extra_forbidden":
        return unknown_key(document, path, _keys(document, path, judges))
    if kind == "missing":
        return missing_key(document, path)
    if kind == "union_tag_not_found":
        meant = [key for key in value if nearest(key, ["type"]) and key not in ("name", "type")]
        if meant:
            return unknown_key(document, (*path, meant[0]), ["type"])
        return missing_key(document, (*path, "type"))
    if kind == "union_tag_invalid":
        return _no_branch(document, path, value, str(context["expected_tags"]))
    if kind == "too_short":
        return document.problem(path, "expected at least one item, found none")
    what = {"model_type": "a map", "dict_type": "a map", "tuple_type": "a list"}[kind]
    hint = None
    if what == "a list" and isinstance(value, str) and not is_null(value):
        hint = f"write [{value}]" if len(value) < 40 and "," not in value else "write a list"
    return document.problem(path, f"expected {what}, found {describe(value)}", hint)


def _no_branch(document: Document, path: Path, value: object, tags: str) -> Problem:
    options = [tag.strip("'\" ").replace("\\x00", "").strip(MARK) for tag in tags.split(",")]
    if all(MARK + option in (LIST, MAP, TEXT) for option in options):
        return document.problem(path, f"expected {' or '.join(options)}, found {describe(value)}")
    if not isinstance(value, dict):
        return document.problem(path, f"expected a map, found {describe(value)}")
    found = value.get("type")
    at = (*path, "type")
    if not isinstance(found, str) or is_null(found):
        return document.problem(at, f"expected a type, found {describe(found)}")
    hint = did_you_mean(found, options) or f"one of: {', '.join(options)}"
    return document.problem(at, f"unknown type '{found}'", hint)


def unknown_key(document: Document, path: Path, keys: Iterable[str]) -> Problem:
    """The fault of a key that nobody reads."""
    keys = list(keys)
    hint = did_you_mean(str(path[-1]), keys)
    if hint is None and keys:
        hint = f"the keys here: {', '.join(keys)}"
    return document.problem(path, "unknown key", hint)


def missing_key(document: Document, path: Path) -> Problem:
    """The fault of a required key: at its parent, or at itself where nothing is written."""
    if document.has(path):
        return document.problem(path, "expected a value, found nothing")
    return document.problem(path[:-1], f"missing key '{path[-1]}'")


def all_of(problems: Iterable[Problem]) -> ProblemsFound:
    """The error with all problems in the order of the file, none twice."""
    unique = dict.fromkeys(problems)
    return ProblemsFound(sorted(unique, key=lambda p: (p.place.line, p.place.column, p.message)))
