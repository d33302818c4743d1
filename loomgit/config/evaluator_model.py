"""Models of the evaluators in a file: the built-in types, and the `config` of each type."""

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
    """The keys that every built-in type accepts."""

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
    """The keys that the types with a judge model accept."""

    criteria: NonBlankText | None = Field(
        default=None, description="The same as `criteria` next to `config`"
    )
    query_field: FieldName | None = Field(
        default=None, description="The field of the input that contains the question"
    )


class SemanticConfig(JudgedConfig):
    """semantic"""

    backend: Annotated[str, choice("backend", ("judge", "lexical", "embedding"))] | None = Field(
        default=None,
        description="`judge` calls a model; `lexical` works offline; `embedding` uses vectors",
    )
    model: NonBlankText | None = Field(
        default=None, description="The embedding model, for `backend: embedding`"
    )


class TextConfig(EvaluatorConfig):
    """exact_match, similarity, rouge_l, bleu"""

    ignore_case: Flag | None = Field(default=None, description="Ignore upper and lower case")


class ContainsConfig(TextConfig):
    """contains"""

    value: Text | None = Field(
        default=None, description="The text that the output must contain; default: the reference"
    )


class RegexConfig(TextConfig):
    """regex"""

    pattern: Pattern = Field(description="The regular expression that the output must match")


class SchemaConfig(EvaluatorConfig):
    """json_schema"""

    schema_: Annotated[dict[str, PydanticJson], Reader(read_schema, {"type": "object"})] = Field(
        alias="schema", description="The JSON Schema that the output must satisfy"
    )


class NumericConfig(EvaluatorConfig):
    """numeric"""

    min: AnyNumber | None = Field(default=None, description="The smallest number that passes")
    max: AnyNumber | None = Field(default=None, description="The largest number that passes")
    tolerance: NotNegative | None = Field(
        default=None, description="The largest allowed difference from the reference"
    )


class LengthConfig(EvaluatorConfig):
    """length"""

    min: CountFromZero | None = Field(default=None, description="The fewest characters that pass")
    max: CountFromZero | None = Field(default=None, description="The most characters that pass")


class LatencyConfig(EvaluatorConfig):
    """latency"""

    max: Positive = Field(description="The longest latency that passes, in seconds")


class CostConfig(EvaluatorConfig):
    """cost"""

    max: NotNegative = Field(description="The highest cost of one record that passes, in USD")


class UserDefinedConfig(FileModel):
    """A user-defined evaluator: `threshold`, `criteria` and any other keys."""

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

# `config` must contain at least one of the keys listed here for its type.
REQUIRED_ONE_OF: dict[str, tuple[str, ...]] = {
    "length": ("min", "max"),
}


def config_model(kind: str) -> type[FileModel]:
    """Return the model of a type's `config`. The model of a user-defined type accepts any keys."""
    return CONFIGS.get(kind, UserDefinedConfig)


def _config_conditions(schema: JsonObject) -> None:
    """Add the keys of each type's `config` to the JSON Schema, for completion in editors."""
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
