"""Makes text from outside (replies, errors, data, addresses) safe to print or to store.

Safe text contains no secrets, and no characters or commands that a terminal or a CI system
interprets. Secrets are recognized in two ways. The secrets that Loom itself uses are registered
with `remember`, for the whole process. Other secrets are recognized by their form: passwords in
addresses, values of parameters such as `api_key=`, keys of well-known providers.
"""

from __future__ import annotations

import base64
import html
import json
import re
import threading
from functools import cache
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

Value = TypeVar("Value")

HIDDEN = "***"
# A secret with at least this many characters is found everywhere, even inside words. A secret with
# at least half this many characters is found as a whole word only. A shorter secret is not found.
# For a secret that consists of letters only, both limits are doubled, because it may be an ordinary
# word.
SHORTEST = 8
# Control characters, marks that change the direction of a text, and unpaired surrogates.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"
)
# Text that the CI systems of GitHub, Azure and TeamCity interpret as a command.
_COMMAND = re.compile(r"^(\s*)(::)|()(##)(?=\[|vso\[|teamcity\[)", re.MULTILINE)
_COMMAND_IN_JSON = re.compile(r"##(?=\[|vso\[|teamcity\[)")  # no line of JSON begins with `::`


class Secrets:
    """The secrets that Loom has used in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._patterns: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def remember(self, *values: str | None) -> None:
        """Hide these values from now on. Values that may be ordinary words are ignored."""
        patterns = {pattern for value in values if value for pattern in _patterns(value.strip())}
        with self._lock:
            if not patterns <= self._patterns:
                self._patterns |= patterns
                longest_first = sorted(self._patterns, key=len, reverse=True)
                self._pattern = re.compile("|".join(longest_first))

    def remember_address(self, address: str) -> None:
        """Hide the password and the secret parameters of an address from now on."""
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
        """Return the text with each remembered secret replaced by `***`."""
        pattern = self._pattern
        return text if pattern is None else pattern.sub(HIDDEN, text)


def _spellings(secret: str) -> Iterator[str]:
    """Yield the spellings of a secret in text, addresses, JSON, HTML and headers for Basic auth."""
    yield from (secret, json.dumps(secret)[1:-1], json.dumps(secret)[1:-1].replace("/", "\\/"))
    for safe in ("", "/"):
        quoted = quote(secret, safe=safe)
        yield from (quoted, re.sub("%..", lambda match: match[0].lower(), quoted))
    yield from (html.escape(secret), html.escape(secret, quote=False))
    for text in (secret, f":{secret}"):
        yield base64.b64encode(text.encode()).decode().rstrip("=")


def _patterns(secret: str) -> Iterator[str]:
    """Yield regular expressions that match a secret in all its spellings.

    A long secret matches anywhere, and a short secret only as a whole word. An even shorter secret
    has no pattern, because it may be an ordinary word.
    """
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


@cache
def _forms() -> tuple[re.Pattern[str], ...]:
    """Return patterns of texts that look like secrets. They are compiled when they are needed."""
    return (
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


def hide(text: str) -> str:
    """Return the text with `***` in place of known secrets and of parts that look like secrets."""
    text = hide_known(text)
    for form in _forms():
        text = form.sub(_mask, text)
    return text


def _mask(match: re.Match[str]) -> str:
    """Mask the group `value` of a match, or the whole match if it has no such group."""
    whole = match[0]
    value = match.groupdict().get("value")
    return HIDDEN if value is None else whole[: len(whole) - len(value)] + HIDDEN


def hide_in(value: Value) -> Value:
    """Return a JSON value with `hide` applied to all its texts and keys.

    Keys can contain secrets, because some keys in a run file are the reasons of failures.
    """
    if isinstance(value, str):
        return hide(value)  # type: ignore[return-value]
    if isinstance(value, dict):
        return {hide(key): hide_in(item) for key, item in value.items()}  # type: ignore[return-value]
    if isinstance(value, list | tuple):
        return type(value)(hide_in(item) for item in value)
    return value


def escape_controls(text: str) -> str:
    r"""Return the text with escapes (`\x1b`) for the characters that a terminal interprets.

    Line breaks and tabs do not change.
    """
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def for_screen(text: str) -> str:
    """Return the text in a form that is safe to print.

    It contains no secret, no control character, and no command for the runner of a CI system.
    """
    return _COMMAND.sub(_disarm, escape_controls(hide(text)))


def for_document(text: str) -> str:
    """Return a JSON document in a form that is safe to print.

    Secrets are hidden. The parsed values of all other parts do not change.
    """
    text = _COMMAND_IN_JSON.sub(r"#\\u0023", text)
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", hide(text))


def _disarm(match: re.Match[str]) -> str:
    """Put spaces between the characters at the start of a CI command."""
    space, mark = match[1] or "", match[2] or match[4]
    return space + " ".join(mark)
