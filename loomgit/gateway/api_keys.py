"""Finds the providers' API keys and server addresses in the environment, and checks their form."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from loomgit.domain.safe_text import remember
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The environment variables that may contain a provider's key. The first one is the variable in the
# provider's documentation. The larger table of litellm is not used, because the import of litellm
# takes seconds.
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
    """Return the provider's key, and the name of the variable that contains it.

    If no variable contains a key, return None and the variable in which users usually set the key.
    Raises UserError if the key is malformed.
    """
    names = key_variables(provider)
    name = next((name for name in names if environment.get(name, "").strip()), names[0])
    return read_key(environment.get(name, ""), name), name


def needs_key(provider: str) -> bool:
    """Return whether the provider is known to require a key.

    The result is False for a provider that `VARIABLES` does not contain.
    """
    return provider in VARIABLES and provider not in KEYLESS_PROVIDERS


def key_variables(provider: str) -> tuple[str, ...]:
    """Return the names of the variables that may contain the provider's key (at least one name)."""
    return VARIABLES.get(provider, (f"{provider.upper()}_API_KEY",))


def find_address(provider: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """Return the address of the provider's server, and the name of the variable that sets it.

    Both are "" if no variable is set. Raises UserError if the address is malformed.
    """
    names = (f"{provider.upper()}_BASE_URL", f"{provider.upper()}_API_BASE")
    name = next((name for name in names if environment.get(name, "").strip()), "")
    return (read_address(environment[name], name) if name else ""), name


def read_key(text: str, place: str) -> str | None:
    """Return the key without surrounding whitespace, or None if the text is blank.

    `place` is the source of the key, for error messages. Raises UserError if the key contains a
    character that an HTTP header cannot carry. The message does not show the key.
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

    `place` is the source of the address, for error messages. Raises UserError if the text is not an
    HTTP address, or if the address contains a user, a password, a query or a fragment. The message
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
