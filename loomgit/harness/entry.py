"""One test's outcome as it travels between processes and into a run."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from loomgit.domain.samples import Check, Verdict
from loomgit.domain.values import to_plain

DOUBTED = "judged by evaluators that the change has changed"  # in the message of such tests


class Entry(Struct, frozen=True):
    """One test's outcome, as it travels between processes: plain values only.

    `cases` are those that the test used: id, key, definition, the indices of the samples.
    `fingerprint` is its subject's, empty where no case was sampled; `calls` and `cached` replies
    are those of a whole run instead. `blocks` says that the test makes the session fail. `project`
    tells the projects of a session apart. `unanswered` says why a test is unverified: `denied` (a
    key is missing or refused) or `lost` (no call succeeded); it is empty for all other tests.
    """

    file: str
    name: str
    kind: str
    pipeline: str
    verdict: Verdict
    model: str | None = None
    fingerprint: str = ""
    extra: str = ""
    message: str = ""
    score: float | None = None
    cost: float | None = 0.0
    calls: int = 0
    cached: int = 0
    checks: tuple[Check, ...] = ()
    cases: tuple[tuple[str, str, str, tuple[int, ...]], ...] = ()
    blocks: bool = False
    project: str = ""
    unanswered: Literal["", "denied", "lost"] = ""

    @property
    def full_name(self) -> str:
        """`unit::obvious_positive`."""
        return f"{self.kind}::{self.name}"

    def to_plain(self) -> dict[str, Any]:
        """The entry in JSON's own types."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Entry:
        """The entry that `to_plain` made."""
        checks = tuple(Check(**check) for check in plain["checks"])
        cases = tuple((i, k, d, tuple(numbers)) for i, k, d, numbers in plain["cases"])
        return cls(**{**plain, "checks": checks, "cases": cases})
