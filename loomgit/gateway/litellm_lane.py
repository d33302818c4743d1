"""The gateway that calls providers through litellm. Only this module imports litellm.

litellm is imported at the first call, because the import takes seconds. By default, the import also
reads `.env` and downloads a price list; `load_litellm` prevents both.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from loomgit.domain.models import Completion
from loomgit.domain.quiet_imports import import_quietly, suppress_warnings
from loomgit.domain.safe_text import hide_known
from loomgit.errors import Denied, Unavailable
from loomgit.gateway.api_keys import KEYLESS_PROVIDERS, find_key, read_address, read_key
from loomgit.gateway.provider_errors import (
    GATEWAY_TIMEOUTS,
    CallTarget,
    Refusal,
    explain,
    mark_possibly_charged,
    missing_key,
    read_delay,
    read_wait,
)
from loomgit.gateway.wire import (
    TIMEOUT,
    UNPAIRED_SURROGATE,
    Endpoint,
    litellm_arguments,
    read_text,
    read_usage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from loomgit.domain.models import Request, Usage
    from loomgit.domain.settings import ModelSettings, Secret
    from loomgit.gateway.wire import Response

PLACEHOLDER_KEY = (
    "none"  # for a user's server that needs no key: the clients do not accept an empty key
)
# Maps a provider of litellm to the provider that is used instead. `ollama` is Ollama's older API.
# It takes a prompt instead of messages, and therefore bypasses the model's own template. All models
# of Ollama accept a schema. Loom does not ask litellm about this, because litellm would call a
# local server to find out.
_CHATS = {"ollama": "ollama_chat"}
# Errors that litellm's HTTP clients raise if a connection was never established.
_NOT_SENT = ("ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionTimeoutError")
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy")
_loaded: list[ModuleType] = []


class Pricing(Protocol):
    """Calculates the cost of a call to a model."""

    def cost(self, model: str, served: str, usage: Usage) -> float | None:
        """Return the cost in USD, or None if no price is known."""
        ...


class _Target(Struct, frozen=True):
    """The endpoint of a model, and a description of the call for error messages."""

    endpoint: Endpoint
    asked: CallTarget


class LiteLlmGateway:
    """Calls providers through litellm, once for each request.

    The retry gateway wraps this gateway, so this gateway does not retry.

    `reveal` returns the value of a secret in the settings; it is called at the first call to the
    model. `environment` contains the providers' usual variables, such as `OPENAI_API_KEY`.
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

        Raises RateLimited, Unavailable, Rejected or Denied. Denied is also raised if no provider
        has the model, because no call can succeed. If the model refuses in a normal reply, this
        reply is returned with its cost.
        """
        litellm = await _litellm()
        if request.model not in self._targets:
            self._targets[request.model] = self._resolve(litellm, request.model)
        target = self._targets[request.model]
        keywords = litellm_arguments(request, target.endpoint)
        started = self._clock()
        try:
            response: Response = await litellm.acompletion(**keywords)
        except tuple(litellm.LITELLM_EXCEPTION_TYPES) as error:
            fault = explain(self._refusal(error), target.asked)
            raise (mark_possibly_charged(fault) if _was_sent(error) else fault) from error
        except ImportError as error:
            raise Denied(
                f"{request.model}: the provider needs the package '{error.name}'",
                hint=f"pip install {error.name}",
            ) from error
        latency = self._clock() - started
        usage, model = read_usage(response), response.model or request.model
        # If the reply has no token counts, the cost is unknown, not 0.
        cost = self._prices.cost(request.model, model, usage) if usage.total else None
        try:
            text, ending = read_text(request.model, response)
        except Unavailable as error:
            error.cost = cost
            raise
        return Completion(
            text=hide_known(UNPAIRED_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)),
            model=model,
            usage=usage,
            cost=cost,
            latency=latency,
            ending=ending,
            replaced=len(UNPAIRED_SURROGATE.findall(text)),
        )

    async def close(self) -> None:
        """Close litellm's connections, which all gateways of this process share."""
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
                raise explain(
                    Refusal(None, str(error)), CallTarget(model, "", None, timeout)
                ) from error
            bare, provider = model, "openai"  # a user's server, which usually has OpenAI's API
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
        return _Target(endpoint, CallTarget(model, source, base_url, timeout))

    def _usual_key(
        self, litellm: ModuleType, model: str, name: str, *, own_server: bool
    ) -> tuple[str | None, str]:
        """Return the provider's API key, and the name of the environment variable that contains it.

        Raises Denied if the key is missing, because litellm would send the call without a key and
        report status 500. If the provider uses other credentials (a profile, a login), the key is
        None.
        """
        provider = name.partition("/")[0]
        key, variable = find_key(provider, self._environment)
        if key or provider in KEYLESS_PROVIDERS:
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
            return PLACEHOLDER_KEY, variable
        if missing or variable in self._environment:
            raise missing_key(model, variable)
        return None, variable

    def _refusal(self, error: Exception) -> Refusal:
        # `status_code` is more exact than the type of the error: litellm raises the same APIError
        # for 402, 403, 413 and 529.
        headers = getattr(error, "litellm_response_headers", None)
        body = getattr(error, "body", None)
        code = body.get("code") if isinstance(body, dict) else None
        return Refusal(
            status=getattr(error, "status_code", None),
            text=f"{error} {code}" if code else str(error),  # the text can lack the code
            retry_after=(read_wait(headers, self._wall_clock()) if headers else None)
            or read_delay(str(error)),
        )


def _was_sent(error: BaseException) -> bool:
    """Return whether a failed call was sent but received no reply.

    The provider may have charged for such a call.
    """
    status = getattr(error, "status_code", None)
    no_reply = (
        type(error).__name__ in ("Timeout", "APIConnectionError") or status in GATEWAY_TIMEOUTS
    )
    cause: BaseException | None = error
    while no_reply and cause is not None:
        if type(cause).__name__ in _NOT_SENT:
            return False
        cause = cause.__cause__ or cause.__context__
    return no_reply


def load_litellm() -> ModuleType:
    """Import litellm and return the module. The first call takes seconds.

    The import prints nothing and does not use the network.
    """
    if not _loaded:
        litellm = import_quietly("litellm", _LOGGERS)
        for switch in ("suppress_debug_info", "disable_hf_tokenizer_download"):
            setattr(litellm, switch, True)
        with suppress_warnings():
            # litellm builds its reply types at the first reply, and pydantic then warns about their
            # fields. If warnings are errors, the warning would fail a call. So build the types now.
            litellm.ModelResponse(choices=[{"message": {"role": "assistant", "content": ""}}])
        _loaded.append(litellm)
    return _loaded[0]


async def _litellm() -> ModuleType:
    # Import in a thread. On the event loop, the import would block other calls for seconds. This
    # time would count as part of their latency, and they could time out.
    return _loaded[0] if _loaded else await asyncio.to_thread(load_litellm)
