"""Properties of evaluator types: which types call a model, and which types need a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.evaluators.criteria import PRESETS

if TYPE_CHECKING:
    from loomgit.domain.definitions import EvaluatorSpec

JUDGED = frozenset(
    ("semantic", "custom_criteria", "factuality", "groundedness", "relevance", *PRESETS)
)
WITH_REFERENCE = frozenset(("exact_match", "similarity", "rouge_l", "bleu", "semantic"))
WITHOUT_REFERENCE = frozenset(
    ("contains", "regex", "json_schema", "numeric", "length", "latency", "cost")
)
BACKENDS = ("judge", "lexical")  # the backends of `semantic`


def needs_judge(spec: EvaluatorSpec) -> bool:
    """Whether the evaluator calls a judge model."""
    is_lexical = spec.type == "semantic" and spec.config.get("backend") == "lexical"
    return spec.type in JUDGED and not is_lexical


def backend_of(spec: EvaluatorSpec) -> str:
    """Return the backend of an evaluator: `judge`, or the configured backend of `semantic`.

    Raises UserError if the backend is unknown.
    """
    backend = str(spec.config.get("backend") or BACKENDS[0]) if spec.type == "semantic" else "judge"
    if backend not in BACKENDS:
        raise UserError(
            f"unknown backend '{backend}'", hint=f"choose one of: {', '.join(BACKENDS)}"
        )
    return backend


def needs_reference(spec: EvaluatorSpec) -> bool:
    """Whether the evaluator needs a reference, but its config does not define the reference."""
    config = spec.config
    if config.get("reference") is not None or config.get("reference_field") is not None:
        return False
    if spec.type == "contains":
        return config.get("value") is None
    if spec.type == "numeric":
        has_limits = config.get("min") is not None or config.get("max") is not None
        return not has_limits or config.get("tolerance") is not None
    return spec.type in WITH_REFERENCE


def is_built_in(spec: EvaluatorSpec) -> bool:
    """Whether the evaluator is built in. Loom knows the configuration of built-in evaluators."""
    return spec.type in JUDGED | WITH_REFERENCE | WITHOUT_REFERENCE


def is_immediate(spec: EvaluatorSpec) -> bool:
    """Whether the evaluator returns its scores without waiting for a model or other programs."""
    return is_built_in(spec) and not needs_judge(spec)
