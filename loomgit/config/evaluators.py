"""Check the evaluators in a file against the rules of their types, and convert them to definitions.

The types and their `config` are in `loomgit.config.evaluator_model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.config.document import Document, Path, Tree, quote
from loomgit.config.evaluator_model import (
    CONFIGS,
    REQUIRED_ONE_OF,
    USER_FUNCTION,
    EvaluatorModel,
    config_model,
)
from loomgit.config.file_model import build_model, validate
from loomgit.config.scalars import parse_number
from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from loomgit.domain.place import Problem
    from loomgit.domain.values import JsonObject

KEYS_IN_CONFIG_OR_EVALUATOR = (
    "threshold",
    "criteria",
)  # each key may be set in the evaluator or in its `config`, but not in both


def evaluator_problems(document: Document, path: Path, known: Collection[str]) -> Iterator[Problem]:
    """Yield the problems of the evaluator at `path` that its pydantic model cannot detect.

    `known` contains the evaluator types that plugins provide.
    """
    value = document.find(path)
    is_short_form = isinstance(value, str)
    kind = value if is_short_form else document.find((*path, "type"))
    if not isinstance(kind, str):
        return
    is_built_in = kind in CONFIGS
    if not is_built_in and USER_FUNCTION.fullmatch(kind) is None and kind not in known:
        types = f"one of: {', '.join([*CONFIGS, *sorted(known)])}, or path/to/file.py:function"
        hint = did_you_mean(kind, [*CONFIGS, *known]) or types
        if ".py" in kind:
            hint = "write path/to/file.py:function"
        yield document.problem(
            path if is_short_form else (*path, "type"),
            f"unknown evaluator {quote(kind)}",
            hint,
        )
        return
    config = document.find((*path, "config"))
    if isinstance(config, str | list):
        return  # the pydantic model already reports that `config` is not a map
    checked = validate(config_model(kind), document, (*path, "config"))
    if isinstance(checked, list):
        yield from checked
    yield from _repeated_keys(document, path)
    if is_built_in:
        yield from _config_problems(document, path, kind, config or {})


def _repeated_keys(document: Document, path: Path) -> Iterator[Problem]:
    for key in KEYS_IN_CONFIG_OR_EVALUATOR:
        if None not in (document.find((*path, key)), document.find((*path, "config", key))):
            yield document.problem(
                (*path, "config", key),
                f"'{key}' is set twice: in the evaluator and in its config",
                "remove one of them",
            )


def _config_problems(
    document: Document, path: Path, kind: str, config: dict[str, Tree]
) -> Iterator[Problem]:
    keys = REQUIRED_ONE_OF.get(kind, ())
    config_path = (*path, "config")
    if keys and not any(document.find((*config_path, key)) is not None for key in keys):
        *others, last = (f"'{key}'" for key in keys)
        needs = f"{', '.join(others)} or {last}"
        yield document.problem(path, f"{kind} needs {needs} in its config")
    if kind == "custom_criteria" and not any(
        document.find((*parent, "criteria")) is not None for parent in (path, config_path)
    ):
        yield document.problem(path, "custom_criteria needs 'criteria'")
    low, high = (parse_number(str(config.get(key, ""))) for key in ("min", "max"))
    if low is not None and high is not None and low > high:
        message = f"'min' {low:g} is greater than 'max' {high:g}"
        yield document.problem((*config_path, "min"), message)


def duplicate_name_problems(
    document: Document, paths: Sequence[Path], key: str = "name", otherwise: str | None = "type"
) -> Iterator[Problem]:
    """Yield a problem for each item that has the same name as an earlier item.

    If an item is text, this text is its name. If an item is a map, its name is the value of the
    key `key`. If this key is absent, the name is the value of the key `otherwise`.
    """
    first: dict[str, Path] = {}
    for path in paths:
        value = document.find(path)
        name = value if isinstance(value, str) else document.find((*path, key))
        if name is None and otherwise is not None:
            name = document.find((*path, otherwise))
        if not isinstance(name, str):
            continue
        if name in first:
            line = document.place(first[name]).line
            yield document.problem(
                path,
                f"the name {quote(name)} is already used on line {line}",
                "use a different name",
            )
        else:
            first[name] = path


def evaluator_spec(model: EvaluatorModel) -> EvaluatorSpec:
    """Convert the model of an evaluator to a definition.

    The caller must check the evaluator with `evaluator_problems` first.
    """
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
    parsed = build_model(config_model(model.type)).model_validate(model.config or {})
    return parsed.model_dump(by_alias=True, exclude_unset=True)
