"""The pydantic model of a test file; `loomgit.config.suites` converts it to definitions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag

from loomgit.config.evaluator_model import Evaluator  # noqa: TC001 - pydantic reads it
from loomgit.config.file_model import TAG_PREFIX, FileModel
from loomgit.config.scalars import (
    Count,
    FilePath,
    Flag,
    InvalidValue,
    JsonMap,
    Name,
    NonBlankText,
    NotNegative,
    Reader,
    RelativeRise,
    SecondsOrDuration,
    Share,
    Text,
    VariableValue,
    choice,
    expected,
    read_nonblank_text,
)
from loomgit.domain.suites import Interval, OnInconclusive, Scope  # noqa: TC001 - pydantic reads it
from loomgit.domain.utc import parse_date


def _read_title(value: object) -> str:
    text = read_nonblank_text(value, "a name")
    if "::" in text or "\n" in text:
        message = "the name of a test must be one line without '::'"
        raise InvalidValue(message, "pytest identifies tests as FILE::KIND::NAME")
    return text


Title: TypeAlias = Annotated[str, Reader(_read_title, {"type": "string", "pattern": "^[^\\n]+$"})]


def _read_date(value: object) -> datetime:
    try:
        return parse_date(str(value))
    except ValueError as error:
        raise expected("a date such as 2025-11-01 or 2025-11-01T12:00:00Z", value) from error


Date: TypeAlias = Annotated[
    datetime,
    Reader(_read_date, {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(T.+)?$"}),
]


class PolicyModel(FileModel):
    """The number of samples that tests draw, and the rules for their verdicts"""

    samples: Count | None = Field(
        default=None, description="The number of replies for each case; default: 1"
    )
    max_samples: Count | None = Field(
        default=None,
        description="The maximum number of replies of a test with an inconclusive verdict",
    )
    model: NonBlankText | None = Field(default=None, description="Replaces the pipeline's model")
    scope: Annotated[Scope, choice("scope", ("suite", "population"))] | None = Field(
        default=None,
        description="Which scores must not drop: those of these cases (`suite`), or those of all"
        " cases, including unseen ones (`population`)",
    )
    on_inconclusive: (
        Annotated[OnInconclusive, choice("policy", ("point", "warn", "fail"))] | None
    ) = Field(default=None, description="The effect of an inconclusive verdict")
    max_drop: Share | None = Field(
        default=None,
        description="The drop in mean score that a regression test allows; default: 0.02",
    )
    max_rise: RelativeRise | None = Field(
        default=None, description="The allowed rise in cost and latency, for example 10%"
    )
    confirm: Flag | None = Field(
        default=None, description="Measure both sides again before a degraded verdict blocks"
    )
    allow_removed: Flag | None = Field(
        default=None, description="Compare even if more than a tenth of the cases was removed"
    )
    max_error_rate: Share | None = Field(
        default=None,
        description="If a higher share of replies is missing, the test is an error; default: 0.05",
    )
    ci: Annotated[Interval, choice("interval", ("bounded", "t", "bca"))] | None = Field(
        default=None, description="The confidence interval of means; default: bounded"
    )
    strict: Flag | None = Field(
        default=None,
        description="The verdicts inconclusive, unverified and not comparable also fail",
    )


class UnitModel(PolicyModel):
    """One input with its expected output"""

    name: Title
    input: JsonMap = Field(description="The record's fields")
    expected: JsonMap = Field(
        default={},
        description="Expected fields of the output; min_X and max_X are the limits of field X",
    )
    assertions: tuple[Text, ...] = Field(
        default=(),
        description="For example `evaluation_score > 0.9` or `output.label contains 'a'`",
    )
    min_pass: Count | None = Field(
        default=None, description="The number of samples that must pass; default: all"
    )


class DistributionalModel(PolicyModel):
    """A test of many outputs together"""

    name: Title
    sample_size: Count | None = Field(
        default=None, description="The number of cases to use; default: all"
    )


class StatisticalModel(DistributionalModel):
    """Assertions over all outputs of a data set"""

    type: Annotated[Literal["statistical"], choice("type", ("statistical",))]
    assertions: tuple[Text, ...] = Field(
        min_length=1, description="For example `mean(evaluation_scores) > 0.75`"
    )


class HallucinationModel(DistributionalModel):
    """A limit for the fraction of outputs that fail a groundedness or factuality evaluator"""

    type: Annotated[Literal["hallucination_rate"], choice("type", ("hallucination_rate",))]
    threshold: Share = Field(
        description="The fraction of failing outputs must be less than this threshold"
    )
    evaluator: Evaluator | None = Field(
        default=None, description="Default: the evaluator of the pipeline"
    )


class CostModel(DistributionalModel):
    """A limit for the cost of 1,000 records"""

    type: Annotated[Literal["cost_budget"], choice("type", ("cost_budget",))]
    max_cost: NotNegative = Field(description="USD per 1,000 records")


class LatencyModel(DistributionalModel):
    """A limit for the 95th percentile of the latency"""

    type: Annotated[Literal["latency"], choice("type", ("latency",))]
    p95: SecondsOrDuration = Field(description="The 95th percentile, in seconds")


class RegressionModel(DistributionalModel):
    """Compares scores with the scores of a baseline"""

    type: Annotated[Literal["regression"], choice("type", ("regression",))]
    baseline: NonBlankText | None = Field(default=None, description="A branch or any Git revision")


class DriftModel(DistributionalModel):
    """Warns if the distribution of a field differs from the distribution in a baseline"""

    type: Annotated[Literal["drift"], choice("type", ("drift",))]
    baseline: NonBlankText | None = Field(default=None, description="A branch or any Git revision")
    field: NonBlankText | None = Field(default=None, description="For example output.sentiment")


def _kind(value: object) -> str | None:
    if not isinstance(value, dict):
        return f"{TAG_PREFIX}?"  # no model has this tag, so the error is `expected a map`
    kind = value.get("type")
    return None if kind is None else f"{TAG_PREFIX}{kind}"


DistributionalTest: TypeAlias = Annotated[
    Annotated[StatisticalModel, Tag(f"{TAG_PREFIX}statistical")]
    | Annotated[HallucinationModel, Tag(f"{TAG_PREFIX}hallucination_rate")]
    | Annotated[CostModel, Tag(f"{TAG_PREFIX}cost_budget")]
    | Annotated[LatencyModel, Tag(f"{TAG_PREFIX}latency")]
    | Annotated[RegressionModel, Tag(f"{TAG_PREFIX}regression")]
    | Annotated[DriftModel, Tag(f"{TAG_PREFIX}drift")],
    Discriminator(_kind),
]


class StepModel(FileModel):
    """One stage of the pipeline, with a description of the step"""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    extract: Text | None = Field(default=None, description="For example `100 sample records`")
    transform: Text | None = None
    evaluate: Text | None = None
    load: Text | None = None


class IntegrationModel(PolicyModel):
    """A run of the whole pipeline; by default, it loads into a temporary destination"""

    name: Title
    steps: tuple[StepModel, ...] = ()
    assertions: tuple[Text, ...] = Field(
        default=(), description="For example `records_loaded > 95`"
    )
    destination: NonBlankText | None = Field(
        default=None, description="A URL, for a test that must write to a real destination"
    )


class SuiteModel(FileModel):
    """Loom prompt tests"""

    model_config = ConfigDict(title="Loom prompt tests")

    pipeline: Name = Field(description="The pipeline under test")
    dataset: FilePath | None = Field(
        default=None,
        description="The cases of the distributional tests; default: the pipeline's extract",
    )
    vars: dict[str, VariableValue] = Field(
        default={}, description="Values of {{ vars.NAME }}; they replace the pipeline's defaults"
    )
    execution_date: Date | None = Field(
        default=None, description="The value of {{ execution_date }}, for example 2025-11-01"
    )
    defaults: PolicyModel | None = Field(
        default=None, description="Defaults for tests that do not set these keys"
    )
    unit_tests: tuple[UnitModel, ...] = ()
    distributional_tests: tuple[DistributionalTest, ...] = ()
    integration_tests: tuple[IntegrationModel, ...] = ()
