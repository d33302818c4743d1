"""Evaluators by the names that pipelines call them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.values import as_text
from loomgit.domain.words import did_you_mean
from loomgit.errors import UserError
from loomgit.evaluators.aim import Aim
from loomgit.evaluators.criteria import PRESETS, facts, question, record, source
from loomgit.evaluators.deterministic import MAKERS, DeterministicEvaluator
from loomgit.evaluators.function_check import check_function
from loomgit.evaluators.kinds import JUDGED, backend_of
from loomgit.evaluators.overlap import lexical
from loomgit.evaluators.own import load_function, load_plugin, plugin_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loomgit.domain.definitions import EvaluatorSpec
    from loomgit.domain.ports import Evaluator, Gateway
    from loomgit.domain.records import Subject

DETERMINISTIC = frozenset(MAKERS)


def build(spec: EvaluatorSpec, *, judge: str | None, gateway: Gateway, root: Path) -> Evaluator:
    """The evaluator that `spec` describes; `judge` is the model that judges, `root` the project.

    A Python evaluator's file is imported. Raises UserError for what cannot be built: an unknown
    type, a file without that function, a criteria text that is missing, no judge where one is
    needed.
    """
    try:
        return _build(spec, judge, gateway, root)
    except UserError as error:
        raise UserError(f"evaluator '{spec.name}': {error.message}", hint=error.hint) from error


def check(spec: EvaluatorSpec, *, judge: str | None, gateway: Gateway, root: Path) -> None:
    """Raise UserError for what `build` would refuse, without running code of the project."""
    if ".py:" not in spec.type:
        build(spec, judge=judge, gateway=gateway, root=root)
        return
    try:
        check_function(spec.type, root)
    except UserError as error:
        raise UserError(f"evaluator '{spec.name}': {error.message}", hint=error.hint) from error


def _build(spec: EvaluatorSpec, judge: str | None, gateway: Gateway, root: Path) -> Evaluator:
    if spec.type in MAKERS:
        return DeterministicEvaluator(MAKERS[spec.type](spec.config))
    if spec.type in JUDGED:
        return _judged(spec, judge, gateway)
    if ".py:" in spec.type:
        return load_function(spec.type, root)
    plugin = load_plugin(spec.type)
    if plugin is None:
        known = sorted(DETERMINISTIC | JUDGED | plugin_names())
        listed = f"one of: {', '.join(known)}, or path/to/file.py:function"
        raise UserError(
            f"unknown type '{spec.type}'", hint=did_you_mean(spec.type, known) or listed
        )
    return plugin


def _judged(spec: EvaluatorSpec, judge: str | None, gateway: Gateway) -> Evaluator:
    aim = Aim.parse(spec.config)
    if backend_of(spec) == "lexical":
        return DeterministicEvaluator(lexical(spec.config))
    if "" in aim.constants:
        raise UserError("reference is empty")
    if judge is None:
        raise UserError(
            f"{spec.type} judges with a model, and none is configured",
            hint="set evaluate.model, or defaults.judge_model in .loom/config.yaml",
        )
    kind, criteria = spec.type, spec.criteria
    if kind in PRESETS:
        own = f"\n- {criteria}" if criteria else ""
        kind, criteria = "custom_criteria", PRESETS[kind] + own
    if kind == "custom_criteria" and not (criteria or "").strip():
        raise UserError("custom_criteria needs criteria", hint="write `criteria:` beside its type")
    from loomgit.evaluators.arbiter import JudgedEvaluator  # noqa: PLC0415 - it loads pydantic

    return JudgedEvaluator(
        kind=kind,
        judge=judge,
        gateway=gateway,
        threshold=spec.threshold,
        criteria=criteria,
        read=_reading(spec, aim),
    )


def _reading(spec: EvaluatorSpec, aim: Aim) -> Callable[[Subject], tuple[str, str | None]]:
    from loomgit.evaluators.arbiter import reading  # noqa: PLC0415 - as above

    if spec.type == "semantic":
        return _pair(aim)
    if spec.type == "custom_criteria":
        return reading(aim.output, record(aim))
    if spec.type == "factuality":
        return reading(aim.output, facts(aim))
    if spec.type == "relevance":
        return reading(aim.output, question(aim, spec.config))
    return reading(aim.output, source(aim))


def _pair(aim: Aim) -> Callable[[Subject], tuple[str, str | None]]:
    def read(subject: Subject) -> tuple[str, str | None]:
        pair = aim.pair(subject)
        return as_text(pair.output), as_text(pair.reference)

    return read
