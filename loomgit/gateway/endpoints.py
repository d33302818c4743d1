"""Where the direct lane finds a model: address, name, key, and what its API takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.errors import UserError
from loomgit.gateway.catalogue import (
    OPENAI,
    is_reasoning,
    split_provider,
    takes_schema,
    takes_temperature,
)
from loomgit.gateway.faults import Asked, missing_key
from loomgit.gateway.keys import NO_KEY_NEEDED, find_address, find_key, read_address, read_key
from loomgit.gateway.wire import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from loomgit.domain.settings import ModelSettings, Secret

CHAT = "/chat/completions"
# Providers that `lane: direct` reaches without a base_url; the other lane asks them by default.
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
# The account's parts that OpenAI's own clients send when these are set.
ACCOUNT = {"OPENAI_ORGANIZATION": "OpenAI-Organization", "OPENAI_PROJECT": "OpenAI-Project"}


class ChatEndpoint(Struct, frozen=True):
    """A model resolved once; `name` is what its server calls it, `asked` what errors may say."""

    url: str
    name: str
    headers: Mapping[str, str]
    native_schema: bool
    reasoning: bool
    temperature: bool
    max_tokens: int | None
    asked: Asked


def resolve(
    model: str,
    settings: ModelSettings | None,
    *,
    reveal: Callable[[Secret], str],
    environment: Mapping[str, str],
) -> ChatEndpoint:
    """The endpoint of `model`.

    Raises Denied where its key is nowhere, UserError where nobody says where it is, or where a
    variable that its settings name is not set.
    """
    known, name = split_provider(model)
    provider = known or OPENAI  # whoever speaks its API: its variables are the usual ones there
    base_url, own = _base_url(model, provider, settings, reveal, environment)
    api_key, source = _key(model, provider, settings, reveal, environment, own_server=own)
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    if not own and provider == OPENAI:
        headers |= {ACCOUNT[name]: environment[name] for name in ACCOUNT if environment.get(name)}
    base = base_url.rstrip("/")
    timeout = (settings.timeout if settings else None) or TIMEOUT
    return ChatEndpoint(
        url=base if base.endswith(CHAT) else base + CHAT,
        name=name,
        headers=headers,
        native_schema=takes_schema(provider, name),
        reasoning=known == OPENAI and is_reasoning(name),
        temperature=known != OPENAI or takes_temperature(name),
        max_tokens=settings.max_output_tokens if settings else None,
        asked=Asked(model, source, base_url if own else None, timeout),
    )


def _base_url(
    model: str,
    provider: str,
    settings: ModelSettings | None,
    reveal: Callable[[Secret], str],
    environment: Mapping[str, str],
) -> tuple[str, bool]:
    """The address, and whether somebody chose it."""
    if settings is not None and settings.base_url is not None:
        place = f"{settings.base_url.place}: base_url of {model}"
        return read_address(reveal(settings.base_url), place), True
    said, _ = find_address(provider, environment)
    if not said and provider in ADDRESSES:
        return ADDRESSES[provider], False
    if not said:
        raise UserError(
            f"{model}: nothing says where it is",
            hint=f"write models: {{{model}: {{base_url: ...}}}} into .loom/config.yaml, "
            "or leave `lane: direct` out",
        )
    return said, True


def _key(
    model: str,
    provider: str,
    settings: ModelSettings | None,
    reveal: Callable[[Secret], str],
    environment: Mapping[str, str],
    *,
    own_server: bool,
) -> tuple[str | None, str]:
    """The key, and where it comes from as an error may say it."""
    if settings is not None and settings.api_key is not None:
        place = f"{settings.api_key.place}: api_key of {model}"
        return read_key(reveal(settings.api_key), place), settings.api_key.source
    key, variable = find_key(provider, environment)
    if key is None and not own_server and provider not in NO_KEY_NEEDED:
        raise missing_key(model, variable)
    return key, variable
