"""Resolves a model of the direct lane, which calls OpenAI's chat API without litellm.

The result contains the address, the name and the key of the model, and the features of its API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.errors import UserError
from loomgit.gateway.api_keys import (
    KEYLESS_PROVIDERS,
    find_address,
    find_key,
    read_address,
    read_key,
)
from loomgit.gateway.model_catalog import (
    OPENAI,
    is_reasoning,
    split_provider,
    takes_schema,
    takes_temperature,
)
from loomgit.gateway.provider_errors import CallTarget, missing_key
from loomgit.gateway.wire import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.settings import ModelSettings, Secret

CHAT_PATH = "/chat/completions"
# Providers for which `lane: direct` needs no base_url. Their default lane is litellm, except for
# OpenAI's own models.
ADDRESSES = {
    OPENAI: "https://api.openai.com/v1",
    "groq": "https://api.groq.com/openai/v1",
    "mistral": "https://api.mistral.ai/v1",
    "together_ai": "https://api.together.xyz/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "xai": "https://api.x.ai/v1",
    "fireworks_ai": "https://api.fireworks.ai/inference/v1",
    "cerebras": "https://api.cerebras.ai/v1",
    "ollama": "http://127.0.0.1:11434/v1",
}
# Headers that OpenAI's own clients send if these environment variables are set.
ACCOUNT_HEADERS = {"OPENAI_ORGANIZATION": "OpenAI-Organization", "OPENAI_PROJECT": "OpenAI-Project"}


class ChatEndpoint(Struct, frozen=True):
    """A resolved model. `name` is its name on the server. `asked` is data for error messages."""

    url: str
    name: str
    headers: Mapping[str, str]
    native_schema: bool
    reasoning: bool
    temperature: bool
    max_tokens: int | None
    asked: CallTarget


def resolve(
    model: str,
    settings: ModelSettings | None,
    *,
    reveal: Callable[[Secret], str],
    environment: Mapping[str, str],
) -> ChatEndpoint:
    """Return the endpoint of `model`.

    Raises Denied if the key of the model is missing. Raises UserError if its address is unknown, or
    if its settings name a variable that is not set.
    """
    known, name = split_provider(model)
    provider = known or OPENAI  # most servers with OpenAI's API use OpenAI's variables
    base_url, own_server = _base_url(model, provider, settings, reveal, environment)
    api_key, source = _key(model, provider, settings, reveal, environment, own_server=own_server)
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    if not own_server and provider == OPENAI:
        headers |= {
            ACCOUNT_HEADERS[name]: environment[name]
            for name in ACCOUNT_HEADERS
            if environment.get(name)
        }
    base = base_url.rstrip("/")
    timeout = (settings.timeout if settings else None) or TIMEOUT
    return ChatEndpoint(
        url=base if base.endswith(CHAT_PATH) else base + CHAT_PATH,
        name=name,
        headers=headers,
        native_schema=takes_schema(provider, name),
        reasoning=known == OPENAI and is_reasoning(name),
        temperature=known != OPENAI or takes_temperature(name),
        max_tokens=settings.max_output_tokens if settings else None,
        asked=CallTarget(model, source, base_url if own_server else None, timeout),
    )


def _base_url(
    model: str,
    provider: str,
    settings: ModelSettings | None,
    reveal: Callable[[Secret], str],
    environment: Mapping[str, str],
) -> tuple[str, bool]:
    """Return the address, and whether the user configured the address."""
    if settings is not None and settings.base_url is not None:
        place = f"{settings.base_url.place}: base_url of {model}"
        return read_address(reveal(settings.base_url), place), True
    address, _ = find_address(provider, environment)
    if not address and provider in ADDRESSES:
        return ADDRESSES[provider], False
    if not address:
        raise UserError(
            f"{model}: the address of its server is unknown",
            hint=f"set models: {{{model}: {{base_url: ...}}}} in .loom/config.yaml, "
            "or remove `lane: direct`",
        )
    return address, True


def _key(
    model: str,
    provider: str,
    settings: ModelSettings | None,
    reveal: Callable[[Secret], str],
    environment: Mapping[str, str],
    *,
    own_server: bool,
) -> tuple[str | None, str]:
    """Return the key, and a description of its source for error messages."""
    if settings is not None and settings.api_key is not None:
        place = f"{settings.api_key.place}: api_key of {model}"
        return read_key(reveal(settings.api_key), place), settings.api_key.source
    key, variable = find_key(provider, environment)
    if key is None and not own_server and provider not in KEYLESS_PROVIDERS:
        raise missing_key(model, variable)
    return key, variable
