"""Prompt tests as a user defines them: frozen, typed, parsed once by `loomgit.config`."""

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
    """An assertion as written and as understood; `place` is that of its first character, quotes
    not counted."""

    text: str
    place: Place
    tree: Condition

    def __str__(self) -> str:
        return self.text


class Policy(Struct, frozen=True):
    """How a test samples and decides: its own word, else the file's `defaults`, else these.

    `max_drop` is in points of score, `max_rise` a share of the baseline (0.1: ten per cent), None
    where cost and latency are not gated. `model` None: the pipeline's. `samples` are the replies to
    each case. With `max_samples` a distributional test draws until it is decided, so many replies
    in all at most; None: no more than its `sample_size` asks for. `on_inconclusive` None: as the
    entrance has it (`warn` in hooks, else `point`).
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
    """One input with its expectation.

    In `expected`, `min_X` and `max_X` bound the output's field X; any other key is equality. Of
    `policy.samples` replies `min_pass` must pass; None means all of them.
    """

    name: str
    place: Place
    input: JsonMapping
    expected: JsonMapping = field(default_factory=dict)
    assertions: tuple[Assertion, ...] = ()
    min_pass: int | None = None
    policy: Policy = field(default_factory=Policy)


class Statistical(Struct, frozen=True):
    """Assertions over all outputs of a data set; `sample_size` None means every case."""

    name: str
    place: Place
    assertions: tuple[Assertion, ...]
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class HallucinationRate(Struct, frozen=True):
    """The share of outputs that a groundedness or factuality evaluator fails is < `threshold`.

    `evaluator` None: the pipeline's own, else groundedness against the input.
    """

    name: str
    place: Place
    threshold: float
    evaluator: EvaluatorSpec | None = None
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class CostBudget(Struct, frozen=True):
    """The cost in USD of 1,000 records is at most `max_cost`."""

    name: str
    place: Place
    max_cost: float
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class LatencyLimit(Struct, frozen=True):
    """The 95th percentile of the latency is below `p95` seconds."""

    name: str
    place: Place
    p95: float
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class Regression(Struct, frozen=True):
    """Paired with the baseline, the scores drop by no more than `policy.max_drop`.

    `baseline` is a Git revision; None: the one that the invocation compares with.
    """

    name: str
    place: Place
    baseline: str | None = None
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class Drift(Struct, frozen=True):
    """The distribution of `field` (`output.sentiment`) is the baseline's; warns, never blocks.

    `field` None: the scores and the length of the output.
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


class Step(Struct, frozen=True):
    """One step of an integration test: the stage, and what the author says of it."""

    stage: StepStage
    text: str


class IntegrationCase(Struct, frozen=True):
    """The whole pipeline on a throw-away destination, or on `destination` where the test says so.

    `records` is the first number in the text of the extract step, None for all records.
    """

    name: str
    place: Place
    steps: tuple[Step, ...] = ()
    assertions: tuple[Assertion, ...] = ()
    records: int | None = None
    destination: str | None = None
    policy: Policy = field(default_factory=Policy)


AnyTest: TypeAlias = UnitCase | Distributional | IntegrationCase
Group = Literal["unit", "distributional", "integration"]


def group_of(test: AnyTest) -> Group:
    """The group of a test file that such tests stand in."""
    if isinstance(test, UnitCase):
        return "unit"
    return "integration" if isinstance(test, IntegrationCase) else "distributional"


class Suite(Struct, frozen=True):
    """A test file, whole. `path` and `dataset` are relative to the project.

    `dataset` None: the pipeline's extract. `places` maps dotted keys (`unit_tests.0.input`) to
    where they stand in the file.
    """

    pipeline: str
    path: str
    dataset: str | None = None
    defaults: Policy = field(default_factory=Policy)
    unit_tests: tuple[UnitCase, ...] = ()
    distributional_tests: tuple[Distributional, ...] = ()
    integration_tests: tuple[IntegrationCase, ...] = ()
    places: Places = field(default_factory=Places)
