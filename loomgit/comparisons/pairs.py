"""What a comparison is asked for, and the pipelines that it compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from loomgit.domain.comparison import Limits, Measured
from loomgit.domain.definitions import Evaluate
from loomgit.domain.settings import Replay
from loomgit.domain.suites import Suite
from loomgit.gateway.budget import Budget
from loomgit.harness.policies import Looser
from loomgit.history.evidence import KINDS
from loomgit.sessions.questions import CaseLists
from loomgit.wiring.bench import Subject

TEST, RUN = KINDS


class Wanted(Struct, frozen=True):
    """What a comparison is asked for; None for `max_drop` and the like: as the tests have it.

    `pipelines` and the expressions of `select` narrow it down. `aa` compares the baseline with
    itself, samples from `aa_from` on against the next as many. With `replay` what is measured is
    taken from cassettes, and paid from the `budget`; a model that is out for `outage` seconds is
    given up. Without `keep`, what is measured is not stored. With `trust_revision` every revision
    is measured, also one that is not trusted.
    """

    expression: str | None = None
    head: str | None = None
    merged: tuple[str, str] | None = None
    pipelines: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    run_missing: bool = False
    allow_removed: bool = False
    unpaired: bool = False
    aa: bool = False
    aa_from: int = 0
    max_drop: float | None = None
    max_rise: float | None = None
    replay: Replay = "off"
    budget: Budget | None = None
    outage: float = 10.0
    keep: bool = True
    trust_revision: bool = False


class Pair(Struct):
    """One pipeline on its way through the comparison; `kind` is that of the runs in `found`, and
    `looser` what the head has loosened of the limits; `evaluate` has the thresholds, weights and
    gate that count, None: the head's."""

    head: Subject
    base: Subject | None = None
    notes: list[str] = field(default_factory=list)
    inputs: tuple[str, ...] = ()
    new: bool = False
    suites: Sequence[Suite] = ()
    limits: Limits = field(default_factory=Limits)
    kind: str = TEST
    found: tuple[Measured | None, Measured | None] = (None, None)
    cases: CaseLists = CaseLists()
    looser: tuple[Looser, ...] = ()
    evaluate: Evaluate | None = None

    @property
    def name(self) -> str:
        """The pipeline's."""
        return self.head.plan.pipeline.name

    @property
    def by_runs(self) -> bool:
        """Whether what was found are runs of the pipeline, not tests."""
        return self.kind == RUN

    @property
    def same(self) -> bool:
        """Whether nothing that can change a result differs."""
        return self.base is not None and self.base.fingerprint == self.head.fingerprint
