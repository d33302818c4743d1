"""What a provider's refusal means: one of four errors, by what can be done about it."""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.models import PromptRejected
from loomgit.domain.outside import hide
from loomgit.errors import Denied, ModelError, NotServed, RateLimited, Rejected, Unavailable

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
# A limit that the configuration exceeds, whatever the prompt says: the output that it asks for is
# longer than the model's limit, or than its whole context.
_MAX_TOKENS = re.compile(
    r"max_(?:completion_|output_|new_)?tokens|in the completion", re.IGNORECASE
)
_ASKED = re.compile(
    r"max_(?:completion_|output_|new_)?tokens\W{0,3}(?:of|is|value)?\W{0,3}(\d+)"
    r"|too (?:large|high|big)\W{0,3}(\d+)|(\d+) (?:tokens )?(?:in|for) the completion",
    re.IGNORECASE,
)
_OUTPUT_LIMIT = re.compile(
    r"(?:completion|output) tokens|(?:maximum|limit|supports?|at most).{0,40}max_\w*tokens",
    re.IGNORECASE,
)
_CONTEXT = re.compile(r"context[ _]?(?:length|window)\D{0,20}(?P<limit>\d+)", re.IGNORECASE)
_TOO_LARGE = re.compile(
    r"too (?:large|high|big)|exceed|greater than|at most|[<>]=?|must be|reduce", re.IGNORECASE
)
_CERTIFICATE = re.compile(
    r"CERTIFICATE_VERIFY_FAILED|certificate verify failed|self.signed certificate", re.I
)
# What a server says of a model, or of the key, and not of one request.
_OF_THE_MODEL = re.compile(
    r"model|permission|access|authoriz|not allowed|country|region|territor|deployment|engine",
    re.IGNORECASE,
)
_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_MODERATION = re.compile(r"moderat|flagged|safety|harmful|prohibited", re.IGNORECASE)
_PER_MINUTE = re.compile(r"per minute", re.IGNORECASE)  # Groq: too large for the account's rate
_DELAY = re.compile(r"[\"']retryDelay[\"']:\s*[\"'](\d+(?:\.\d+)?)s[\"']")
_NO_PROVIDER = "LLM Provider NOT provided"
_LIBRARY = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception|Timeout)\w*(?: Error)?(?::| -) )+")


SHOWN = 80  # characters of a body that is not a chat reply
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
    if status is None and _CERTIFICATE.search(text):
        return Denied(
            f"{model}: the certificate of {asked.base_url or 'the server'} is not trusted: {said}",
            hint="name a file with the certificates that you trust in SSL_CERT_FILE",
        )
    if status in (400, 413, 422) and _asks_too_much(text):
        return Denied(
            f"{model}: {said}",
            hint="lower transform.max_tokens, or max_output_tokens under 'models'",
        )
    if status is not None and (status in (403, 404) or 300 <= status < 400):
        return _refused(status, text, f"{model}: {said} ({status})")
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


def _refused(status: int, text: str, message: str) -> ModelError:
    """The error of a status that may be said of a model, of an address, or of one request."""
    hint = "check the model's name, its base_url and what the key may use"
    if 300 <= status < 400:
        return NotServed(message, hint="give the address that the server redirects to as base_url")
    if status == 403 and (_POLICY.search(text) or _MODERATION.search(text)):
        return PromptRejected(message)
    if status == 403 and (_PAGE.match(text) or not _OF_THE_MODEL.search(text)):
        return Rejected(message, hint=hint)  # of a firewall, or of nobody knows what
    return NotServed(message, hint=hint)


def _asks_too_much(text: str) -> bool:
    """Whether an error blames the number of tokens that are asked for, and not the prompt."""
    if not _MAX_TOKENS.search(text) or not _TOO_LARGE.search(text):
        return False
    context, found = _CONTEXT.search(text), _ASKED.search(text)
    asked = None if found is None else int(next(filter(None, found.groups())))
    if context is None:
        return asked is not None or _OUTPUT_LIMIT.search(text) is not None
    return asked is not None and asked >= int(context["limit"])


def describe(status: int, content_type: str, content: bytes) -> str:
    """What a server sent instead of a chat reply: status, content type, first characters."""
    text = " ".join(content[: 4 * SHOWN].decode("utf-8", "replace").split())
    shown = f"{text[:SHOWN]}…" if len(text) > SHOWN else text
    kind = content_type.partition(";")[0].strip() or "no content type"
    return f"no chat reply came back, but {status} {kind}: {clean(shown) or 'nothing'}"


def is_page(content: bytes) -> bool:
    """Whether a reply is a web page."""
    return _PAGE.match(content[:200].decode("utf-8", "replace").lstrip("\ufeff")) is not None


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
