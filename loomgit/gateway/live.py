"""The lane to every provider of models that litellm knows; the only importer of litellm.

litellm loads at the first call: its import takes seconds, reads `.env` and fetches a price list
unless told otherwise.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.domain.loading import import_quietly, unwarned
from loomgit.domain.models import Completion
from loomgit.domain.outside import hide_known
from loomgit.errors import Denied, Unavailable
from loomgit.gateway.faults import (
    GATEWAY_TIMEOUTS,
    Asked,
    Refusal,
    explain,
    missing_key,
    read_delay,
    read_wait,
    unanswered,
)
from loomgit.gateway.keys import NO_KEY_NEEDED, find_key, read_address, read_key
from loomgit.gateway.wire import HALF, TIMEOUT, Endpoint, arguments, read_text, read_usage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from loomgit.domain.models import Request, Usage
    from loomgit.domain.settings import ModelSettings, Secret
    from loomgit.gateway.wire import Response

NO_KEY = "none"  # what an own server gets that wants no key: clients refuse to send an empty one
# Ollama's older way in takes a prompt and no messages: the model's own template would be left out.
# It takes a schema for every model, and litellm would ask a server on this machine whether.
_CHATS = {"ollama": "ollama_chat"}
# The errors of a connection that was never made, in the clients that litellm uses.
_NOT_SENT = ("ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionTimeoutError")
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_loaded: list[ModuleType] = []


class Pricing(Protocol):
    """Knows what a call costs."""

    def cost(self, model: str, served: str, usage: Usage) -> float | None:
        """USD, None where no price is known."""
        ...


class _Target(Struct, frozen=True):
    """A model resolved once: where litellm finds it, and what an error may say of it."""

    endpoint: Endpoint
    asked: Asked


class LiteLlmGateway:
    """Calls providers through litellm, once for each request: retries stand in front of it.

    `reveal` gives the value of a configured secret at the moment of use; `environment` is where the
    providers' usual variables (`OPENAI_API_KEY`) are looked for.
    """

    def __init__(
        self,
        models: Mapping[str, ModelSettings],
        prices: Pricing,
        *,
        reveal: Callable[[Secret], str],
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._models = models
        self._prices = prices
        self._reveal = reveal
        self._environment = environment
        self._clock = clock
        self._wall_clock = wall_clock
        self._targets: dict[str, _Target] = {}

    async def complete(self, request: Request) -> Completion:
        """Return the provider's reply.

        Raises RateLimited, Unavailable, Rejected or Denied (also for a model that no provider has:
        no call will succeed). A refusal that comes as a reply is one, and costs what it costs.
        """
        litellm = await _litellm()
        if request.model not in self._targets:
            self._targets[request.model] = self._resolve(litellm, request.model)
        target = self._targets[request.model]
        keywords = arguments(request, target.endpoint)
        started = self._clock()
        try:
            response: Response = await litellm.acompletion(**keywords)
        except tuple(litellm.LITELLM_EXCEPTION_TYPES) as error:
            fault = explain(self._refusal(error), target.asked)
            raise (unanswered(fault) if _was_sent(error) else fault) from error
        except ImportError as error:
            raise Denied(
                f"{request.model}: its provider needs the package '{error.name}'",
                hint=f"pip install {error.name}",
            ) from error
        latency = self._clock() - started
        usage, model = read_usage(response), response.model or request.model
        # A provider that counts nothing did not work for nothing.
        cost = self._prices.cost(request.model, model, usage) if usage.total else None
        try:
            text, ending = read_text(request.model, response)
        except Unavailable as error:
            error.cost = cost
            raise
        return Completion(
            text=hide_known(HALF.sub("\N{REPLACEMENT CHARACTER}", text)),
            model=model,
            usage=usage,
            cost=cost,
            latency=latency,
            ending=ending,
            replaced=len(HALF.findall(text)),
        )

    async def close(self) -> None:
        """Close litellm's connections; all gateways of this process share them."""
        for litellm in _loaded:
            await litellm.close_litellm_async_clients()
            litellm.in_memory_llm_clients_cache.flush_cache()

    def _resolve(self, litellm: ModuleType, model: str) -> _Target:
        settings = self._models.get(model)
        timeout = (settings.timeout if settings else None) or TIMEOUT
        base_url = None
        if settings and settings.base_url:
            place = f"{settings.base_url.place}: base_url of {model}"
            base_url = read_address(self._reveal(settings.base_url), place)
        try:
            bare, provider, _, _ = litellm.get_llm_provider(model=model)
        except litellm.BadRequestError as error:
            if base_url is None:
                raise explain(Refusal(None, str(error)), Asked(model, "", None, timeout)) from error
            bare, provider = model, "openai"  # an own server: nearly all speak OpenAI's API
        provider = _CHATS.get(provider, provider)
        name = f"{provider}/{bare}"
        api_key: str | None
        if settings and settings.api_key:
            place = f"{settings.api_key.place}: api_key of {model}"
            api_key = read_key(self._reveal(settings.api_key), place)
            source = settings.api_key.source
        else:
            api_key, source = self._usual_key(litellm, model, name, own_server=base_url is not None)
        endpoint = Endpoint(
            name=name,
            base_url=base_url,
            api_key=api_key,
            native_schema=provider in _CHATS.values()
            or litellm.supports_response_schema(bare, provider),
            max_tokens=settings.max_output_tokens if settings else None,
            timeout=timeout,
        )
        return _Target(endpoint, Asked(model, source, base_url, timeout))

    def _usual_key(
        self, litellm: ModuleType, model: str, name: str, *, own_server: bool
    ) -> tuple[str | None, str]:
        """The key in the provider's usual variable, and that variable's name.

        litellm sends a call without a key and reports the outcome as a 500, so the key is looked
        for here. A provider that may be reached in other ways (a profile, a login) gets None.
        """
        provider = name.partition("/")[0]
        key, variable = find_key(provider, self._environment)
        if key or provider in NO_KEY_NEEDED:
            return key, variable
        missing: list[str] = litellm.validate_environment(name)["missing_keys"]
        if missing and not all(other.endswith("_API_KEY") for other in missing):
            return None, variable
        if missing and variable not in missing:
            variable = missing[0]
            key = self._environment.get(variable)
        if key:
            return key, variable
        if own_server:
            return NO_KEY, variable
        if missing or variable in self._environment:
            raise missing_key(model, variable)
        return None, variable

    def _refusal(self, error: Exception) -> Refusal:
        # `status_code` is right where the type is not: 402, 403, 413 and 529 all come as APIError.
        headers = getattr(error, "litellm_response_headers", None)
        body = getattr(error, "body", None)
        code = body.get("code") if isinstance(body, dict) else None
        return Refusal(
            status=getattr(error, "status_code", None),
            text=f"{error} {code}" if code else str(error),  # its text may leave the code out
            retry_after=(read_wait(headers, self._wall_clock()) if headers else None)
            or read_delay(str(error)),
        )


def _was_sent(error: BaseException) -> bool:
    """Whether a call that has no reply was sent: then it may have been charged."""
    status = getattr(error, "status_code", None)
    lost = type(error).__name__ in ("Timeout", "APIConnectionError") or status in GATEWAY_TIMEOUTS
    seen: BaseException | None = error
    while lost and seen is not None:
        if type(seen).__name__ in _NOT_SENT:
            return False
        seen = seen.__cause__ or seen.__context__
    return lost


def load_litellm() -> ModuleType:
    """Import litellm, silent and offline. Blocks for seconds the first time."""
    if not _loaded:
        litellm = import_quietly("litellm", _LOGGERS)
        for switch in ("suppress_debug_info", "disable_hf_tokenizer_download"):
            setattr(litellm, switch, True)
        with unwarned():
            # The types of replies: litellm leaves making them to the first reply, and pydantic
            # warns then of their fields, an error in the middle of a call where warnings are.
            litellm.ModelResponse(choices=[{"message": {"role": "assistant", "content": ""}}])
        _loaded.append(litellm)
    return _loaded[0]


async def _litellm() -> ModuleType:
    # In a thread: on the loop, seconds of import would run other calls into their timeouts and
    # count as their latency.
    return _loaded[0] if _loaded else await asyncio.to_thread(load_litellm)
