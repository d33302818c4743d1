"""Prices of calls: from the settings of the project, otherwise from litellm's price table."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.gateway.model_catalog import find_entry
from loomgit.gateway.routing import is_embedded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loomgit.domain.models import Usage
    from loomgit.domain.settings import ModelSettings
    from loomgit.domain.values import Json

MILLION = 1_000_000
_TIER = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


class UnitPrice(Struct, frozen=True):
    """The price of one token in USD: for input, output, and input that the provider cached."""

    input: float
    output: float
    cached: float

    def cost(self, usage: Usage) -> float:
        """Return the cost of `usage` in USD. The input tokens include the cached tokens."""
        cached = min(usage.cached, usage.input)
        fresh = usage.input - cached
        return fresh * self.input + cached * self.cached + usage.output * self.output


FREE = UnitPrice(0.0, 0.0, 0.0)


class Prices:
    """Finds the price of a model by its name in the pipeline and its name at the provider."""

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        self._models = models

    def cost(self, model: str, served: str, usage: Usage) -> float | None:
        """Return the cost of one call in USD. If no price is known, the result is None, never 0.

        `model` is the requested name. `served` is the name that the provider reports, which may be
        a dated snapshot with its own price.
        """
        price = self.unit_price(model, served, prompt_tokens=usage.input)
        return None if price is None else price.cost(usage)

    def unit_price(
        self, model: str, served: str | None = None, *, prompt_tokens: int = 0
    ) -> UnitPrice | None:
        """Return the price of one token, or None if the price is unknown.

        `prompt_tokens` is the length of the prompt. Some providers have higher prices for long
        prompts.
        """
        settings = self._models.get(model)
        if settings is not None and settings.price_as is not None:
            model, served = settings.price_as, None
            settings = self._models.get(model)
        if is_embedded(model, settings):
            listed: UnitPrice | None = FREE
        else:
            listed = _from_entry(find_entry(model, served or model), prompt_tokens)
        if settings is None or (settings.input_price is None and settings.output_price is None):
            return listed
        return _local(settings, listed)

    def max_output_tokens(self, model: str) -> int | None:
        """Return the maximum number of tokens in one reply, or None if the maximum is unknown."""
        settings = self._models.get(model)
        if settings is not None and settings.max_output_tokens is not None:
            return settings.max_output_tokens
        entry = find_entry(model, model)
        limit = entry.get("max_output_tokens") or entry.get("max_tokens")
        return int(limit) if isinstance(limit, int | float) else None


def _local(settings: ModelSettings, listed: UnitPrice | None) -> UnitPrice | None:
    """Return the configured prices. A price that is not configured comes from `listed`.

    The price of cached input never comes from `listed`: if it is not configured, the price of the
    input is used. Return None if the price of the input or of the output is unknown.
    """
    configured = settings.input_price, settings.output_price
    fallback = (listed.input, listed.output) if listed else (None, None)
    input_price, output_price = (
        price / MILLION if price is not None else other
        for price, other in zip(configured, fallback, strict=True)
    )
    if input_price is None or output_price is None:
        return None
    cached = settings.cached_input_price
    return UnitPrice(input_price, output_price, input_price if cached is None else cached / MILLION)


def _from_entry(entry: Mapping[str, Json], prompt_tokens: int) -> UnitPrice | None:
    suffix = _tier(entry, prompt_tokens)
    input_price = _number(entry, "input_cost_per_token", suffix)
    output_price = _number(entry, "output_cost_per_token", suffix)
    if input_price is None or output_price is None:
        return None
    cached = _number(entry, "cache_read_input_token_cost", suffix)
    return UnitPrice(input_price, output_price, input_price if cached is None else cached)


def _tier(entry: Mapping[str, Json], prompt_tokens: int) -> str:
    """Return the suffix of the keys that contain the prices for prompts of this length.

    The suffix contains the highest limit that the prompt exceeds: `_above_200k_tokens`, for
    example. The suffix is "" if the prompt exceeds no limit.
    """
    limits = (int(match[1]) for key in entry if (match := _TIER.fullmatch(key)))
    exceeded = [limit for limit in limits if prompt_tokens > limit * 1000]
    return f"_above_{max(exceeded)}k_tokens" if exceeded else ""


def _number(entry: Mapping[str, Json], key: str, suffix: str) -> float | None:
    value = entry.get(key + suffix, entry.get(key))
    return float(value) if isinstance(value, int | float) else None
