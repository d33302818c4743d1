"""A test file as users write it; `loomgit.config.suites` makes definitions of it."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag

from loomgit.config.evaluator_model import Evaluator  # noqa: TC001 - pydantic reads it
from loomgit.config.parts import MARK, Part
from loomgit.config.scalars import (
    Count,
    FilePath,
    Flag,
    JsonMap,
    Name,
    NotNegative,
    Read,
    Rise,
    SecondsOrDuration,
    Share,
    Text,
    Word,
    Wrong,
    choice,
    read_word,
)
from loomgit.domain.suites import Interval, OnInconclusive, Scope  # noqa: TC001 - pydantic reads it


def _read_title(value: object) -> str:
    text = read_word(value, "a name")
    if "::" in text or "\n" in text:
        raise Wrong("a test's name is one line without '::'", "pytest names tests FILE::KIND::NAME")
    return text


Title: TypeAlias = Annotated[str, Read(_read_title, {"type": "string", "pattern": "^[^\\n]+$"})]


class PolicyModel(Part):
    """How tests sample and decide"""

    samples: Count | None = Field(default=None, description="Replies for each case; default 1")
    max_samples: Count | None = Field(
        default=None, description="Draw up to so many while the verdict is inconclusive"
    )
    model: Word | None = Field(default=None, description="In place of the pipeline's model")
    scope: Annotated[Scope, choice("scope", ("suite", "population"))] | None = Field(
        default=None, description="`suite`: did these cases drop; `population`: would unseen ones"
    )
    on_inconclusive: (
        Annotated[OnInconclusive, choice("way to decide", ("point", "warn", "fail"))] | None
    ) = Field(default=None, description="What an inconclusive verdict does")
    max_drop: Share | None = Field(
        default=None, description="The drop in mean score that a regression test allows; 0.02"
    )
    max_rise: Rise | None = Field(
        default=None, description="The rise in cost and latency that is allowed, as 10%"
    )
    confirm: Flag | None = Field(
        default=None, description="Measure both sides again before a degraded verdict blocks"
    )
    allow_removed: Flag | None = Field(
        default=None, description="Compare although more than a tenth of the cases is gone"
    )
    max_error_rate: Share | None = Field(
        default=None, description="More replies missing than this make the test an error; 0.05"
    )
    ci: Annotated[Interval, choice("interval", ("bounded", "t", "bca"))] | None = Field(
        default=None, description="The confidence interval of means; bounded"
    )
    strict: Flag | None = Field(
        default=None, description="Inconclusive, unverified and not comparable fail as well"
    )


class UnitModel(PolicyModel):
    """One input with its expectation"""

    name: Title
    input: JsonMap = Field(description="The record's fields")
    expected: JsonMap = Field(
        default={}, description="Fields of the output; min_X and max_X bound field X"
    )
    assertions: tuple[Text, ...] = Field(
        default=(), description="As `evaluation_score > 0.9` or `output.label contains 'a'`"
    )
    min_pass: Count | None = Field(
        default=None, description="How many of the samples must pass; default: all"
    )


class DistributionalModel(PolicyModel):
    """A test over many outputs"""

    name: Title
    sample_size: Count | None = Field(default=None, description="Cases to use; default: all")


class StatisticalModel(DistributionalModel):
    """Assertions over all outputs of a data set"""

    type: Annotated[Literal["statistical"], choice("type", ("statistical",))]
    assertions: tuple[Text, ...] = Field(
        min_length=1, description="As `mean(evaluation_scores) > 0.75`"
    )


class HallucinationModel(DistributionalModel):
    """The share of outputs that a groundedness or factuality evaluator fails"""

    type: Annotated[Literal["hallucination_rate"], choice("type", ("hallucination_rate",))]
    threshold: Share = Field(description="The share to stay below")
    evaluator: Evaluator | None = Field(default=None, description="Default: the pipeline's")


class CostModel(DistributionalModel):
    """The cost of 1,000 records"""

    type: Annotated[Literal["cost_budget"], choice("type", ("cost_budget",))]
    max_cost: NotNegative = Field(description="USD per 1,000 records")


class LatencyModel(DistributionalModel):
    """The 95th percentile of the latency"""

    type: Annotated[Literal["latency"], choice("type", ("latency",))]
    p95: SecondsOrDuration = Field(description="Seconds")


class RegressionModel(DistributionalModel):
    """Scores against those of a baseline"""

    type: Annotated[Literal["regression"], choice("type", ("regression",))]
    baseline: Word | None = Field(default=None, description="A branch or any Git revision")


class DriftModel(DistributionalModel):
    """The distribution of a field against that of a baseline; warns, never blocks"""

    type: Annotated[Literal["drift"], choice("type", ("drift",))]
    baseline: Word | None = Field(default=None, description="A branch or any Git revision")
    field: Word | None = Field(default=None, description="As output.sentiment")


def _kind(value: object) -> str | None:
    if not isinstance(value, dict):
        return f"{MARK}?"  # no branch: a map is expected
    kind = value.get("type")
    return None if kind is None else f"{MARK}{kind}"


DistributionalTest: TypeAlias = Annotated[
    Annotated[StatisticalModel, Tag(f"{MARK}statistical")]
    | Annotated[HallucinationModel, Tag(f"{MARK}hallucination_rate")]
    | Annotated[CostModel, Tag(f"{MARK}cost_budget")]
    | Annotated[LatencyModel, Tag(f"{MARK}latency")]
    | Annotated[RegressionModel, Tag(f"{MARK}regression")]
    | Annotated[DriftModel, Tag(f"{MARK}drift")],
    Discriminator(_kind),
]


class StepModel(Part):
    """One stage, and what is to be done there"""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    extract: Text | None = Field(default=None, description="As `100 sample records`")
    transform: Text | None = None
    evaluate: Text | None = None
    load: Text | None = None


class IntegrationModel(PolicyModel):
    """The whole pipeline, on a throw-away destination"""

    name: Title
    steps: tuple[StepModel, ...] = ()
    assertions: tuple[Text, ...] = Field(default=(), description="As `records_loaded > 95`")
    destination: Word | None = Field(
        default=None, description="A URL, for a test that must write somewhere real"
    )


class SuiteModel(Part):
    """Loom prompt tests"""

    model_config = ConfigDict(title="Loom prompt tests")

    pipeline: Name = Field(description="The pipeline under test")
    dataset: FilePath | None = Field(
        default=None, description="Cases of the distributional tests; default: the extract"
    )
    defaults: PolicyModel | None = Field(default=None, description="For tests that do not say")
    unit_tests: tuple[UnitModel, ...] = ()
    distributional_tests: tuple[DistributionalTest, ...] = ()
    integration_tests: tuple[IntegrationModel, ...] = ()
