"""Calls to language models: the request, the reply, the tokens and the cost."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, field

from loomgit.domain.values import JsonMapping
from loomgit.errors import Rejected

if TYPE_CHECKING:
    from collections.abc import Iterable

Role = Literal["system", "user", "assistant"]
Purpose = Literal["transform", "evaluate"]
Ending = Literal["", "length", "refusal", "filter"]
# The suffix that a provider adds to a requested model name: a date, a version, or `latest`.
SNAPSHOT = re.compile(r"[-@:](v?\d[\w.-]*|latest|preview\S*)")
# A pipeline's `params` must not set these parameters, because Loom sets them itself. Retries,
# routing or callbacks inside litellm would bypass the budget and the cache.
RESERVED_PARAMS = frozenset(
    (
        *("model", "messages", "temperature", "seed", "max_tokens", "stream", "n", "timeout"),
        *("api_key", "api_base", "base_url", "custom_llm_provider", "client", "mock_response"),
        *("max_retries", "num_retries", "fallbacks", "cache", "caching", "callbacks", "logger_fn"),
    )
)
# The names of parameters and headers that contain a secret. Loom refuses them, because it stores
# all `params`.
SECRET_PARAM = re.compile(
    r"api[-_]?key|secret|password|authorization|credentials|(?:access|auth|ad|session|id)[-_]token",
    re.IGNORECASE,
)
LONGEST_REFUSAL = 300  # the maximum length of a reason that quotes a model's refusal


class PromptRejected(Rejected):
    """The provider refuses the prompt: it is too long for the model, or violates a policy."""


class Message(Struct, frozen=True):
    """One message of the conversation that Loom sends to a model."""

    role: Role
    content: str


class Request(Struct, frozen=True):
    """A request to a model: everything that can change the reply.

    `schema` requests a reply in JSON that matches the schema. `sample` is the index of the sample:
    the fifth sample of a case is a different request from the first. `stand_in` is a text that
    replaces the first message in the cache key. It is used for pipelines with `cache.key_fields`.
    A request that is not `cacheable` bypasses the cache. A `fresh` request ignores the cached
    reply, and its new reply replaces the cached reply.
    """

    model: str
    messages: tuple[Message, ...]
    temperature: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    params: JsonMapping = field(default_factory=dict)
    schema: JsonMapping | None = None
    sample: int = 0
    purpose: Purpose = "transform"
    stand_in: str | None = None
    cacheable: bool = True
    fresh: bool = False


class Usage(Struct, frozen=True):
    """The token counts of one or more calls, as the provider reports them.

    `input` is the number of all input tokens. `cached` is the number of input tokens that the
    provider read from its own cache.
    """

    input: int = 0
    output: int = 0
    cached: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input, self.output + other.output, self.cached + other.cached
        )

    @property
    def total(self) -> int:
        """The sum of the input tokens and the output tokens."""
        return self.input + self.output


class Completion(Struct, frozen=True):
    """The reply to a request.

    `model` is the name of the model that the provider reports. `cost` is in USD; if the price is
    unknown, it is None, never 0. `latency` is in seconds, None for a cache hit. A cache hit has
    `cost` 0 and `attempts` 0. Its `usage` is the usage of the original call. Its `saved` is the
    cost of the original call in USD (None if unknown).

    `ending` describes an incomplete reply: `length` (cut off at the maximum number of tokens),
    `refusal` (`text` is the model's refusal), `filter` (cut off by the provider's filter).
    `replaced` is the number of unpaired surrogates that were replaced by U+FFFD.
    """

    text: str
    model: str
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    latency: float | None = None
    attempts: int = 1
    cached: bool = False
    saved: float | None = 0.0
    ending: Ending = ""
    replaced: int = 0

    @property
    def refusal(self) -> str:
        """The reason why a policy prevented the answer, in one line; empty if the model answered.

        If the model refused, the reason quotes the model's text.
        """
        if self.ending == "refusal":
            return f"the model refuses: {' '.join(self.text.split())}"[:LONGEST_REFUSAL]
        if self.ending == "filter" and not self.text:
            return "stopped by the provider's content filter"
        return ""


class CallTotals(Struct):
    """The sum of several calls.

    `usage` contains the tokens of all replies except cache hits. `cost` is in USD, None if the
    price of a call is unknown. `saved` is the cost in USD that cache hits avoided, None if a price
    is unknown. `latency` is the waiting time in seconds, None if all replies are cache hits.
    `calls` is the number of replies, and `hits` the number of replies from the cache. `cached` is
    true if all replies are from the cache. `replaced` is the number of unpaired surrogates that
    were replaced by U+FFFD.
    """

    usage: Usage = field(default_factory=Usage)
    cost: float | None = 0.0
    latency: float | None = None
    calls: int = 0
    cached: bool = True
    saved: float | None = 0.0
    hits: int = 0
    replaced: int = 0

    @property
    def made(self) -> int:
        """The number of replies from a provider: all replies except cache hits."""
        return self.calls - self.hits

    def add(self, completion: Completion) -> None:
        """Add one call."""
        if not completion.cached:
            self.usage += completion.usage
        if self.cost is not None:
            self.cost = None if completion.cost is None else self.cost + completion.cost
        if self.saved is not None:
            self.saved = None if completion.saved is None else self.saved + completion.saved
        if completion.latency is not None:
            self.latency = (self.latency or 0.0) + completion.latency
        self.calls += 1
        self.hits += completion.cached
        self.replaced += completion.replaced
        self.cached = self.cached and completion.cached


def is_same_model(asked: str, served: str) -> bool:
    """Return whether the provider answered with the requested model `asked`.

    `served` is the name that the provider reports. It may also be a snapshot of the requested
    model: `gpt-4o-2024-08-06` for `openai/gpt-4o`.
    """
    asked, served = (name.rpartition("/")[2].lower() for name in (asked, served))
    suffix = served.removeprefix(asked)
    return served == asked or (suffix != served and SNAPSHOT.fullmatch(suffix) is not None)


def other_models(asked: str, served: Iterable[str]) -> list[str]:
    """Return the reported names that do not belong to the requested model, sorted.

    If `asked` is empty, no model was requested, and a program answered: the list is empty.
    """
    if not asked:
        return []
    return sorted({name for name in served if name and not is_same_model(asked, name)})
