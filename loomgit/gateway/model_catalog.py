"""Reads litellm's table of models from a file, because importing litellm takes seconds."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from loomgit.domain.values import Json

TABLE = "model_prices_and_context_window_backup.json"
PROVIDERS = "provider_endpoints_support_backup.json"
OPENAI = "openai"
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_TAKES_EVERY_SCHEMA = {"predibase", "fireworks_ai", "lm_studio", "nebius", "databricks"}
# Matches OpenAI's reasoning models. They need `max_completion_tokens` instead of `max_tokens`. Most
# of them accept only temperature 1 (see `takes_temperature`).
_REASONING = re.compile(r"(?:ft:)?(?:o\d|gpt-(?!5-chat)(?:[5-9]|\d\d))")


def find_entry(model: str, served: str) -> Mapping[str, Json]:
    """Return the entry of the served model in litellm's table.

    If the table has no such entry, return the entry of the requested model. If both are missing,
    return an empty mapping.
    """
    table = _table()
    for name in _names(model, served, table):
        if name in table:
            return table[name]
    return {}


def split_provider(model: str) -> tuple[str, str]:
    """Return the provider, and the model's name without the provider.

    The provider of `groq/llama3` is groq. If the name contains no provider, litellm's table
    supplies it. A snapshot that the table does not list (`gpt-4o-2031-01-01`) has the provider of
    the listed model (`gpt-4o`). The provider is "" if it is unknown.
    """
    prefix, slash, bare = model.partition("/")
    if slash and prefix in _providers():
        return prefix, bare
    if slash:
        return "", model
    table = _table()
    entry = table.get(model) or table.get(_SNAPSHOT.sub("", model)) or {}
    return str(entry.get("litellm_provider", "")), model


def speaks_chat(model: str) -> bool:
    """Return whether the model uses OpenAI's chat API. Some models of OpenAI use other APIs."""
    return find_entry(model, model).get("mode", "chat") == "chat"


def takes_schema(provider: str, name: str) -> bool:
    """Return whether the provider can force the model's replies to match a JSON Schema."""
    if provider in _TAKES_EVERY_SCHEMA:
        return True
    return find_entry(f"{provider}/{name}", name).get("supports_response_schema") is True


def is_reasoning(name: str) -> bool:
    """Return whether this OpenAI model is a reasoning model."""
    return _REASONING.match(name) is not None


def takes_temperature(name: str) -> bool:
    """Return whether this OpenAI model accepts temperatures other than 1.

    A reasoning model accepts other temperatures if its reasoning is off by default.
    """
    entry = find_entry(f"{OPENAI}/{name}", name)
    return not is_reasoning(name) or entry.get("default_reasoning_effort") == "none"


def _names(model: str, served: str, table: Mapping[str, Mapping[str, Json]]) -> Iterator[str]:
    """Yield the keys to look up in the table, the most exact key first.

    A key without a provider is used only if its entry in the table is for the provider of `model`.
    Otherwise, a model of a local server could get the entry of another model with the same name.
    """
    prefix, slash, bare = model.partition("/")
    provider = prefix if slash else str(table.get(model, {}).get("litellm_provider", ""))
    if provider:
        for name in (served, bare) if slash else (served,):
            yield f"{provider}/{name.removeprefix(f'{provider}/')}"
            if str(table.get(name, {}).get("litellm_provider", "")).startswith(provider):
                yield name
    yield model


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Mapping[str, Json]]:
    """Return litellm's table. It lists 4,000 models and loads in 30 ms."""
    return cast("Mapping[str, Mapping[str, Json]]", _read(TABLE))


@lru_cache(maxsize=1)
def _providers() -> frozenset[str]:
    """Return the prefixes of model names that litellm treats as providers."""
    listed = _read(PROVIDERS).get("providers", {})
    named = {str(entry.get("litellm_provider", "")) for entry in _table().values()}
    return frozenset({*(listed if isinstance(listed, dict) else ()), *named} - {""})


def _read(name: str) -> Mapping[str, Json]:
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    return cast("Mapping[str, Json]", orjson.loads((Path(spec.origin).parent / name).read_bytes()))
