"""The JSON document of `loom hooks run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loomgit.domain.bills import Bill
from loomgit.report.bill import bill_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.values import JsonObject


def hook_document(
    hook: str,
    *,
    blocked: bool = False,
    changes: Sequence[JsonObject] = (),
    bill: Bill | None = None,
    error: str | None = None,
) -> JsonObject:
    """Return the document of one run of a hook.

    `changes` are the verdicts. `error` is the reason why the hook judged nothing.
    """
    return {
        "schema_version": 1,
        "hook": hook,
        "blocked": blocked,
        "changes": [*changes],
        "spent": bill_document(bill or Bill()),
        "error": error,
    }
