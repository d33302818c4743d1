"""Builds and checks evaluators. The `type` in a pipeline or a test selects the evaluator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.suggestions import did_you_mean
from loomgit.domain.values import as_text
from loomgit.errors import UserError
from loomgit.evaluators.criteria import (
    PRESETS,
    fact_context,
    question_context,
    record_context,
    source_context,
)
from loomgit.evaluators.deterministic import FACTORIES, DeterministicEvaluator
from loomgit.evaluators.field_selector import FieldSelector
from loomgit.evaluators.function_check import check_function
from loomgit.evaluators.kinds import JUDGED, backend_of
from loomgit.evaluators.overlap import lexical
from loomgit.evaluators.user_defined import load_function, load_plugin, plugin_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loomgit.domain.definitions import EvaluatorSpec
    from loomgit.domain.ports import Evaluator, Gateway
    from loomgit.domain.records import EvaluationInput

DETERMINISTIC = frozenset(FACTORIES)


def build_evaluator(
    spec: EvaluatorSpec, *, judge: str | None, gateway: Gateway, root: Path
) -> Evaluator:
    """Build the evaluator that `spec` describes. `judge` is the judge model.

    If the evaluator is a Python function, its file is imported from the project at `root`. Raises
    UserError if the evaluator cannot be built: for example, if its type is unknown, if the file
    does not contain the function, or if required criteria or a required judge are missing.
    """
    try:
        return _build(spec, judge, gateway, root)
    except UserError as error:
        raise UserError(f"evaluator '{spec.name}': {error.message}", hint=error.hint) from error


def check_evaluator(
    spec: EvaluatorSpec, *, judge: str | None, gateway: Gateway, root: Path
) -> None:
    """Raise UserError if the evaluator cannot be built. Does not run the project's code."""
    if ".py:" not in spec.type:
        build_evaluator(spec, judge=judge, gateway=gateway, root=root)
        return
    try:
        check_function(spec.type, root)
    except UserError as error:
        raise UserError(f"evaluator '{spec.name}': {error.message}", hint=error.hint) from error


def _build(spec: EvaluatorSpec, judge: str | None, gateway: Gateway, root: Path) -> Evaluator:
    if spec.type in FACTORIES:
        return DeterministicEvaluator(FACTORIES[spec.type](spec.config))
    if spec.type in JUDGED:
        return _build_judged(spec, judge, gateway)
    if ".py:" in spec.type:
        return load_function(spec.type, root)
    plugin = load_plugin(spec.type)
    if plugin is None:
        known = sorted(DETERMINISTIC | JUDGED | plugin_names())
        choices = f"choose one of: {', '.join(known)}, or path/to/file.py:function"
        raise UserError(
            f"unknown type '{spec.type}'", hint=did_you_mean(spec.type, known) or choices
        )
    return plugin


def _build_judged(spec: EvaluatorSpec, judge: str | None, gateway: Gateway) -> Evaluator:
    selector = FieldSelector.parse(spec.config)
    if backend_of(spec) == "lexical":
        return DeterministicEvaluator(lexical(spec.config))
    if "" in selector.constants:
        raise UserError("reference is empty")
    if judge is None:
        raise UserError(
            f"{spec.type} needs a judge model, and no judge model is configured",
            hint="set evaluate.model, or defaults.judge_model in .loom/config.yaml",
        )
    kind, criteria = spec.type, spec.criteria
    if kind in PRESETS:
        added = f"\n- {criteria}" if criteria else ""
        kind, criteria = "custom_criteria", PRESETS[kind] + added
    if kind == "custom_criteria" and not (criteria or "").strip():
        raise UserError("custom_criteria needs criteria", hint="add `criteria:` to the evaluator")
    from loomgit.evaluators.arbiter import JudgedEvaluator  # noqa: PLC0415 - a slow import

    return JudgedEvaluator(
        kind=kind,
        judge=judge,
        gateway=gateway,
        threshold=spec.threshold,
        criteria=criteria,
        read=_read_function(spec, selector),
    )


def _read_function(
    spec: EvaluatorSpec, selector: FieldSelector
) -> Callable[[EvaluationInput], tuple[str, str | None]]:
    from loomgit.evaluators.arbiter import combine_readers  # noqa: PLC0415 - a slow import

    if spec.type == "semantic":
        return _pair_function(selector)
    if spec.type == "custom_criteria":
        return combine_readers(selector.output, record_context(selector))
    if spec.type == "factuality":
        return combine_readers(selector.output, fact_context(selector))
    if spec.type == "relevance":
        return combine_readers(selector.output, question_context(selector, spec.config))
    return combine_readers(selector.output, source_context(selector))


def _pair_function(selector: FieldSelector) -> Callable[[EvaluationInput], tuple[str, str | None]]:
    def read(subject: EvaluationInput) -> tuple[str, str | None]:
        pair = selector.pair(subject)
        return as_text(pair.output), as_text(pair.reference)

    return read
