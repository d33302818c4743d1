"""Converts error responses of providers to ModelErrors.

The type of the error depends on what the caller or the user can do about it.
"""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from msgspec import Struct

from loomgit.domain.models import PromptRejected
from loomgit.domain.safe_text import hide
from loomgit.errors import Denied, ModelError, NotServed, RateLimited, Rejected, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_MESSAGE = 300

# Providers send these texts with misleading statuses: for an empty account, OpenAI sends 429 and
# Anthropic sends 400; for a wrong key, Google sends 400. Retries cannot succeed.
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
# If an error text matches one of these patterns, the prompt is the cause of the error. All other
# rejections are caused by Loom or by the configuration.
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
# `_asks_too_much` uses these patterns to find errors that the configuration causes, not the prompt:
# the requested output is longer than the model's output limit or the model's whole context.
_MAX_TOKENS = re.compile(
    r"max_(?:completion_|output_|new_)?tokens|in the completion", re.IGNORECASE
)
_REQUESTED = re.compile(
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
# If the text of an error contains one of these words, the error affects more than one request: all
# requests to the model, or all requests with the API key.
_OF_THE_MODEL = re.compile(
    r"model|permission|access|authoriz|not allowed|country|region|territor|deployment|engine",
    re.IGNORECASE,
)
_PAGE = re.compile(r"\s*<(?:!doctype|html|head|body|\?xml)", re.IGNORECASE)
_MODERATION = re.compile(r"moderat|flagged|safety|harmful|prohibited", re.IGNORECASE)
# This text is in the error that Groq sends if a request exceeds the account's limit per minute.
_PER_MINUTE = re.compile(r"per minute", re.IGNORECASE)
_DELAY = re.compile(r"[\"']retryDelay[\"']:\s*[\"'](\d+(?:\.\d+)?)s[\"']")
_NO_PROVIDER = "LLM Provider NOT provided"
_LIBRARY = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception|Timeout)\w*(?: Error)?(?::| -) )+")


DESCRIPTION_LENGTH = 80  # an error quotes at most this many characters of an unexpected body
# A proxy returns these HTTP statuses after a timeout. The provider may have processed the call, and
# may charge for it.
GATEWAY_TIMEOUTS = frozenset((408, 504, 524))


class Refusal(Struct, frozen=True):
    """An error that a provider returned instead of a reply.

    `status` is the HTTP status, or None if there was no response. `text` is the complete text of
    the error. `retry_after` is the requested wait in seconds.
    """

    status: int | None
    text: str
    retry_after: float | None = None


class CallTarget(Struct, frozen=True):
    """The target of a call, for error messages.

    `key_source` is the source of the key, usually a variable. `base_url` is the address of the
    user's own server, otherwise None. `timeout` is in seconds.
    """

    model: str
    key_source: str
    base_url: str | None
    timeout: float


def read_wait(headers: Mapping[str, str], now: float) -> float | None:
    """Return the wait in seconds that the response headers request, or None if they request none.

    The header is `retry-after-ms` or `Retry-After` (seconds or an HTTP date). `headers` must have
    lower-case names or ignore case. `now` is in seconds since the epoch.
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
    """Return the value of the field `retryDelay` in an error text: the waiting time in seconds.

    Returns None if the field is missing. Google sends this field instead of a header.
    """
    match = _DELAY.search(text)
    return float(match[1]) if match else None


def explain(refusal: Refusal, asked: CallTarget) -> ModelError:
    """Convert a refusal to an error. The message names the model and contains no secrets."""
    model, status, text = asked.model, refusal.status, refusal.text
    detail = clean(text)
    if _NO_PROVIDER in text:
        return Denied(
            f"{model}: no provider serves a model of this name",
            hint="write provider/model (openai/..., anthropic/...), or set its base_url under "
            "'models' in .loom/config.yaml",
        )
    if status == 402 or (status in (400, 403, 429) and _NO_QUOTA.search(text)):
        return Denied(
            f"{model}: the account of the key in {asked.key_source} has no quota left: {detail}",
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
            f"{model}: the certificate of {asked.base_url or 'the server'} is not trusted: "
            f"{detail}",
            hint="set SSL_CERT_FILE to a file with the certificates that you trust",
        )
    if status in (400, 413, 422) and _asks_too_much(text):
        return Denied(
            f"{model}: {detail}",
            hint="lower transform.max_tokens, or max_output_tokens under 'models'",
        )
    if status is not None and (status in (403, 404) or 300 <= status < 400):
        return _refused(status, text, f"{model}: {detail} ({status})")
    if status == 429:
        return RateLimited(f"{model}: rate limited: {detail}", retry_after=refusal.retry_after)
    if status == 408:
        return Unavailable(f"{model}: no reply within {asked.timeout:g} s")
    if status in (400, 405, 406, 410, 411, 413, 415, 422):
        too_long = status == 413 or _TOO_LONG.search(text)
        by_prompt = (too_long or _POLICY.search(text)) and not _PER_MINUTE.search(text)
        return (PromptRejected if by_prompt else Rejected)(f"{model}: rejected: {detail}")
    address = f" at {clean(asked.base_url)}" if asked.base_url else ""
    number = f" ({status})" if status and status != 500 else ""
    return Unavailable(
        f"{model}: unavailable{address}{number}: {detail}",
        retry_after=refusal.retry_after,
        overloaded=status in (503, 529),
    )


def _refused(status: int, text: str, message: str) -> ModelError:
    """Return the error for status 3xx, 403 or 404. The model, address or request is at fault."""
    hint = "check the model's name, its base_url and the permissions of the key"
    if 300 <= status < 400:
        return NotServed(message, hint="set base_url to the address that the server redirects to")
    if status == 403 and (_POLICY.search(text) or _MODERATION.search(text)):
        return PromptRejected(message)
    if status == 403 and (_PAGE.match(text) or not _OF_THE_MODEL.search(text)):
        return Rejected(message, hint=hint)  # a firewall, or an unknown cause
    return NotServed(message, hint=hint)


def _asks_too_much(text: str) -> bool:
    """Return whether the error is due to the requested number of output tokens, not the prompt."""
    if not _MAX_TOKENS.search(text) or not _TOO_LARGE.search(text):
        return False
    context, match = _CONTEXT.search(text), _REQUESTED.search(text)
    requested = None if match is None else int(next(filter(None, match.groups())))
    if context is None:
        return requested is not None or _OUTPUT_LIMIT.search(text) is not None
    return requested is not None and requested >= int(context["limit"])


def describe(status: int, content_type: str, content: bytes) -> str:
    """Describe a response that is not a chat reply: status, content type, first characters."""
    text = " ".join(content[: 4 * DESCRIPTION_LENGTH].decode("utf-8", "replace").split())
    shown = f"{text[:DESCRIPTION_LENGTH]}…" if len(text) > DESCRIPTION_LENGTH else text
    kind = content_type.partition(";")[0].strip() or "no content type"
    return f"expected a chat reply, got {status} {kind}: {clean(shown) or 'no content'}"


def is_page(content: bytes) -> bool:
    """Return whether the content of a reply is a web page (HTML or XML)."""
    return _PAGE.match(content[:200].decode("utf-8", "replace").lstrip("\ufeff")) is not None


def mark_possibly_charged(error: ModelError) -> ModelError:
    """Set the cost of an error to None (unknown), and return the error.

    The call received no usable reply, but the provider may have charged for it.
    """
    error.cost = None
    return error


def missing_key(model: str, variable: str) -> Denied:
    """Return the error for a model whose key is missing because `variable` is not set."""
    return Denied(
        f"{model}: no key: {variable} is not set",
        hint=f"set {variable} in the environment or in .env, or choose another model",
    )


def clean(text: str) -> str:
    """Return the provider's message as one short line without secrets."""
    text = hide(text)
    words = " ".join((_find_message(text) or _LIBRARY.sub("", text)).split())
    return words if len(words) <= LONGEST_MESSAGE else words[: LONGEST_MESSAGE - 1] + "…"


def _find_message(text: str) -> str | None:
    """Return the `message` of the JSON error body in `text`, or None if `text` has no such body."""
    start = text.find("{")
    if start == -1:
        return None
    try:
        body, _ = json.JSONDecoder().raw_decode(text, start)
    except ValueError:
        return None
    inner = body.get("error", body) if isinstance(body, dict) else None
    message = inner.get("message") if isinstance(inner, dict) else inner
    return message if isinstance(message, str) else None
