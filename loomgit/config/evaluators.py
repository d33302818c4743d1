"""Evaluators in a file: the faults that depend on their type, and the definitions made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.config.document import Document, Path, Tree, quote
from loomgit.config.evaluator_model import (
    CONFIGS,
    ONE_OF,
    OWN_FUNCTION,
    EvaluatorModel,
    config_model,
)
from loomgit.config.parts import check, ready
from loomgit.config.scalars import parse_number
from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.words import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from loomgit.domain.place import Problem
    from loomgit.domain.values import JsonObject

BESIDE = ("threshold", "criteria")  # what may stand in `config` and beside it, but only once


def evaluator_faults(document: Document, path: Path, known: Collection[str]) -> Iterator[Problem]:
    """The faults of the evaluator at `path` that its model cannot see; `known` are plugins'."""
    written = document.find(path)
    short = isinstance(written, str)
    kind = written if short else document.find((*path, "type"))
    if not isinstance(kind, str):
        return
    own = kind not in CONFIGS and (OWN_FUNCTION.fullmatch(kind) is not None or kind in known)
    if kind not in CONFIGS and not own:
        listed = f"one of: {', '.join([*CONFIGS, *sorted(known)])}, or path/to/file.py:function"
        hint = did_you_mean(kind, [*CONFIGS, *known]) or listed
        if ".py" in kind:
            hint = "write path/to/file.py:function"
        yield document.problem(
            path if short else (*path, "type"),
            f"unknown evaluator {quote(kind)}",
            hint,
        )
        return
    config = document.find((*path, "config"))
    if isinstance(config, str | list):
        return  # the model says that this should be a map
    found = check(config_model(kind), document, (*path, "config"))
    if isinstance(found, list):
        yield from found
    yield from _doubled(document, path)
    if not own:
        yield from _incomplete(document, path, kind, config or {})


def _doubled(document: Document, path: Path) -> Iterator[Problem]:
    for key in BESIDE:
        if None not in (document.find((*path, key)), document.find((*path, "config", key))):
            yield document.problem(
                (*path, "config", key), f"'{key}' stands beside config too", "write it once"
            )


def _incomplete(
    document: Document, path: Path, kind: str, config: dict[str, Tree]
) -> Iterator[Problem]:
    one_of = ONE_OF.get(kind, ())
    where = (*path, "config")
    if one_of and not any(document.find((*where, key)) is not None for key in one_of):
        *others, last = (f"'{key}'" for key in one_of)
        needs = f"{', '.join(others)} or {last}"
        yield document.problem(path, f"{kind} needs {needs} in its config")
    if kind == "custom_criteria" and not any(
        document.find((*at, "criteria")) is not None for at in (path, where)
    ):
        yield document.problem(path, "custom_criteria needs 'criteria'")
    low, high = (parse_number(str(config.get(key, ""))) for key in ("min", "max"))
    if low is not None and high is not None and low > high:
        yield document.problem((*where, "min"), f"'min' {low:g} is above 'max' {high:g}")


def duplicate_names(
    document: Document, paths: Sequence[Path], key: str = "name", otherwise: str | None = "type"
) -> Iterator[Problem]:
    """The faults of things called the same; without `key`, the value at `otherwise` is the name."""
    first: dict[str, Path] = {}
    for path in paths:
        written = document.find(path)
        name = written if isinstance(written, str) else document.find((*path, key))
        if name is None and otherwise is not None:
            name = document.find((*path, otherwise))
        if not isinstance(name, str):
            continue
        if name in first:
            line = document.place(first[name]).line
            yield document.problem(
                path,
                f"the name {quote(name)} is taken on line {line}",
                "give it another name",
            )
        else:
            first[name] = path


def evaluator_spec(model: EvaluatorModel) -> EvaluatorSpec:
    """The definition of an evaluator whose faults have been looked for."""
    config = _config(model)
    threshold, criteria = config.pop("threshold", None), config.pop("criteria", None)
    default = EvaluatorSpec(name=model.name or model.type, type=model.type)
    if model.threshold is not None:
        threshold = model.threshold
    return EvaluatorSpec(
        name=default.name,
        type=model.type,
        threshold=default.threshold if threshold is None else float(str(threshold)),
        weight=model.weight,
        criteria=model.criteria or (None if criteria is None else str(criteria)),
        config=config,
    )


def _config(model: EvaluatorModel) -> JsonObject:
    parsed = ready(config_model(model.type)).model_validate(model.config or {})
    return parsed.model_dump(by_alias=True, exclude_unset=True)
