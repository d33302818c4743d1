"""Prompt test definitions: frozen, typed values that `loomgit.config` parses from YAML files."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct, field

from loomgit.domain.assertions import Condition
from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.place import Place, Places
from loomgit.domain.values import JsonMapping

Scope = Literal["suite", "population"]
OnInconclusive = Literal["point", "warn", "fail"]
Interval = Literal["bounded", "t", "bca"]
StepStage = Literal["extract", "transform", "evaluate", "load"]


class Assertion(Struct, frozen=True):
    """An assertion: its text and its syntax tree.

    `place` is the position of its first character, without the quotes.
    """

    text: str
    place: Place
    tree: Condition

    def __str__(self) -> str:
        return self.text


class Policy(Struct, frozen=True):
    """The policy of a test: how it samples and decides.

    Each value comes from the test, else from the `defaults` of the file, else from the defaults in
    this class. `max_drop` is in points of score. `max_rise` is a share of the baseline (0.1 is 10
    %); if it is None, cost and latency are not gated. `model` None means the pipeline's model.
    `samples` is the number of replies to each case. If `max_samples` is given, a distributional
    test samples until it is decided, up to this total number of replies. If `max_samples` is None,
    the limit is the test's `sample_size`. `on_inconclusive` None means the default of the entry
    point (`warn` in hooks, else `point`).
    """

    samples: int = 1
    max_samples: int | None = None
    model: str | None = None
    scope: Scope = "suite"
    on_inconclusive: OnInconclusive | None = None
    max_drop: float = 0.02
    max_rise: float | None = None
    confirm: bool = False
    allow_removed: bool = False
    max_error_rate: float = 0.05
    ci: Interval = "bounded"
    strict: bool = False


class UnitCase(Struct, frozen=True):
    """A unit test: one input with its expectation.

    In `expected`, `min_X` and `max_X` bound the field X of the output; any other key requires
    equality. `min_pass` of the `policy.samples` replies must pass; None means all of them.
    """

    name: str
    place: Place
    input: JsonMapping
    expected: JsonMapping = field(default_factory=dict)
    assertions: tuple[Assertion, ...] = ()
    min_pass: int | None = None
    policy: Policy = field(default_factory=Policy)


class Statistical(Struct, frozen=True):
    """A statistical test: assertions over all outputs of a data set.

    `sample_size` None means every case.
    """

    name: str
    place: Place
    assertions: tuple[Assertion, ...]
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class HallucinationRate(Struct, frozen=True):
    """A test that limits hallucinations.

    The share of outputs that fail a groundedness or factuality evaluator must be less than
    `threshold`. `evaluator` None means the pipeline's own evaluator, else groundedness against the
    input.
    """

    name: str
    place: Place
    threshold: float
    evaluator: EvaluatorSpec | None = None
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class CostBudget(Struct, frozen=True):
    """A test that limits cost: 1,000 records must cost at most `max_cost` USD."""

    name: str
    place: Place
    max_cost: float
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class LatencyLimit(Struct, frozen=True):
    """A test that limits latency: its 95th percentile must be less than `p95` seconds."""

    name: str
    place: Place
    p95: float
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class Regression(Struct, frozen=True):
    """A regression test: the scores of paired cases must not drop by more than `policy.max_drop`.

    `baseline` is a Git revision; None means the baseline of the invocation.
    """

    name: str
    place: Place
    baseline: str | None = None
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class Drift(Struct, frozen=True):
    """A drift test: warns if the distribution of `field` differs from that of the baseline.

    It never blocks. `field` is a name such as `output.sentiment`; None means the scores and the
    length of the output.
    """

    name: str
    place: Place
    baseline: str | None = None
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)
    field: str | None = None


Distributional: TypeAlias = (
    Statistical | HallucinationRate | CostBudget | LatencyLimit | Regression | Drift
)


class IntegrationStep(Struct, frozen=True):
    """One step of an integration test: the stage, and the author's description of the step."""

    stage: StepStage
    text: str


class IntegrationCase(Struct, frozen=True):
    """An integration test: it runs the whole pipeline and loads into a temporary destination.

    If the test sets `destination`, the pipeline loads into that destination. `records` is the first
    number in the text of the extract step, None for all records.
    """

    name: str
    place: Place
    steps: tuple[IntegrationStep, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    records: int | None = None
    destination: str | None = None
    policy: Policy = field(default_factory=Policy)


AnyTest: TypeAlias = UnitCase | Distributional | IntegrationCase
Group = Literal["unit", "distributional", "integration"]


def group_of(test: AnyTest) -> Group:
    """Return the group of a test file that contains tests of this type."""
    if isinstance(test, UnitCase):
        return "unit"
    return "integration" if isinstance(test, IntegrationCase) else "distributional"


class Suite(Struct, frozen=True):
    """A suite: the content of one test file.

    `path` and `dataset` are relative to the project. `dataset` None means the pipeline's extract.
    `places` maps dotted keys (`unit_tests.0.input`) to their positions in the file.
    """

    pipeline: str
    path: str
    dataset: str | None = None
    defaults: Policy = field(default_factory=Policy)
    unit_tests: tuple[UnitCase, ...] = ()
    distributional_tests: tuple[Distributional, ...] = ()
    integration_tests: tuple[IntegrationCase, ...] = ()
    places: Places = field(default_factory=Places)
