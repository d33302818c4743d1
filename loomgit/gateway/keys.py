"""Where the keys and addresses of providers are looked for, and what they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from loomgit.domain.outside import remember
from loomgit.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

# The variables of a provider, first the one that its own documents name. Those of litellm that are
# not here are litellm's to know; it takes seconds to ask it.
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
NO_KEY_NEEDED = frozenset(("ollama", "ollama_chat"))


def find_key(provider: str, environment: Mapping[str, str]) -> tuple[str | None, str]:
    """The provider's key, None where it is nowhere, and the variable that has it or should."""
    names = variables_of(provider)
    name = next((name for name in names if environment.get(name, "").strip()), names[0])
    return read_key(environment.get(name, ""), name), name


def needs_key(provider: str) -> bool:
    """Whether the provider is known to answer nobody without a key of the variables here."""
    return provider in VARIABLES and provider not in NO_KEY_NEEDED


def variables_of(provider: str) -> tuple[str, ...]:
    """The variables that may hold the provider's key; there is one at least."""
    return VARIABLES.get(provider, (f"{provider.upper()}_API_KEY",))


def find_address(provider: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The provider's address, "" where none is chosen, and the variable that has it."""
    names = (f"{provider.upper()}_BASE_URL", f"{provider.upper()}_API_BASE")
    name = next((name for name in names if environment.get(name, "").strip()), "")
    return (read_address(environment[name], name) if name else ""), name


def read_key(text: str, place: str) -> str | None:
    """A key without the spaces and line ends around it; None if nothing is left.

    Raises UserError, without the key, for one that no header can carry.
    """
    key = text.strip()
    remember(key)
    if any(not "!" <= letter <= "~" for letter in key):
        raise UserError(
            f"{place}: the key holds a space, a line end or a letter that no header can carry",
            hint="copy the key alone",
        )
    return key or None


def read_address(text: str, place: str) -> str:
    """The address of a server without the spaces around it.

    Raises UserError, without the address, if it has no scheme, a user or password, or a query.
    """
    address = text.strip()
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or any(map(str.isspace, address)):
        raise UserError(
            f"{place}: not the address of a server", hint="it begins with https:// or http://"
        )
    if "@" in parts.netloc:
        raise UserError(
            f"{place}: the address holds a user or a password", hint="give the key as api_key"
        )
    if parts.query or parts.fragment or "?" in address:
        raise UserError(
            f"{place}: the address holds a query (`?...`)",
            hint="give the key as api_key, and other parameters under transform.params",
        )
    return address
