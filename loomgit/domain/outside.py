"""Text from outside (replies, errors of providers and databases, data, addresses) before Loom
prints or stores it: without secrets, and without what a terminal or a CI system obeys.

Secrets are recognised in two ways. `remember` notes those that Loom has used, for the whole
process. Others are recognised by their form: passwords in addresses, values of parameters such as
`api_key=`, keys of well-known providers.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

Value = TypeVar("Value")

HIDDEN = "***"
# Characters of a secret that is found inside of words, too. Half as many are found as a word; a
# secret of letters alone needs twice as many of both.
SHORTEST = 8
_FORMS = (
    re.compile(r"(?<=Bearer )[^\s\"'\\]+"),
    re.compile(r"(?<=://)[^/\s@\"'\\]*:(?!\d*/)[^\s\"'\\]+(?=@)"),
    re.compile(r"(?<=https://)[^/\s@:\"'\\]+(?=@)|(?<=http://)[^/\s@:\"'\\]+(?=@)"),
    re.compile(
        r"[?&](?:\w*(?:key|token|password|secret)|sig|signature)=(?P<value>[^&\s\"'\\]+)", re.I
    ),
    re.compile(
        r"(?<!\w)(?:api[-_]?key|access[-_]?token|password|passwd)=(?P<value>[^&\s\"'\\;,)]+)"
    ),
    re.compile(r"\b(?:sk|gsk|xai|hf|r8)[-_][\w*.-]{6,}"),
    re.compile(r"\b(?:gh[opsu]_|github_pat_)\w{16,}"),
    re.compile(r"\bAIza[\w-]{10,}"),
)
# Control characters, marks that turn the direction of a text around, and unpaired surrogates.
_OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
# What the runners of GitHub, Azure and TeamCity take for a command.
_COMMAND = re.compile(r"^(\s*)(::)|()(##)(?=\[|vso\[|teamcity\[)", re.MULTILINE)
_COMMAND_IN_JSON = re.compile(r"##(?=\[|vso\[|teamcity\[)")  # no line of JSON begins with `::`


class Secrets:
    """The secrets that this process has used."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def remember(self, *values: str | None) -> None:
        """Hide these values from now on, if they are long enough to be told from words."""
        found = {pattern for value in values if value for pattern in _patterns(value.strip())}
        with self._lock:
            if not found <= self._values:
                self._values |= found
                longest_first = sorted(self._values, key=len, reverse=True)
                self._pattern = re.compile("|".join(longest_first))

    def remember_address(self, address: str) -> None:
        """Hide the password, and the parameters, of an address."""
        try:
            parts = urlsplit(address)
        except ValueError:
            return
        _, _, password = parts.netloc.rpartition("@")[0].partition(":")
        self.remember(password, unquote(password))
        for parameter in parts.query.split("&"):
            name, _, value = parameter.partition("=")
            if re.search(r"key|token|pass|secret|sig", name, re.IGNORECASE):
                self.remember(value, unquote(value))

    def hide(self, text: str) -> str:
        """The text without any of the secrets."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(HIDDEN, text)


def _spellings(secret: str) -> Iterator[str]:
    """A secret as it stands in texts, addresses, JSON, web pages and headers of Basic auth."""
    yield from (secret, json.dumps(secret)[1:-1], json.dumps(secret)[1:-1].replace("/", "\\/"))
    for safe in ("", "/"):
        quoted = quote(secret, safe=safe)
        yield from (quoted, re.sub("%..", lambda match: match[0].lower(), quoted))
    yield from (html.escape(secret), html.escape(secret, quote=False))
    for text in (secret, f":{secret}"):
        yield base64.b64encode(text.encode()).decode().rstrip("=")


def _patterns(secret: str) -> Iterator[str]:
    """What finds a secret as it stands in a text, an address and a JSON document: anywhere, or a
    short one as a word of its own. What is shorter still is left alone: it may be a usual word."""
    spellings = set(_spellings(secret))
    length = len(secret) // 2 if secret.isalpha() else len(secret)
    if length >= SHORTEST:
        yield from map(re.escape, spellings)
    elif length >= SHORTEST // 2:
        yield from (rf"(?<![\w-]){re.escape(spelling)}(?![\w-])" for spelling in spellings)


_SECRETS = Secrets()
remember = _SECRETS.remember
remember_address = _SECRETS.remember_address
hide_known = _SECRETS.hide


def hide(text: str) -> str:
    """The text without known secrets, and without what has the form of one."""
    text = hide_known(text)
    for form in _FORMS:
        text = form.sub(_hidden, text)
    return text


def _hidden(match: re.Match[str]) -> str:
    """A match without its `value`, or without all of it if the form has no such group."""
    whole = match[0]
    value = match.groupdict().get("value")
    return HIDDEN if value is None else whole[: len(whole) - len(value)] + HIDDEN


def hide_in(value: Value) -> Value:
    """A JSON value with `hide` applied to all of its texts and keys: a run counts by reason."""
    if isinstance(value, str):
        return hide(value)  # type: ignore[return-value]
    if isinstance(value, dict):
        return {hide(key): hide_in(item) for key, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return type(value)(hide_in(item) for item in value)
    return value


def escape_controls(text: str) -> str:
    r"""The text with `\x1b` and the like in place of characters that a terminal obeys. Line breaks
    and tabs stay."""
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def for_screen(text: str) -> str:
    """The text as it may be printed: no secret, no control character, and nothing that the runner
    of a CI system takes for a command."""
    return _COMMAND.sub(_defused, escape_controls(hide(text)))


def for_document(text: str) -> str:
    """A JSON document as it may be printed; it means the same."""
    text = _COMMAND_IN_JSON.sub(r"#\\u0023", text)
    return _OBEYED.sub(lambda match: f"\\u{ord(match[0]):04x}", hide(text))


def _defused(match: re.Match[str]) -> str:
    space, mark = match[1] or "", match[2] or match[4]
    return space + " ".join(mark)
