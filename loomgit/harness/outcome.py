"""The outcome of one test, as plain data for other processes and for the run file."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from loomgit.domain.samples import CheckResult, Verdict
from loomgit.domain.values import to_plain

# A test's message starts with this text if the change modified evaluators that judge the test.
CHANGED_EVALUATORS = "judged by evaluators that the change modified"


class TestOutcome(Struct, frozen=True):
    """The outcome of one test. Its plain values can be sent to other processes and stored in a run.

    `kind` is the group of the test: `unit`, `distributional`, `integration` or `python`. `cases`
    are the cases that the test used, each as (id, key, definition, indices of the samples).
    `fingerprint` is a hash that identifies the tested version of the pipeline; it is empty if no
    case was sampled. `extra` is the name of an evaluator that the test adds to the pipeline.
    `cost` is in USD, None if it is unknown. `calls` and `cached` are the numbers of calls and
    cached replies, which only integration tests set. `blocks` is true if the test makes the test
    session fail. `project` identifies the project if a session tests several projects.
    `unanswered` is the reason why a test is unverified: `denied` (a key is missing or refused) or
    `lost` (calls failed). It is empty for all other tests.
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
        """The name of the test with its group: `unit::obvious_positive`."""
        return f"{self.kind}::{self.name}"

    def to_plain(self) -> dict[str, Any]:
        """Return the outcome as a dictionary of JSON types."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> TestOutcome:
        """Create the outcome from a dictionary that `to_plain` returned."""
        checks = tuple(CheckResult(**check) for check in plain["checks"])
        cases = tuple((i, k, d, tuple(numbers)) for i, k, d, numbers in plain["cases"])
        return cls(**{**plain, "checks": checks, "cases": cases})
