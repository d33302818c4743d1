"""The request for a comparison, and the pairs of pipeline versions that are compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TypedDict

from msgspec import Struct, field

from loomgit.domain.comparison import Limits, MeasuredSide, PipelineComparison
from loomgit.domain.definitions import Evaluate
from loomgit.domain.settings import Replay
from loomgit.domain.suites import Suite
from loomgit.domain.values import JsonMapping
from loomgit.domain.variables import GivenValues
from loomgit.gateway.budget import Budget
from loomgit.harness.policies import LoosenedSetting
from loomgit.history.stored_results import KINDS
from loomgit.wiring.revision import PipelineVersion
from loomgit.workflows.testing.case_lists import CaseLists

TEST, RUN = KINDS


class CompareOptions(TypedDict, total=False):
    """The options of a comparison: the fields of `ComparisonRequest` that a caller may set."""

    expression: str | None
    head: str | None
    merged: tuple[str, str] | None
    pipelines: tuple[str, ...]
    select: tuple[str, ...]
    variables: Mapping[str, str]
    execution_date: datetime | None
    run_missing: bool
    allow_removed: bool
    unpaired: bool
    aa: bool
    aa_from: int
    max_drop: float | None
    max_rise: float | None
    budget: Budget | None
    trust_revision: bool


class ComparisonRequest(Struct, frozen=True):
    """The request for a comparison.

    `expression`, `head` and `merged` define the two revisions, as in `loomgit.history.baselines`.
    `pipelines` (names) and `select` (expressions) choose the pipelines; if both are empty, all
    pipelines are compared. `variables` and `execution_date` replace the values of the test files in
    both revisions. If `aa` is true, the baseline is compared with itself. Both sides use
    the same number of samples. The samples of one side start at index `aa_from`, and those of the
    other side come directly after them.

    If `max_drop` or `max_rise` is None, the tests define the limit. If `run_missing` is true,
    missing results are measured. `replay` defines how the measurement uses cassettes, and `budget`
    limits its cost. If a model does not answer for `outage` seconds, Loom stops calling it. If
    `keep` is false, measured results are not stored. If `trust_revision` is true, untrusted
    revisions are also measured.
    """

    expression: str | None = None
    head: str | None = None
    merged: tuple[str, str] | None = None
    pipelines: tuple[str, ...] = ()
    select: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    execution_date: datetime | None = None
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

    @property
    def given(self) -> GivenValues:
        """The values that replace those of the test files."""
        return GivenValues(self.variables, self.execution_date)


class PipelinePair(Struct):
    """Both versions of one pipeline, and the state of their comparison.

    `base` is None if the baseline has no usable version. `new` is true if the baseline does not
    have the pipeline at all. `suites` are the test files of the head, and `before` those of the
    baseline. If a pipeline has several pairs, `variables` are the variables that the test files of
    this pair set. `results` are the measured sides (baseline, head), and `decided` is their
    comparison. `kind` is the type of their runs: `test` or `pipeline`. `inputs` are the files and
    settings that differ, and `cases` are the cases that differ. `looser` are the settings that the
    head loosened. `evaluate` contains the thresholds, weights and gate that apply to both sides. If
    `evaluate` is None, the thresholds, weights and gate of the head apply.
    """

    head: PipelineVersion
    base: PipelineVersion | None = None
    notes: list[str] = field(default_factory=list)
    inputs: tuple[str, ...] = ()
    new: bool = False
    suites: Sequence[Suite] = ()
    before: Sequence[Suite] = ()
    variables: JsonMapping = field(default_factory=dict)
    decided: PipelineComparison | None = None
    limits: Limits = field(default_factory=Limits)
    kind: str = TEST
    results: tuple[MeasuredSide | None, MeasuredSide | None] = (None, None)
    cases: CaseLists = CaseLists()
    looser: tuple[LoosenedSetting, ...] = ()
    evaluate: Evaluate | None = None

    @property
    def name(self) -> str:
        """The name of the pipeline."""
        return self.head.plan.pipeline.name

    @property
    def by_runs(self) -> bool:
        """Whether the results come from pipeline runs. If not, they come from test runs."""
        return self.kind == RUN

    @property
    def same(self) -> bool:
        """Whether everything that can change a result, except the cases, is equal on both sides."""
        return self.base is not None and self.base.fingerprint == self.head.fingerprint
