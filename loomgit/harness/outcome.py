"""The outcome of one test, in a form for other processes and for the run file."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from loomgit.domain.samples import CheckResult, Verdict
from loomgit.domain.values import to_plain

CHANGED_EVALUATORS = "judged by evaluators that the change modified"  # a part of a test's message


class TestOutcome(Struct, frozen=True):
    """The outcome of one test, in plain values that can be sent to other processes and stored in a
    run.

    `cases` are the cases that the test used: id, key, definition, and the indices of the samples.
    `fingerprint` is the fingerprint of the tested version, empty if no case was sampled. `calls`
    and `cached` are the numbers of calls and cached replies. They are set only for a run of a whole
    pipeline (an integration test). `blocks` is true if the test makes the session fail. `project`
    identifies the project within a session. `unanswered` is the reason why a test is unverified:
    `denied` (a key is missing or refused) or `lost` (no call succeeded). It is empty for all other
    tests.
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
    checks: tuple[CheckResult, ...] = ()
    cases: tuple[tuple[str, str, str, tuple[int, ...]], ...] = ()
    blocks: bool = False
    project: str = ""
    unanswered: Literal["", "denied", "lost"] = ""

    @property
    def full_name(self) -> str:
        """The name with the kind of the test: `unit::obvious_positive`."""
        return f"{self.kind}::{self.name}"

    def to_plain(self) -> dict[str, Any]:
        """Return the outcome as a dictionary of JSON types."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> TestOutcome:
        """Return the outcome from a dictionary that `to_plain` returned."""
        checks = tuple(CheckResult(**check) for check in plain["checks"])
        cases = tuple((i, k, d, tuple(numbers)) for i, k, d, numbers in plain["cases"])
        return cls(**{**plain, "checks": checks, "cases": cases})
