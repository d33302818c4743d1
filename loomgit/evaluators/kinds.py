"""Which evaluators ask a model, and which compare with a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.errors import UserError
from loomgit.evaluators.criteria import PRESETS

if TYPE_CHECKING:
    from loomgit.domain.definitions import EvaluatorSpec

JUDGED = frozenset(
    ("semantic", "custom_criteria", "factuality", "groundedness", "relevance", *PRESETS)
)
PAIRED = frozenset(("exact_match", "similarity", "rouge_l", "bleu", "semantic"))
ALONE = frozenset(("contains", "regex", "json_schema", "numeric", "length", "latency", "cost"))
BACKENDS = ("judge", "lexical")  # of `semantic`


def needs_judge(spec: EvaluatorSpec) -> bool:
    """Whether the evaluator asks a model."""
    is_lexical = spec.type == "semantic" and spec.config.get("backend") == "lexical"
    return spec.type in JUDGED and not is_lexical


def backend_of(spec: EvaluatorSpec) -> str:
    """The backend of a judged evaluator. Raises UserError for an unknown one."""
    backend = str(spec.config.get("backend") or BACKENDS[0]) if spec.type == "semantic" else "judge"
    if backend not in BACKENDS:
        raise UserError(
            f"backend '{backend}' is not available", hint=f"one of: {', '.join(BACKENDS)}"
        )
    return backend


def needs_reference(spec: EvaluatorSpec) -> bool:
    """Whether the evaluator needs a reference and has none configured."""
    config = spec.config
    if config.get("reference") is not None or config.get("reference_field") is not None:
        return False
    if spec.type == "contains":
        return config.get("value") is None
    if spec.type == "numeric":
        limited = config.get("min") is not None or config.get("max") is not None
        return not limited or config.get("tolerance") is not None
    return spec.type in PAIRED


def is_built_in(spec: EvaluatorSpec) -> bool:
    """Whether the evaluator is one of Loom's own, whose configuration Loom knows."""
    return spec.type in JUDGED | PAIRED | ALONE
