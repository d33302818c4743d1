"""`.loom/config.yaml` as users write it, and the settings made of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import ConfigDict, Field

from loomgit.config.document import is_null
from loomgit.config.parts import Part, all_of, check
from loomgit.config.pipeline_model import Concurrency  # noqa: TC001 - pydantic reads it
from loomgit.config.scalars import (
    Count,
    Flag,
    JsonMap,
    NotNegative,
    Read,
    SecondsOrDuration,
    Word,
    Wrong,
    choice,
)
from loomgit.config.text import REFERENCE
from loomgit.config.yamltext import parse_yaml
from loomgit.domain.settings import Defaults, Lane, ModelSettings, Secret, Settings

if TYPE_CHECKING:
    from loomgit.config.document import Document, Path

OPENING = re.compile(r"\$\{")
ALIAS = re.compile(r"[\w.-]+")


def _read_secret(value: object) -> str:
    """Text with `${NAME}` references. Its faults never repeat what was written."""
    if not isinstance(value, str) or is_null(value) or not value.strip():
        raise Wrong("expected text")
    if len(OPENING.findall(value)) != len(REFERENCE.findall(value)):
        raise Wrong("a reference is not whole", "write ${NAME} or ${NAME:-default}")
    return str(value)


SecretText: TypeAlias = Annotated[str, Read(_read_secret, {"type": "string", "minLength": 1})]


class DefaultsModel(Part):
    """What a pipeline that is silent gets"""

    model: Word | None = Field(
        default=None, description="Default: embedded/icl, which needs no key"
    )
    judge_model: Word | None = Field(default=None, description="The model that evaluators ask")
    concurrency: Concurrency = Field(default=None, description="Calls in flight; auto adapts")
    cache: Flag = Field(default=True, description="Whether replies may come from the cache")
    store: Word | None = Field(default=None, description="Where results are kept")


class ModelSettingsModel(Part):
    """What the project says of one model"""

    base_url: SecretText | None = Field(default=None, description="The URL of its endpoint")
    api_key: SecretText | None = Field(default=None, description="As ${OPENAI_API_KEY}")
    lane: Annotated[Lane, choice("lane", ("direct", "litellm", "embedded"))] | None = Field(
        default=None, description="The way to the model; default: chosen by its name"
    )
    input_price: NotNegative | None = Field(default=None, description="USD per million tokens")
    output_price: NotNegative | None = Field(default=None, description="USD per million tokens")
    cached_input_price: NotNegative | None = Field(
        default=None, description="USD per million tokens"
    )
    price_as: Word | None = Field(default=None, description="The model whose prices to use")
    rpm: Count | None = Field(default=None, description="Requests per minute")
    tpm: Count | None = Field(default=None, description="Tokens per minute")
    timeout: SecondsOrDuration | None = Field(default=None, description="Seconds")
    max_output_tokens: Count | None = Field(default=None, description="The model's own limit")


class HooksModel(Part):
    """What Git hooks may do"""

    budget: NotNegative | None = Field(
        default=None, description="USD that one push or commit may spend"
    )


class SettingsModel(Part):
    """Configuration of a Loom project"""

    model_config = ConfigDict(title="Loom configuration")

    connections: dict[str, SecretText] = Field(
        default={}, description="Alias: URL, with ${NAME} from the environment"
    )
    defaults: DefaultsModel | None = None
    models: dict[str, ModelSettingsModel] = Field(
        default={}, description="By model: prices, base URLs, rate limits"
    )
    accept_from: Annotated[
        Literal["anyone", "others"], choice("accept_from", ("anyone", "others"))
    ] = Field(
        default="anyone",
        description="Whose Loom-Accept counts: `others` are no authors of the change",
    )
    hooks: HooksModel | None = Field(default=None, description="Limits of Git hooks")
    channels: dict[str, JsonMap] = Field(default={}, description="Where alerts go, by name")
    baseline: Word | None = Field(default=None, description="The default branch")
    store: Annotated[Literal["local", "tracked"], choice("store", ("local", "tracked"))] = Field(
        default="local", description="`tracked` keeps .loom/runs in the tree"
    )


def parse_settings(text: str, path: str) -> Settings:
    """Read the project's configuration; an empty file leaves everything as it is.

    Raises ProblemsFound with every fault.
    """
    document = parse_yaml(text, path, may_be_empty=True)
    model = check(SettingsModel, document)
    problems = [*document.problems]
    for alias in _keys(document, ("connections",)):
        if not ALIAS.fullmatch(alias):
            message = "an alias has letters, digits, '_', '-' and '.'"
            problems.append(document.problem(("connections", alias), message))
    if isinstance(model, list):
        raise all_of([*problems, *model])
    if problems:
        raise all_of(problems)
    return _settings(model, document)


def _keys(document: Document, path: Path) -> list[str]:
    found = document.find(path)
    return list(found) if isinstance(found, dict) else []


def _settings(model: SettingsModel, document: Document) -> Settings:
    said = model.defaults or DefaultsModel.model_construct()
    return Settings(
        connections={
            alias: Secret(text, document.text_place(("connections", alias)))
            for alias, text in model.connections.items()
        },
        defaults=Defaults(
            model=said.model or Defaults().model,
            judge_model=said.judge_model,
            concurrency=said.concurrency,
            cache=said.cache,
            store=said.store,
        ),
        models={
            name: _model(one, document, ("models", name)) for name, one in model.models.items()
        },
        channels=model.channels,
        hooks_budget=model.hooks.budget if model.hooks else None,
        baseline=model.baseline,
        store=model.store,
        accept_from=model.accept_from,
        places=document.places(),
    )


def _model(model: ModelSettingsModel, document: Document, path: Path) -> ModelSettings:
    def secret(key: str, text: str | None) -> Secret | None:
        return None if text is None else Secret(text, document.text_place((*path, key)))

    return ModelSettings(
        base_url=secret("base_url", model.base_url),
        api_key=secret("api_key", model.api_key),
        lane=model.lane,
        input_price=model.input_price,
        output_price=model.output_price,
        cached_input_price=model.cached_input_price,
        price_as=model.price_as,
        rpm=model.rpm,
        tpm=model.tpm,
        timeout=model.timeout,
        max_output_tokens=model.max_output_tokens,
    )
