"""Prompt test definitions: frozen, typed values that `loomgit.config` parses from YAML files."""

from __future__ import annotations

from typing import Literal, TypeAlias

from msgspec import Struct, field

from loomgit.domain.assertions import Condition
from loomgit.domain.definitions import EvaluatorSpec
from loomgit.domain.place import Place, Places
from loomgit.domain.values import JsonMapping
from loomgit.domain.variables import GivenValues

Scope = Literal["suite", "population"]
OnInconclusive = Literal["point", "warn", "fail"]
Interval = Literal["bounded", "t", "bca"]
StepStage = Literal["extract", "transform", "evaluate", "load"]


class Assertion(Struct, frozen=True):
    """An assertion: its text, and the syntax tree of the text.

    `place` is the position of the first character of the text. If the text is in quotation marks,
    this is the first character after the opening mark.
    """

    text: str
    place: Place
    tree: Condition

    def __str__(self) -> str:
        return self.text


class Policy(Struct, frozen=True):
    """The settings of a test: how it draws samples, and how it decides.

    Each value comes from the test, else from the `defaults` of the test file, else from the
    defaults in this class. If `model` is None, the pipeline's model is used. `samples` is the
    number of replies to each case. If `max_samples` is given, a distributional test draws samples
    until its verdict is decided, but not more than `max_samples` replies in total. If `max_samples`
    is None, the test uses at most `sample_size` cases.

    `max_drop` is a difference of scores. `max_rise` is relative to the baseline (0.1 is 10 %); if
    it is None, cost and latency are not gated. If `on_inconclusive` is None, the default of the
    command applies (`warn` in hooks, else `point`).
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
    """A unit test: one input and its expected output.

    In `expected`, `min_X` and `max_X` limit the field X of the output. Any other key is the name of
    an output field, which must equal the expected value. At least `min_pass` of the
    `policy.samples` replies must pass. If `min_pass` is None, all replies must pass.
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

    If `sample_size` is None, all cases are used.
    """

    name: str
    place: Place
    assertions: tuple[Assertion, ...]
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class HallucinationRate(Struct, frozen=True):
    """A test that limits hallucinations.

    The fraction of outputs that fail the `evaluator` must be less than `threshold`. If `evaluator`
    is None, the pipeline's groundedness or factuality evaluator is used. If the pipeline has
    neither, a groundedness evaluator compares the outputs with the input.
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
    """A test that limits latency: the 95th percentile must be less than `p95` seconds."""

    name: str
    place: Place
    p95: float
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class Regression(Struct, frozen=True):
    """A regression test: the scores of paired cases must not drop by more than `policy.max_drop`.

    `baseline` is a Git revision. If it is None, the baseline of pytest or of the command is used.
    """

    name: str
    place: Place
    baseline: str | None = None
    sample_size: int | None = None
    policy: Policy = field(default_factory=Policy)


class Drift(Struct, frozen=True):
    """A drift test: it warns if a distribution differs from that of the baseline, and never blocks.

    `field` is a name such as `output.sentiment`. If it is None, the test uses the scores and the
    lengths of the outputs.
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
    """An integration test: it runs the whole pipeline and loads the outputs.

    If `destination` is None, the outputs are loaded into a temporary destination. `records` is the
    number of records to run. It is the first number in the text of the extract step, or None (all
    records) if the text contains no number.
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
    """Return the group of tests to which this test belongs."""
    if isinstance(test, UnitCase):
        return "unit"
    return "integration" if isinstance(test, IntegrationCase) else "distributional"


class Suite(Struct, frozen=True):
    """A suite: the content of one test file.

    `path` and `dataset` are relative to the project. If `dataset` is None, the pipeline's source
    is used. `given` contains the `vars` and the `execution_date` of the file. `places` maps dotted
    keys (`unit_tests.0.input`) to positions in the file.
    """

    pipeline: str
    path: str
    dataset: str | None = None
    given: GivenValues = field(default_factory=GivenValues)
    defaults: Policy = field(default_factory=Policy)
    unit_tests: tuple[UnitCase, ...] = ()
    distributional_tests: tuple[Distributional, ...] = ()
    integration_tests: tuple[IntegrationCase, ...] = ()
    places: Places = field(default_factory=Places)
