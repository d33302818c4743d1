"""Evaluators in a file: the types there are, and what the `config` of each may hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, TypeAlias

from pydantic import ConfigDict, Discriminator, Field, Tag
from pydantic import JsonValue as PydanticJson

from loomgit.config.output_schema import read_schema
from loomgit.config.parts import MAP, TEXT, Part, ready, shape
from loomgit.config.scalars import (
    AnyNumber,
    CountFromZero,
    FieldName,
    Flag,
    JsonValue,
    NotNegative,
    Pattern,
    Positive,
    RawMap,
    Read,
    Share,
    Text,
    Word,
    choice,
    read_word,
)

if TYPE_CHECKING:
    from loomgit.domain.values import JsonObject

OWN_FUNCTION = re.compile(r"[^:]+\.py:[A-Za-z_]\w*")


class EvaluatorConfig(Part):
    """What every type takes."""

    threshold: Share | None = Field(default=None, description="As `threshold` beside `config`")
    field: FieldName | None = Field(
        default=None, description="The field of the output; default: all of it"
    )
    reference_field: FieldName | None = Field(
        default=None,
        description="The field of the input (or of a test's `expected`) to compare with",
    )
    reference: JsonValue = Field(default=None, description="A constant to compare with")


class JudgedConfig(EvaluatorConfig):
    """What the types that ask a model take."""

    criteria: Word | None = Field(default=None, description="As `criteria` beside `config`")
    query_field: FieldName | None = Field(
        default=None, description="The field of the input with the question"
    )


class SemanticConfig(JudgedConfig):
    """semantic"""

    backend: Annotated[str, choice("backend", ("judge", "lexical", "embedding"))] | None = Field(
        default=None,
        description="`judge` asks a model; `lexical` is offline; `embedding` uses vectors",
    )
    model: Word | None = Field(
        default=None, description="The embedding model, for `backend: embedding`"
    )


class TextConfig(EvaluatorConfig):
    """exact_match, similarity, rouge_l, bleu"""

    ignore_case: Flag | None = Field(default=None, description="Compare without regard to case")


class ContainsConfig(TextConfig):
    """contains"""

    value: Text | None = Field(
        default=None, description="The text that must occur; else the reference must"
    )


class RegexConfig(TextConfig):
    """regex"""

    pattern: Pattern = Field(description="The regular expression that must match")


class SchemaConfig(EvaluatorConfig):
    """json_schema"""

    schema_: Annotated[dict[str, PydanticJson], Read(read_schema, {"type": "object"})] = Field(
        alias="schema", description="The JSON Schema that the output must fit"
    )


class NumericConfig(EvaluatorConfig):
    """numeric"""

    min: AnyNumber | None = Field(default=None, description="The smallest number that passes")
    max: AnyNumber | None = Field(default=None, description="The largest number that passes")
    tolerance: NotNegative | None = Field(
        default=None, description="How far from the reference a number may be"
    )


class LengthConfig(EvaluatorConfig):
    """length"""

    min: CountFromZero | None = Field(default=None, description="The fewest characters that pass")
    max: CountFromZero | None = Field(default=None, description="The most characters that pass")


class LatencyConfig(EvaluatorConfig):
    """latency"""

    max: Positive = Field(description="Seconds")


class CostConfig(EvaluatorConfig):
    """cost"""

    max: NotNegative = Field(description="USD for one record")


class OwnConfig(Part):
    """A user's own evaluator: beside `threshold` and `criteria`, whatever it likes."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue] = Field(init=False)

    threshold: Share | None = None
    criteria: Word | None = None


CONFIGS: dict[str, type[Part]] = {
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

# Of these at least one must be in `config`.
ONE_OF: dict[str, tuple[str, ...]] = {
    "length": ("min", "max"),
}


def config_model(kind: str) -> type[Part]:
    """The model of a type's `config`; types that are not ours take anything."""
    return CONFIGS.get(kind, OwnConfig)


def _conditions(schema: JsonObject) -> None:
    """Tell editors which keys `config` has, by the type that stands beside it."""
    schema["allOf"] = [
        {
            "if": {"properties": {"type": {"const": kind}}, "required": ["type"]},
            "then": {"properties": {"config": ready(model).model_json_schema()}},
        }
        for kind, model in CONFIGS.items()
    ]


class EvaluatorModel(Part):
    """One evaluator, with what it takes."""

    model_config = ConfigDict(json_schema_extra=_conditions, title="Evaluator")

    type: Word = Field(
        description="A type of Loom's, of a plugin, or `path/to/file.py:function`",
        examples=list(CONFIGS),
    )
    name: Word | None = Field(
        default=None, description="What it is called in results; default: its type"
    )
    threshold: Share | None = Field(
        default=None, description="A record passes at this score; default 0.7"
    )
    weight: Positive = Field(default=1.0, description="Its share under `quality_gate: weighted`")
    criteria: Word | None = Field(default=None, description="What a judge is asked to look for")
    config: RawMap | None = Field(default=None, description="What its type takes")


def _short(value: object) -> EvaluatorModel:
    return EvaluatorModel.model_construct(type=read_word(value, "an evaluator"))


Evaluator: TypeAlias = Annotated[
    Annotated[EvaluatorModel, Read(_short, {"type": "string"}), Tag(TEXT)]
    | Annotated[EvaluatorModel, Tag(MAP)],
    Discriminator(shape),
]
