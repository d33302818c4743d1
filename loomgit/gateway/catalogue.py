"""What litellm's table says of models: read as data, since importing litellm takes seconds."""

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
# Models that think first: they take no temperature but 1, and call their limit otherwise.
_REASONING = re.compile(r"(?:ft:)?(?:o\d|gpt-(?!5-chat)(?:[5-9]|\d\d))")


def find_entry(model: str, served: str) -> Mapping[str, Json]:
    """The table's entry for the model as served, else as asked for; empty where it has neither."""
    table = _table()
    for name in _names(model, served, table):
        if name in table:
            return table[name]
    return {}


def split_provider(model: str) -> tuple[str, str]:
    """Provider and bare name: `groq/llama3` is groq's; "" where nobody is known to serve it.

    A name without a provider is the one's that the table gives it to, a new snapshot of a listed
    model (`gpt-4o-2031-01-01`) its model's.
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
    """Whether the model is asked by OpenAI's chat API, and not by another one of OpenAI's."""
    return find_entry(model, model).get("mode", "chat") == "chat"


def takes_schema(provider: str, name: str) -> bool:
    """Whether the provider has means of its own for a reply of a given JSON Schema."""
    if provider in _TAKES_EVERY_SCHEMA:
        return True
    return find_entry(f"{provider}/{name}", name).get("supports_response_schema") is True


def is_reasoning(name: str) -> bool:
    """Whether this model of OpenAI's thinks before it answers."""
    return _REASONING.match(name) is not None


def takes_temperature(name: str) -> bool:
    """Whether this model of OpenAI's lets one choose: one that thinks does if it need not think."""
    entry = find_entry(f"{OPENAI}/{name}", name)
    return not is_reasoning(name) or entry.get("default_reasoning_effort") == "none"


def _names(model: str, served: str, table: Mapping[str, Mapping[str, Json]]) -> Iterator[str]:
    """The keys to look under. A name without its provider counts only where the provider is the
    same: a local server may call its model as it likes."""
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
    """litellm's table: 4,000 models, 30 ms."""
    return cast("Mapping[str, Mapping[str, Json]]", _read(TABLE))


@lru_cache(maxsize=1)
def _providers() -> frozenset[str]:
    """The prefixes that mean a provider to litellm."""
    listed = _read(PROVIDERS).get("providers", {})
    named = {str(entry.get("litellm_provider", "")) for entry in _table().values()}
    return frozenset({*(listed if isinstance(listed, dict) else ()), *named} - {""})


def _read(name: str) -> Mapping[str, Json]:
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return {}
    return cast("Mapping[str, Json]", orjson.loads((Path(spec.origin).parent / name).read_bytes()))
