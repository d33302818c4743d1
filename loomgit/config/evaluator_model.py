"""Pydantic models of an evaluator in a file, and of the `config` of each built-in type."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag
from pydantic import JsonValue as PydanticJson

from loomgit.config.file_model import MAP, TEXT, FileModel, build_model, union_tag
from loomgit.config.output_schema import read_schema
from loomgit.config.scalars import (
    AnyNumber,
    CountFromZero,
    FieldName,
    Flag,
    JsonValue,
    NonBlankText,
    NotNegative,
    Pattern,
    Positive,
    RawMap,
    Reader,
    Share,
    Text,
    choice,
    read_nonblank_text,
)

if TYPE_CHECKING:
    from loomgit.domain.values import JsonObject

USER_FUNCTION = re.compile(r"[^:]+\.py:[A-Za-z_]\w*")


class EvaluatorConfig(FileModel):
    """The `config` keys of every built-in evaluator."""

    threshold: Share | None = Field(
        default=None, description="The same as `threshold` next to `config`"
    )
    field: FieldName | None = Field(
        default=None, description="The field of the output to evaluate; default: the whole output"
    )
    reference_field: FieldName | None = Field(
        default=None,
        description="The field of the input (or of a test's `expected`) to compare with",
    )
    reference: JsonValue = Field(default=None, description="A constant to compare with")


class JudgedConfig(EvaluatorConfig):
    """The `config` keys of evaluators that call a judge model."""

    criteria: NonBlankText | None = Field(
        default=None, description="The same as `criteria` next to `config`"
    )
    query_field: FieldName | None = Field(
        default=None, description="The field of the input that contains the question"
    )


class SemanticConfig(JudgedConfig):
    """The `config` keys of `semantic`."""

    backend: Annotated[str, choice("backend", ("judge", "lexical", "embedding"))] | None = Field(
        default=None,
        description="`judge` calls a model; `lexical` works offline; `embedding` uses vectors",
    )
    model: NonBlankText | None = Field(
        default=None, description="The embedding model, for `backend: embedding`"
    )


class TextConfig(EvaluatorConfig):
    """The `config` keys of `exact_match`, `similarity`, `rouge_l` and `bleu`."""

    ignore_case: Flag | None = Field(default=None, description="Ignore upper and lower case")


class ContainsConfig(TextConfig):
    """The `config` keys of `contains`."""

    value: Text | None = Field(
        default=None, description="The text that the output must contain; default: the reference"
    )


class RegexConfig(TextConfig):
    """The `config` keys of `regex`."""

    pattern: Pattern = Field(description="The regular expression that the output must match")


class SchemaConfig(EvaluatorConfig):
    """The `config` keys of `json_schema`."""

    schema_: Annotated[dict[str, PydanticJson], Reader(read_schema, {"type": "object"})] = Field(
        alias="schema", description="The JSON Schema that the output must satisfy"
    )


class NumericConfig(EvaluatorConfig):
    """The `config` keys of `numeric`."""

    min: AnyNumber | None = Field(default=None, description="The smallest number that passes")
    max: AnyNumber | None = Field(default=None, description="The largest number that passes")
    tolerance: NotNegative | None = Field(
        default=None, description="The largest allowed difference from the reference"
    )


class LengthConfig(EvaluatorConfig):
    """The `config` keys of `length`."""

    min: CountFromZero | None = Field(default=None, description="The fewest characters that pass")
    max: CountFromZero | None = Field(default=None, description="The most characters that pass")


class LatencyConfig(EvaluatorConfig):
    """The `config` keys of `latency`."""

    max: Positive = Field(description="The longest latency that passes, in seconds")


class CostConfig(EvaluatorConfig):
    """The `config` keys of `cost`."""

    max: NotNegative = Field(description="The highest cost of one record that passes, in USD")


class UserDefinedConfig(FileModel):
    """The `config` of a user-defined evaluator: `threshold`, `criteria` and any other keys."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    threshold: Share | None = None
    criteria: NonBlankText | None = None


CONFIGS: dict[str, type[FileModel]] = {
    "semantic": SemanticConfig,
    **dict.fromkeys(
        (
            "custom_criteria",
            "factuality",
            "groundedness",
            "relevance",
            "completeness",
            "no_hallucination",
            "attribution",
            "tone",
            "conciseness",
        ),
        JudgedConfig,
    ),
    **dict.fromkeys(("exact_match", "similarity", "rouge_l", "bleu"), TextConfig),
    "contains": ContainsConfig,
    "regex": RegexConfig,
    "json_schema": SchemaConfig,
    "numeric": NumericConfig,
    "length": LengthConfig,
    "latency": LatencyConfig,
    "cost": CostConfig,
}

# Evaluator types whose `config` must contain at least one of the listed keys.
REQUIRED_ONE_OF: dict[str, tuple[str, ...]] = {
    "length": ("min", "max"),
}


def config_model(kind: str) -> type[FileModel]:
    """Return the model of `config` for an evaluator type.

    For a type that is not built in, the model accepts any keys.
    """
    return CONFIGS.get(kind, UserDefinedConfig)


def _config_conditions(schema: JsonObject) -> None:
    """Add the `config` keys of each type to the JSON Schema, so that editors can suggest them."""
    schema["allOf"] = [
        {
            "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
            "then": {"properties": {"config": build_model(model).model_json_schema()}},
        }
        for kind, model in CONFIGS.items()
    ]


class EvaluatorModel(FileModel):
    """One evaluator with its options."""

    model_config = ConfigDict(json_schema_extra=_config_conditions, title="Evaluator")

    type: NonBlankText = Field(
        description="A built-in type, a type of a plugin, or `path/to/file.py:function`",
        examples=list(CONFIGS),
    )
    name: NonBlankText | None = Field(
        default=None, description="The name of the evaluator in results; default: its type"
    )
    threshold: Share | None = Field(
        default=None, description="The lowest score that passes; default: 0.7"
    )
    weight: Positive = Field(
        default=1.0, description="The weight of the score under `quality_gate: weighted`"
    )
    criteria: NonBlankText | None = Field(default=None, description="The criteria for the judge")
    config: RawMap | None = Field(default=None, description="The options of the type")


def _read_short_form(value: object) -> EvaluatorModel:
    return EvaluatorModel.model_construct(type=read_nonblank_text(value, "an evaluator"))


Evaluator: TypeAlias = Annotated[
    Annotated[EvaluatorModel, Reader(_read_short_form, {"type": "string"}), Tag(TEXT)]
    | Annotated[EvaluatorModel, Tag(MAP)],
    Discriminator(union_tag),
]
