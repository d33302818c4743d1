"""The JSON document of a command that ends with an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.place import describe_problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.values import JsonObject


def error_document(
    message: str, hint: str | None, exit_code: int, problems: Sequence[JsonObject] = ()
) -> JsonObject:
    """Return the document. Without `problems`, the error itself is the only problem."""
    return {
        "schema_version": 1,
        "error": {
            "message": message,
            "hint": hint,
            "exit_code": exit_code,
            "problems": [*problems] or [describe_problem(message, hint)],
        },
    }
