"""One call to a language model: what is asked, what came back, what it cost."""

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
# What a provider adds to the name that was asked for: a date, a version, or `latest`.
SNAPSHOT = re.compile(r"[-@:](v?\d[\w.-]*|latest|preview\S*)")
# What a pipeline's `params` may not set: Loom decides these, and retries, routing or callbacks
# inside litellm would go around budget and cache.
RESERVED_PARAMS = frozenset(
    (
        *("model", "messages", "temperature", "seed", "max_tokens", "stream", "n", "timeout"),
        *("api_key", "api_base", "base_url", "custom_llm_provider", "client", "mock_response"),
        *("max_retries", "num_retries", "fallbacks", "cache", "caching", "callbacks", "logger_fn"),
    )
)
# Parameters and headers that hold a secret: params are recorded with each run.
SECRET_PARAM = re.compile(
    r"api[-_]?key|secret|password|authorization|credentials|(?:access|auth|ad|session|id)[-_]token",
    re.IGNORECASE,
)
LONGEST_REFUSAL = 300  # characters of a model's own words in a reason


class PromptRejected(Rejected):
    """The provider refuses this request for what the prompt says: too long for the model, or
    against its policy."""


class Message(Struct, frozen=True):
    """One turn of the conversation that is sent."""

    role: Role
    content: str


class Request(Struct, frozen=True):
    """Everything that can change the reply.

    `schema` asks for JSON of that shape; `sample` is the index of the sample, so that the fifth
    sample of a case is another request than the first. `stand_in` stands for the first message
    where a kept reply is looked for (a pipeline's `cache.key_fields`); a request that is not
    `cacheable` is asked anew every time. To a `fresh` one a reply of the cache is no answer: it is
    asked anew, and what comes is kept in its place.
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
    """Tokens of one or more calls, as the provider counts them; `cached` is a part of `input`."""

    input: int = 0
    output: int = 0
    cached: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.input + other.input, self.output + other.output, self.cached + other.cached
        )

    @property
    def total(self) -> int:
        """Input and output together."""
        return self.input + self.output


class Completion(Struct, frozen=True):
    """The reply to a request.

    `model` is the model as served; `cost` is USD, None where no price is known (never 0 for that);
    `latency` is seconds, None where the reply was not waited for (a cache hit). A hit costs 0 and
    has `attempts` 0; its `usage` and `saved` (USD, None where unknown) are of when it was made.

    `ending` tells of a reply that is not whole: `length` (cut off at the most tokens it might
    have), `refusal` (`text` is the model's words for it), `filter` (the provider's filter cut it
    off). `replaced` counts unpaired surrogates, which U+FFFD replaces.
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
        """Why a policy kept the model from answering, in one line; "" where it answered."""
        if self.ending == "refusal":
            return f"the model refuses: {' '.join(self.text.split())}"[:LONGEST_REFUSAL]
        if self.ending == "filter" and not self.text:
            return "stopped by the provider's content filter"
        return ""


class Spent(Struct):
    """What several calls came to.

    `usage` counts the tokens that were paid for, so none of a hit's. `cost` is USD, None as soon as
    one call has no known price, and so is `saved`, what kept replies spared; `latency` is seconds
    of waiting, None while nothing was waited for. `calls` counts replies, `hits` those that were
    kept; `cached` says that all were; `replaced` counts unpaired surrogates, as a Completion does.
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
        """The calls that a provider answered: replies that were not kept ones."""
        return self.calls - self.hits

    def add(self, completion: Completion) -> None:
        """Take in one more call."""
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
    """Whether the name that a provider gives is that of the model that was asked for, or of a
    snapshot of it: `gpt-4o-2024-08-06` for `openai/gpt-4o`."""
    asked, served = (name.rpartition("/")[2].lower() for name in (asked, served))
    more = served.removeprefix(asked)
    return served == asked or (more != served and SNAPSHOT.fullmatch(more) is not None)


def other_models(asked: str, served: Iterable[str]) -> list[str]:
    """The models that answered in place of the one that was asked for, by their own names."""
    return sorted({name for name in served if name and not is_same_model(asked, name)})
