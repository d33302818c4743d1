"""The gateway that calls endpoints with OpenAI's chat API over HTTP.

It uses aiohttp directly, because a client library has ten times the overhead for each call.
"""

from __future__ import annotations

import importlib
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass

from loomgit.domain.models import Completion
from loomgit.domain.safe_text import hide_known
from loomgit.errors import ModelError, NotServed, Rejected, Unavailable, UserError
from loomgit.gateway.chat import Payload, find_error, parse, read_body, read_counts, render
from loomgit.gateway.endpoints import ChatEndpoint, resolve
from loomgit.gateway.provider_errors import (
    GATEWAY_TIMEOUTS,
    Refusal,
    describe,
    explain,
    is_page,
    mark_possibly_charged,
    read_wait,
)
from loomgit.gateway.wire import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    import aiohttp

    from loomgit.domain.models import Request
    from loomgit.domain.settings import ModelSettings, Secret
    from loomgit.gateway.litellm_lane import Pricing

DNS_SECONDS = 300  # lifetime of a cached DNS answer


def find_proxy(scheme: str, proxies: Mapping[str, str]) -> str | None:
    """Return the address of the proxy for a scheme (`http` or `https`), or None.

    `proxies` maps schemes to addresses, from `HTTP_PROXY`, `HTTPS_PROXY` and `ALL_PROXY`. An
    address without a scheme is an HTTP proxy. Raises UserError if the address of the proxy has a
    scheme other than `http` or `https`.
    """
    proxy = (proxies.get(scheme) or proxies.get("all") or "").strip()
    if not proxy:
        return None
    own, mark, _ = proxy.partition("://")
    if mark and own.lower() not in ("http", "https"):
        raise UserError(
            f"`lane: direct` does not support proxies of the kind {own}://",
            hint="set `lane: litellm` for the model, or unset the proxy variables",
        )
    return proxy if mark else f"http://{proxy}"


class _Connection:
    """The endpoint of a model, and the arguments for aiohttp, which are built only once."""

    __slots__ = ("endpoint", "headers", "proxy", "timeout", "url")

    def __init__(self, endpoint: ChatEndpoint, http: ModuleType) -> None:
        wait = endpoint.asked.timeout
        url = importlib.import_module("yarl").URL(endpoint.url)
        self.endpoint = endpoint
        self.url = url
        self.headers = importlib.import_module("multidict").CIMultiDict(endpoint.headers)
        self.timeout = http.ClientTimeout(
            total=None, sock_connect=min(CONNECT_TIMEOUT, wait), sock_read=wait
        )
        # aiohttp's `trust_env` finds the same proxy, but reads the environment and ~/.netrc at
        # every call.
        self.proxy = None if proxy_bypass(url.host) else find_proxy(url.scheme, getproxies())


class OpenAiHttpGateway:
    """Sends requests to endpoints over persistent connections.

    It sends each request only once, because the retry gateway, which wraps it, does the retries.

    `reveal` returns the value of a secret in the settings; it is called at the first call to the
    model. `environment` contains the usual variables, such as `OPENAI_API_KEY`. The connections
    belong to the event loop of the first call. Close the gateway in that event loop.
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
        self._connections: dict[str, _Connection] = {}
        self._session: aiohttp.ClientSession | None = None
        self._http: Any = None  # aiohttp, imported at the first call; this takes 0.25 s

    async def complete(self, request: Request) -> Completion:
        """Return the endpoint's reply.

        Raises RateLimited, Unavailable, Rejected or Denied. Denied is also raised if the server
        does not have the model. If the model refuses in a normal reply, this reply is returned with
        its cost.
        """
        session = self._session or self._open()
        connection = self._connections.get(request.model) or self._connect(request.model)
        target, http = connection.endpoint.asked, self._http
        content = render(request, connection.endpoint)
        started = self._clock()
        try:
            async with session.post(
                connection.url,
                data=content,
                headers=connection.headers,
                timeout=connection.timeout,
                proxy=connection.proxy,
                allow_redirects=False,  # a redirect would send the key to another address
            ) as response:
                received = await response.read()
        except http.ConnectionTimeoutError as error:
            seconds = connection.timeout.sock_connect
            raise explain(Refusal(None, f"no connection within {seconds:g} s"), target) from error
        except TimeoutError as error:
            raise mark_possibly_charged(explain(Refusal(408, ""), target)) from error
        except (http.ClientError, OSError) as error:
            fault = explain(Refusal(None, str(error) or type(error).__name__), target)
            connected = not isinstance(error, http.ClientConnectorError | http.InvalidURL)
            raise (mark_possibly_charged(fault) if connected else fault) from error
        latency = self._clock() - started
        payload = read_body(received)
        if response.status >= 300:
            raise self._status_error(
                request, connection, response.status, received, response.headers
            )
        if payload is None:
            raise self._unreadable(request, response, received)
        if error_in_reply := find_error(payload):
            wait = read_wait(response.headers, self._wall_clock())
            refusal = Refusal(*error_in_reply, wait)
            raise self._charged(explain(refusal, target), request, payload)
        reply = parse(payload)
        if reply is None:
            fault = Unavailable(f"{request.model}: the reply has no choices")
            raise self._charged(mark_possibly_charged(fault), request, payload)
        usage, served = reply.usage, reply.model or request.model
        return Completion(
            text=hide_known(reply.text),
            model=served,
            usage=usage,
            # If the reply has no token counts, the cost is unknown, not 0.
            cost=self._prices.cost(request.model, served, usage) if usage.total else None,
            latency=latency,
            ending=reply.ending,
            replaced=reply.replaced,
        )

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        self._http = importlib.import_module("aiohttp")
        # No limit here, because RateLimitGateway limits the number of concurrent calls.
        connector = self._http.TCPConnector(limit=0, ttl_dns_cache=DNS_SECONDS)
        session: aiohttp.ClientSession = self._http.ClientSession(
            connector=connector,
            cookie_jar=self._http.DummyCookieJar(),
            headers={"User-Agent": "loomgit"},
        )
        self._session = session
        return session

    def _connect(self, model: str) -> _Connection:
        endpoint = resolve(
            model,
            self._models.get(model),
            reveal=self._reveal,
            environment=self._environment,
        )
        return self._connections.setdefault(model, _Connection(endpoint, self._http))

    def _status_error(
        self,
        request: Request,
        connection: _Connection,
        status: int,
        received: bytes,
        headers: Mapping[str, str],
    ) -> ModelError:
        wait = read_wait(headers, self._wall_clock())
        refusal = Refusal(status, received.decode("utf-8", "replace"), wait)
        fault = explain(refusal, connection.endpoint.asked)
        if status in GATEWAY_TIMEOUTS:
            mark_possibly_charged(fault)
        return self._charged(fault, request, read_body(received))

    def _unreadable(
        self, request: Request, response: aiohttp.ClientResponse, received: bytes
    ) -> ModelError:
        """Return the error for a reply that is not a JSON object.

        The error is Unavailable for an empty reply, because the next attempt may succeed. It is
        NotServed for a web page, and Rejected for any other content.
        """
        kind = response.headers.get("content-type", "")
        message = f"{request.model}: {describe(response.status, kind, received)}"
        if not received.strip():
            return mark_possibly_charged(Unavailable(message))
        if is_page(received):
            return NotServed(message, hint="check base_url: it leads to a web page, not to a model")
        return mark_possibly_charged(Rejected(message))

    def _charged(self, fault: ModelError, request: Request, payload: Payload | None) -> ModelError:
        """Set the cost of the error from the token counts in the reply, and return the error.

        Even an unusable reply may contain token counts.
        """
        served, usage = read_counts(payload)
        if usage.total:
            fault.cost = self._prices.cost(request.model, served or request.model, usage)
        return fault
