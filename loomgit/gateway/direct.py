"""The lane to endpoints that speak OpenAI's chat API: aiohttp and little else, so a call costs a
tenth of what a client library takes for it."""

from __future__ import annotations

import importlib
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.request import getproxies, proxy_bypass

from loomgit.domain.models import Completion
from loomgit.domain.outside import hide_known
from loomgit.errors import ModelError, NotServed, Rejected, Unavailable, UserError
from loomgit.gateway.chat import Payload, find_error, parse, read_body, read_counts, render
from loomgit.gateway.endpoints import ChatEndpoint, resolve
from loomgit.gateway.faults import (
    GATEWAY_TIMEOUTS,
    Refusal,
    describe,
    explain,
    is_page,
    read_wait,
    unanswered,
)
from loomgit.gateway.wire import CONNECT_TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    import aiohttp

    from loomgit.domain.models import Request
    from loomgit.domain.settings import ModelSettings, Secret
    from loomgit.gateway.live import Pricing

DNS_SECONDS = 300


def find_proxy(scheme: str, proxies: Mapping[str, str]) -> str | None:
    """The proxy for addresses of a scheme, by `HTTP_PROXY`, `HTTPS_PROXY` or `ALL_PROXY`; one
    without a scheme of its own speaks HTTP. Raises UserError for a kind that is not spoken here."""
    proxy = (proxies.get(scheme) or proxies.get("all") or "").strip()
    if not proxy:
        return None
    own, mark, _ = proxy.partition("://")
    if mark and own.lower() not in ("http", "https"):
        raise UserError(
            f"a proxy of the kind {own}:// is not supported by lane: direct",
            hint="write `lane: litellm` under the model, or unset the proxy variables",
        )
    return proxy if mark else f"http://{proxy}"


class _Line:
    """A model's endpoint with what aiohttp needs for it, made once."""

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
        # As `trust_env` would find it, which asks the environment and ~/.netrc at every call.
        self.proxy = None if proxy_bypass(url.host) else find_proxy(url.scheme, getproxies())


class DirectGateway:
    """Calls endpoints over kept connections, once for each request: retries stand in front of it.

    `reveal` gives the value of a configured secret at the moment of use; `environment` is where the
    usual variables (`OPENAI_API_KEY`) are looked for. Its connections belong to the event loop of
    the first call; close it there.
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
        self._lines: dict[str, _Line] = {}
        self._session: aiohttp.ClientSession | None = None
        self._http: Any = None  # aiohttp: its import takes a quarter of a second

    async def complete(self, request: Request) -> Completion:
        """Return the endpoint's reply.

        Raises RateLimited, Unavailable, Rejected or Denied (also for a model that the server does
        not have). A refusal that comes as a reply is one, and costs what it costs.
        """
        session = self._session or self._open()
        line = self._lines.get(request.model) or self._line(request.model)
        asked, http = line.endpoint.asked, self._http
        content = render(request, line.endpoint)
        started = self._clock()
        try:
            async with session.post(
                line.url,
                data=content,
                headers=line.headers,
                timeout=line.timeout,
                proxy=line.proxy,
                allow_redirects=False,  # the key is for this address
            ) as response:
                received = await response.read()
        except http.ConnectionTimeoutError as error:
            refusal = Refusal(None, f"no connection within {line.timeout.sock_connect:g} s")
            raise explain(refusal, asked) from error
        except TimeoutError as error:
            raise unanswered(explain(Refusal(408, ""), asked)) from error
        except (http.ClientError, OSError) as error:
            fault = explain(Refusal(None, str(error) or type(error).__name__), asked)
            connected = not isinstance(error, http.ClientConnectorError | http.InvalidURL)
            raise (unanswered(fault) if connected else fault) from error
        latency = self._clock() - started
        payload = read_body(received)
        if response.status >= 300:
            raise self._fault(request, line, response.status, received, response.headers)
        if payload is None:
            raise self._unreadable(request, response, received)
        if found := find_error(payload):
            wait = read_wait(response.headers, self._wall_clock())
            raise self._charged(explain(Refusal(*found, wait), asked), request, payload)
        reply = parse(payload)
        if reply is None:
            fault = Unavailable(f"{request.model}: the reply has no choices")
            raise self._charged(unanswered(fault), request, payload)
        usage, served = reply.usage, reply.model or request.model
        return Completion(
            text=hide_known(reply.text),
            model=served,
            usage=usage,
            # A provider that counts nothing did not work for nothing.
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
        # How many calls run at once is for others to say.
        connector = self._http.TCPConnector(limit=0, ttl_dns_cache=DNS_SECONDS)
        session: aiohttp.ClientSession = self._http.ClientSession(
            connector=connector,
            cookie_jar=self._http.DummyCookieJar(),
            headers={"User-Agent": "loomgit"},
        )
        self._session = session
        return session

    def _line(self, model: str) -> _Line:
        endpoint = resolve(
            model,
            self._models.get(model),
            reveal=self._reveal,
            environment=self._environment,
        )
        return self._lines.setdefault(model, _Line(endpoint, self._http))

    def _fault(
        self,
        request: Request,
        line: _Line,
        status: int,
        received: bytes,
        headers: Mapping[str, str],
    ) -> ModelError:
        wait = read_wait(headers, self._wall_clock())
        refusal = Refusal(status, received.decode("utf-8", "replace"), wait)
        fault = explain(refusal, line.endpoint.asked)
        if status in GATEWAY_TIMEOUTS:
            unanswered(fault)
        return self._charged(fault, request, read_body(received))

    def _unreadable(
        self, request: Request, response: aiohttp.ClientResponse, received: bytes
    ) -> ModelError:
        """The error of a reply that is no JSON object; an empty one may be whole the next time."""
        kind = response.headers.get("content-type", "")
        message = f"{request.model}: {describe(response.status, kind, received)}"
        if not received.strip():
            return unanswered(Unavailable(message))
        if is_page(received):
            return NotServed(message, hint="check base_url: a web page is no endpoint of a model")
        return unanswered(Rejected(message))

    def _charged(self, fault: ModelError, request: Request, payload: Payload | None) -> ModelError:
        """The error with what its reply says that it cost; a reply may have token counts and
        nothing else that can be used."""
        served, usage = read_counts(payload)
        if usage.total:
            fault.cost = self._prices.cost(request.model, served or request.model, usage)
        return fault
