"""What a provider's refusal means: one of four errors, by what can be done about it."""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.models import PromptRejected
from loomgit.domain.outside import hide
from loomgit.errors import Denied, ModelError, RateLimited, Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_MESSAGE = 300

# Providers send these with statuses that say something else: 429 for an empty account (OpenAI), 400
# for the same (Anthropic) and for a wrong key (Google). None of them passes by itself.
_NO_QUOTA = re.compile(
    r"insufficient_quota|billing_not_active|billing_hard_limit_reached|credit balance is too low"
    r"|insufficient (?:balance|credits?)",
    re.IGNORECASE,
)
_BAD_KEY = re.compile(r"API key not valid|invalid_api_key|API_KEY_INVALID", re.IGNORECASE)
_NO_KEY = re.compile(
    r"missing credentials|missing \w+ api key|api_key client option must be set"
    r"|api key (?:is )?(?:required|missing)",
    re.IGNORECASE,
)
# What the prompt is to blame for; any other request that is refused is one that Loom, or the
# configuration, made wrong.
_TOO_LONG = re.compile(
    r"context[ _]?(?:length|window)|(?:prompt|input|request)\b.{0,40}\btoo (?:long|large)"
    r"|too many (?:input |prompt )?tokens|(?:input|prompt) token count|string_above_max_length",
    re.IGNORECASE,
)
_POLICY = re.compile(
    r"content[ _]?(?:policy|filter|management policy)|ResponsibleAIPolicy|PROHIBITED_CONTENT"
    r"|\b(?:usage|safety|acceptable use) polic|blocked by .{0,40}\b(?:safety|polic|filter)",
    re.IGNORECASE,
)
_PER_MINUTE = re.compile(r"per minute", re.IGNORECASE)  # Groq: too large for the account's rate
_DELAY = re.compile(r"[\"']retryDelay[\"']:\s*[\"'](\d+(?:\.\d+)?)s[\"']")
_NO_PROVIDER = "LLM Provider NOT provided"
_LIBRARY = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception|Timeout)\w*(?: Error)?(?::| -) )+")


# Statuses of a proxy that waited in vain: the model may have worked, and charged for it.
GATEWAY_TIMEOUTS = frozenset((408, 504, 524))


class Refusal(Struct, frozen=True):
    """What came instead of a reply: the HTTP status (None without one), all of its text, a wait."""

    status: int | None
    text: str
    retry_after: float | None = None


class Asked(Struct, frozen=True):
    """Who was asked: the model, where its key comes from, its address, its timeout in seconds."""

    model: str
    key_source: str
    base_url: str | None
    timeout: float


def read_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, by `retry-after-ms` or `Retry-After` (seconds or an HTTP date).

    `headers` has names in lower case or ignores case; `now` is seconds since the epoch.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = (headers.get(name) or "").strip()
        try:
            return max(0.0, float(text) * unit)
        except ValueError:
            pass
        try:
            return max(0.0, parsedate_to_datetime(text).timestamp() - now)
        except ValueError:
            pass
    return None


def read_delay(text: str) -> float | None:
    """Seconds to wait, by the `retryDelay` in the body of an error: Google sends no header."""
    found = _DELAY.search(text)
    return float(found[1]) if found else None


def explain(refusal: Refusal, asked: Asked) -> ModelError:
    """The error for `refusal`: one line that names the model and holds no secret."""
    model, status, text = asked.model, refusal.status, refusal.text
    said = clean(text)
    if _NO_PROVIDER in text:
        return Denied(
            f"{model}: no provider serves a model of this name",
            hint="write provider/model (openai/..., anthropic/...), or give it a base_url under "
            "'models' in .loom/config.yaml",
        )
    if status == 402 or (status in (400, 403, 429) and _NO_QUOTA.search(text)):
        return Denied(
            f"{model}: the account behind {asked.key_source} has no quota left: {said}",
            hint="add credit at the provider, or choose another model",
        )
    if status in (401, 500) and _NO_KEY.search(text):
        return missing_key(model, asked.key_source)
    if status == 401 or (status == 400 and _BAD_KEY.search(text)):
        return Denied(
            f"{model}: the provider does not accept the key in {asked.key_source}",
            hint=f"check {asked.key_source}",
        )
    if status in (403, 404):
        return Denied(
            f"{model}: {said} ({status})",
            hint="check the model's name, its base_url and what the key may use",
        )
    if status == 429:
        return RateLimited(f"{model}: rate limited: {said}", retry_after=refusal.retry_after)
    if status == 408:
        return Unavailable(f"{model}: no reply within {asked.timeout:g} s")
    if status in (400, 405, 406, 410, 411, 413, 415, 422):
        too_long = status == 413 or _TOO_LONG.search(text)
        ours = not (too_long or _POLICY.search(text)) or _PER_MINUTE.search(text)
        return (Rejected if ours else PromptRejected)(f"{model}: rejected: {said}")
    where = f" at {clean(asked.base_url)}" if asked.base_url else ""
    number = f" ({status})" if status and status != 500 else ""
    return Unavailable(
        f"{model}: unavailable{where}{number}: {said}",
        retry_after=refusal.retry_after,
        overloaded=status in (503, 529),
    )


def unanswered(error: ModelError) -> ModelError:
    """The error of a call that was sent and had no reply: it may have been charged."""
    error.cost = None
    return error


def missing_key(model: str, variable: str) -> Denied:
    """The error for a model whose key is nowhere."""
    return Denied(
        f"{model}: no key: {variable} is not set",
        hint=f"set {variable} in the environment or in .env, or choose another model",
    )


def clean(text: str) -> str:
    """The provider's own words in one short line, without secrets."""
    text = hide(text)
    words = " ".join((_said(text) or _LIBRARY.sub("", text)).split())
    return words if len(words) <= LONGEST_MESSAGE else words[: LONGEST_MESSAGE - 1] + "…"


def _said(text: str) -> str | None:
    """The `message` of an error body in JSON that stands somewhere in `text`."""
    start = text.find("{")
    if start == -1:
        return None
    try:
        body, _ = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return None
    inner = body.get("error", body) if isinstance(body, dict) else None
    said = inner.get("message") if isinstance(inner, dict) else inner
    return said if isinstance(said, str) else None
