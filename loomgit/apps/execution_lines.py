"""Renders an execution as a line of the execution log, as far as the privacy setting allows."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import orjson

from loomgit.domain.values import to_json

if TYPE_CHECKING:
    from loomgit.domain.apps import AppExecution, Privacy
    from loomgit.domain.values import Json, JsonObject

# `balanced` allows inputs and outputs with masked personal data. Loom cannot mask personal data
# yet, and a line must never contain more than the setting allows.
HASHES_ONLY: frozenset[Privacy] = frozenset({"strict", "balanced"})


def render_line(execution: AppExecution, value: Json, privacy: Privacy) -> JsonObject:
    """Return the line of an execution with the input `value`.

    With `permissive`, the line contains the input, the output, the details and the error. With
    `strict` and `balanced`, it contains hashes of the input and the output in their place.
    """
    head: JsonObject = {"execution_id": execution.execution_id, "version": execution.version}
    tail: JsonObject = {
        "latency_ms": execution.latency_ms,
        "status": execution.status,
        "isolation": execution.isolation,
        "timestamp": execution.timestamp,
    }
    if privacy in HASHES_ONLY:
        output = hash_of(execution.output) if execution.status == "ok" else None
        return {**head, "input_hash": hash_of(value), "output_hash": output, **tail}
    return {
        **head,
        "input": value,
        "output": execution.output,
        "details": dict(execution.details),
        "error": execution.error,
        **tail,
    }


def hash_of(value: Json) -> str:
    """Return the SHA-256 of a JSON value. Equal values have equal hashes."""
    return "sha256:" + hashlib.sha256(to_json(value, option=orjson.OPT_SORT_KEYS)).hexdigest()
