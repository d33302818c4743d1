"""The pydantic model of `.loom/config.yaml`, and the parser that converts the file to Settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from msgspec.structs import replace
from pydantic import ConfigDict, Discriminator, Field, Tag

from loomgit.config.document import is_null
from loomgit.config.file_model import (
    MAP,
    TEXT,
    FileModel,
    problems_error,
    union_tag,
    validate,
)
from loomgit.config.pipeline_model import Concurrency  # noqa: TC001 - pydantic reads it
from loomgit.config.project_files import REFERENCE
from loomgit.config.scalars import (
    Count,
    Flag,
    InvalidValue,
    JsonMap,
    NonBlankText,
    NotNegative,
    Reader,
    SecondsOrDuration,
    choice,
)
from loomgit.config.yaml_text import parse_yaml
from loomgit.domain.settings import (
    ConnectionSettings,
    Defaults,
    Lane,
    ModelSettings,
    Secret,
    Settings,
    Target,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.config.document import Document, Path
    from loomgit.domain.place import Place, Problem

REFERENCE_START = re.compile(r"\$\{")
ALIAS = re.compile(r"[\w.-]+")


def _read_secret(value: object) -> str:
    """Return a text that can contain `${NAME}` references to environment variables.

    Raises InvalidValue for an incomplete reference, and for a value that is not text. The message
    does not contain the value, because the value may be a secret.
    """
    if not isinstance(value, str) or is_null(value) or not value.strip():
        raise InvalidValue("expected text")
    if len(REFERENCE_START.findall(value)) != len(REFERENCE.findall(value)):
        raise InvalidValue(
            "incomplete reference to a variable", "write ${NAME} or ${NAME:-default}"
        )
    return str(value)


SecretText: TypeAlias = Annotated[str, Reader(_read_secret, {"type": "string", "minLength": 1})]


class ConnectionModel(FileModel):
    """A connection to a database"""

    url: SecretText = Field(description="The URL; ${NAME} is a variable of the environment")
    loom_schema: NonBlankText | None = Field(
        default=None,
        description="The schema of Loom's own tables; default: the schema in the address",
    )


def _read_url(value: object) -> ConnectionModel:
    return ConnectionModel.model_construct(url=_read_secret(value), loom_schema=None)


ConnectionForm: TypeAlias = Annotated[
    Annotated[ConnectionModel, Reader(_read_url, {"type": "string", "minLength": 1}), Tag(TEXT)]
    | Annotated[ConnectionModel, Tag(MAP)],
    Discriminator(union_tag),
]


class DefaultsModel(FileModel):
    """Defaults for pipelines that do not set these keys"""

    model: NonBlankText | None = Field(
        default=None, description="Default: embedded/icl, which needs no key"
    )
    judge_model: NonBlankText | None = Field(default=None, description="The model for evaluators")
    concurrency: Concurrency = Field(default=None, description="Concurrent calls; auto adapts")
    cache: Flag = Field(default=True, description="Whether the cache can supply replies")
    store: NonBlankText | None = Field(default=None, description="The location of results")


class TargetModel(FileModel):
    """Settings that replace those of the project if the target is selected"""

    connections: dict[str, ConnectionForm] = Field(
        default={}, description="Databases by alias; they replace the connections of the project"
    )
    defaults: DefaultsModel | None = Field(
        default=None, description="Keys that replace the same keys of `defaults`"
    )
    budget: NotNegative | None = Field(
        default=None, description="The maximum cost of a run, in USD"
    )
    production: Flag = Field(default=False, description="Whether this target is production")


class ModelSettingsModel(FileModel):
    """Settings of one model"""

    base_url: SecretText | None = Field(default=None, description="The URL of its endpoint")
    api_key: SecretText | None = Field(
        default=None, description="The API key, for example ${OPENAI_API_KEY}"
    )
    lane: Annotated[Lane, choice("lane", ("direct", "litellm", "embedded"))] | None = Field(
        default=None, description="The client for the model; default: depends on the model's name"
    )
    input_price: NotNegative | None = Field(default=None, description="USD per million tokens")
    output_price: NotNegative | None = Field(default=None, description="USD per million tokens")
    cached_input_price: NotNegative | None = Field(
        default=None, description="USD per million tokens"
    )
    price_as: NonBlankText | None = Field(
        default=None, description="Another model, whose prices Loom uses for this one"
    )
    rpm: Count | None = Field(default=None, description="The limit of requests per minute")
    tpm: Count | None = Field(default=None, description="The limit of tokens per minute")
    timeout: SecondsOrDuration | None = Field(
        default=None, description="The timeout of a call, in seconds"
    )
    max_output_tokens: Count | None = Field(
        default=None, description="The model's own limit for the length of a reply, in tokens"
    )


class HooksModel(FileModel):
    """Limits of Git hooks"""

    budget: NotNegative | None = Field(
        default=None, description="The maximum cost of one push or commit, in USD"
    )


class SettingsModel(FileModel):
    """Configuration of a Loom project"""

    model_config = ConfigDict(title="Loom configuration")

    connections: dict[str, ConnectionForm] = Field(
        default={}, description="Databases by alias: a URL, or a map with url and loom_schema"
    )
    targets: dict[str, TargetModel] = Field(
        default={},
        description="Targets by name, such as dev and prod; --target selects one, the first is the"
        " default",
    )
    defaults: DefaultsModel | None = None
    models: dict[str, ModelSettingsModel] = Field(
        default={}, description="Prices, base URLs and rate limits by model"
    )
    accept_from: Annotated[
        Literal["anyone", "others"], choice("accept_from", ("anyone", "others"))
    ] = Field(
        default="anyone",
        description="Who can write a valid Loom-Accept; `others` excludes the change's authors",
    )
    hooks: HooksModel | None = Field(default=None, description="Limits of Git hooks")
    channels: dict[str, JsonMap] = Field(default={}, description="Channels of alerts, by name")
    baseline: NonBlankText | None = Field(default=None, description="The default branch")
    store: Annotated[Literal["local", "tracked"], choice("store", ("local", "tracked"))] = Field(
        default="local", description="`tracked` lets you commit .loom/runs"
    )


def parse_settings(text: str, path: str) -> Settings:
    """Parse the project's configuration. If the file is empty, return the default settings.

    Raises ProblemsFound with all problems.
    """
    document = parse_yaml(text, path, may_be_empty=True)
    model = validate(SettingsModel, document)
    targets: list[Path] = [("targets", name) for name in _keys(document, ("targets",))]
    problems = [
        *document.problems,
        *_name_problems(document, ("connections",), "an alias"),
        *_name_problems(document, ("targets",), "the name of a target"),
    ]
    for target in targets:
        problems += _name_problems(document, (*target, "connections"), "an alias")
    if isinstance(model, list):
        raise problems_error([*problems, *model])
    production = [name for name, target in model.targets.items() if target.production]
    for name in production[1:]:
        message = f"only one target can be production, and {production[0]} already is"
        problems.append(document.problem(("targets", name, "production"), message))
    if problems:
        raise problems_error(problems)
    return _settings(model, document)


def _name_problems(document: Document, path: Path, noun: str) -> Iterator[Problem]:
    """Yield a problem for each invalid name among the keys of the map at `path`."""
    for name in _keys(document, path):
        if not ALIAS.fullmatch(name):
            message = f"{noun} can only contain letters, digits, '_', '-' and '.'"
            yield document.problem((*path, name), message)


def _keys(document: Document, path: Path) -> list[str]:
    value = document.find(path)
    return list(value) if isinstance(value, dict) else []


def _settings(model: SettingsModel, document: Document) -> Settings:
    connections = _connections(model.connections, document, ("connections",))
    defaults = _defaults(model.defaults, Defaults())
    return Settings(
        connections=connections,
        defaults=defaults,
        targets={
            name: Target(
                connections={
                    **connections,
                    **_connections(target.connections, document, ("targets", name, "connections")),
                },
                defaults=_defaults(target.defaults, defaults),
                budget=target.budget,
                production=target.production,
            )
            for name, target in model.targets.items()
        },
        models={
            name: _model(settings, document, ("models", name))
            for name, settings in model.models.items()
        },
        channels=model.channels,
        hooks_budget=model.hooks.budget if model.hooks else None,
        baseline=model.baseline,
        store=model.store,
        accept_from=model.accept_from,
        places=document.places(),
    )


def _connections(
    models: Mapping[str, ConnectionModel], document: Document, path: Path
) -> dict[str, ConnectionSettings]:
    """Convert the connections at `path` of the file."""
    return {
        alias: ConnectionSettings(
            Secret(connection.url, _place_of_url(document, (*path, alias))), connection.loom_schema
        )
        for alias, connection in models.items()
    }


def _defaults(model: DefaultsModel | None, others: Defaults) -> Defaults:
    """Return `others`, with the values that `model` sets. `concurrency: auto` is also a value."""
    if model is None:
        return others
    return replace(others, **{name: getattr(model, name) for name in model.model_fields_set})


def _place_of_url(document: Document, path: Path) -> Place:
    is_map = isinstance(document.find(path), dict)
    return document.text_place((*path, "url") if is_map else path)


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
