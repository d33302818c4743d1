"""Where the keys of providers are looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    name = next((name for name in names if environment.get(name)), names[0])
    return environment.get(name) or None, name


def needs_key(provider: str) -> bool:
    """Whether the provider is known to answer nobody without a key of the variables here."""
    return provider in VARIABLES and provider not in NO_KEY_NEEDED


def variables_of(provider: str) -> tuple[str, ...]:
    """The variables that may hold the provider's key; there is one at least."""
    return VARIABLES.get(provider, (f"{provider.upper()}_API_KEY",))


def find_address(provider: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """The provider's address, "" where none is chosen, and the variable that has it."""
    names = (f"{provider.upper()}_BASE_URL", f"{provider.upper()}_API_BASE")
    name = next((name for name in names if environment.get(name)), "")
    return environment.get(name, ""), name
