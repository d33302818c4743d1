"""Finds the API keys and addresses of providers in the environment, and checks their form."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from loomgit.domain.safe_text import remember
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The environment variables of each provider. The first is the one in the provider's documentation.
# litellm knows the variables of more providers, but takes seconds to import.
VARIABLES = {
    "openai": ("OPENAI_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "mistral": ("MISTRAL_API_KEY",),
    "groq": ("GROQ_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "ollama": ("OLLAMA_API_KEY",),
    "ollama_chat": ("OLLAMA_API_KEY",),
}
KEYLESS_PROVIDERS = frozenset(("ollama", "ollama_chat"))


def find_key(provider: str, environment: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the provider's key and the name of its variable.

    If the environment contains no key, return None and the variable in which users usually set it.
    """
    names = key_variables(provider)
    name = next((name for name in names if environment.get(name, "").strip()), names[0])
    return read_key(environment.get(name, ""), name), name


def needs_key(provider: str) -> bool:
    """Return whether the provider is known to require a key from `VARIABLES`."""
    return provider in VARIABLES and provider not in KEYLESS_PROVIDERS


def key_variables(provider: str) -> tuple[str, ...]:
    """Return the names of the variables that may contain the provider's key. At least one."""
    return VARIABLES.get(provider, (f"{provider.upper()}_API_KEY",))


def find_address(provider: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the provider's address and the name of its variable, or "" and "" if none is set."""
    names = (f"{provider.upper()}_BASE_URL", f"{provider.upper()}_API_BASE")
    name = next((name for name in names if environment.get(name, "").strip()), "")
    return (read_address(environment[name], name) if name else ""), name


def read_key(text: str, place: str) -> str | None:
    """Return the key without surrounding whitespace, or None if no other text remains.

    Raises UserError if an HTTP header cannot carry the key. The message does not show the key.
    """
    key = text.strip()
    remember(key)
    if any(not "!" <= character <= "~" for character in key):
        raise UserError(
            f"{place}: the key contains a space, a line end or another character that no header "
            "can carry",
            hint="copy only the key",
        )
    return key or None


def read_address(text: str, place: str) -> str:
    """Return the address of a server without surrounding whitespace.

    Raises UserError if the address has no scheme, or has a user, a password or a query. The message
    does not show the address.
    """
    address = text.strip()
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or any(map(str.isspace, address)):
        raise UserError(
            f"{place}: not the address of a server",
            hint="an address begins with https:// or http://",
        )
    if "@" in parts.netloc:
        raise UserError(
            f"{place}: the address contains a user or a password", hint="set the key as api_key"
        )
    if parts.query or parts.fragment or "?" in address:
        raise UserError(
            f"{place}: the address contains a query (`?...`)",
            hint="set the key as api_key, and other parameters under transform.params",
        )
    return address
