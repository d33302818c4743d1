"""Finds the server of a model that Loom calls over OpenAI's chat API, without litellm.

The result contains the address, the model's name on the server, the key, and the features of the
API. These models use the lane `direct` (a lane is a gateway that calls models).
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
# Providers for which the setting `lane: direct` needs no base_url. If `lane` is not set, only the
# models of OpenAI use this lane; the models of the other providers are called through litellm.
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
# Maps environment variables to the headers in which OpenAI's own clients send the values.
ACCOUNT_HEADERS = {"OPENAI_ORGANIZATION": "OpenAI-Organization", "OPENAI_PROJECT": "OpenAI-Project"}


class ChatEndpoint(Struct, frozen=True):
    """The server of a model, and the features of the model.

    `name` is the model's name on the server. `native_schema` is true if the provider can force
    replies to match a JSON Schema. `temperature` is true if the model accepts temperatures other
    than 1. `max_tokens` is the configured limit of a reply. `asked` describes the target of the
    calls in error messages.
    """

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

    Raises Denied if the key of the model is missing. Raises UserError if the address is unknown or
    malformed, or if the settings refer to an environment variable that is not set.
    """
    known, name = split_provider(model)
    provider = known or OPENAI  # other servers often use OpenAI's variables too
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
    """Return the address of the server, and whether the user configured the address."""
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
    """Return the key, and the source of the key for error messages.

    Raises Denied if the key is required and missing.
    """
    if settings is not None and settings.api_key is not None:
        place = f"{settings.api_key.place}: api_key of {model}"
        return read_key(reveal(settings.api_key), place), settings.api_key.source
    key, variable = find_key(provider, environment)
    if key is None and not own_server and provider not in KEYLESS_PROVIDERS:
        raise missing_key(model, variable)
    return key, variable
