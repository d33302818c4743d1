"""Finds the input in a prompt. The embedded model classifies it, and learns from the other text."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loomgit.domain.models import Message

INPUT = "(?i:review|text|message|input|question|query|document|article|comment|email|ticket|sms)"
ANSWER = "(?:label|answer|sentiment|category|class|classification|output|response|result)[ \t]*:"
MARKER = re.compile(
    rf"\n(?:[ \t*]*(?:\w+[ \t]){{0,2}}{INPUT}(?:[ \t]to[ \t]\w+)?[ \t*]*:[ \t*]*"
    rf"|\#+[ \t](?:\w+[ \t])?{INPUT}[ \t]*(?=\n))"
)
ANSWERED = re.compile(rf"(?i)[^\n]*\n\s*(?:{ANSWER}[ \t]*\S|\{{[^|{{}}]*\}})")
TASK = re.compile(r"\n#+[ \t]*(?i:(?:your[ \t])?(?:task|input)\b)")
END = re.compile(
    rf"\n[ \t]*(?i:\#{{1,6}}[ \t]|\{{|---|{ANSWER}|(?:documents?|context|sources?)[ \t]*:"
    r"|\n[ \t]*(?:classify|provide|respond|reply|answer|return|output|choose|assign|label|decide|"
    r"summari[sz]e|extract|rate|score|write|explain|your task)\b)"
)
REMEMBERED = 16  # beginnings of prompts; the prompts of one run usually have the same one


class _Beginning(Struct, frozen=True):
    """The beginning of a message, up to its input.

    `marker` is the position of the marker at the end of the beginning. `has_task` is true if the
    task section starts before this marker.
    """

    text: str
    marker: int
    has_task: bool

    def precedes_input_of(self, message: str) -> bool:
        """Whether `_find_input` would find that the input of `message` starts after this text.

        The answer needs no search in the text itself. Each marker is within one line, and the
        other markers of the text cannot mark the input (see `_remember`).
        """
        if not message.startswith(self.text):
            return False
        marker = MARKER.match(message, self.marker)
        if marker is None or marker.end() != len(self.text):
            return False
        if ANSWERED.match(message, marker.end()):
            return False
        if self.has_task:
            return True
        task = TASK.search(message, self.marker)
        later = () if task is None else MARKER.finditer(message, task.start() + 1)
        return all(ANSWERED.match(message, other.end()) for other in later)


_beginnings: deque[_Beginning] = deque(maxlen=REMEMBERED)


def split_prompt(messages: Sequence[Message]) -> tuple[str, str, str]:
    """Return the text before the input, the input, and the text after the input.

    The input starts after the first marker, such as `Input:`. Markers of solved examples, in which
    an answer follows the input, are skipped. Markers in the task section have priority. If a prompt
    has no marker, the last message is the input.
    """
    texts = ["\n" + message.content for message in messages]
    for place in reversed(range(len(texts))):
        text = texts[place]
        beginning = _find_beginning(text) if messages[place].role == "user" else None
        if beginning is not None:
            start = len(beginning)
            end = match.start() if (match := END.search(text, start)) else len(text)
            before, after = [*texts[:place], beginning], [text[end:], *texts[place + 1 :]]
            return "\n".join(before), text[start:end].strip(), "\n".join(after)
    return "\n".join(texts[:-1]), texts[-1], ""


def _find_beginning(text: str) -> str | None:
    """Return the part of a message before its input, or None if the message has no marker."""
    for known in tuple(_beginnings):  # other threads may add beginnings
        if known.precedes_input_of(text):
            return known.text
    markers = list(MARKER.finditer(text))
    if not markers:
        return None
    task = TASK.search(text)
    chosen = [m for m in markers if not ANSWERED.match(text, m.end())] or markers[-1:]
    if task is not None:
        chosen = [m for m in chosen if m.start() > task.start()] or chosen
    beginning = text[: chosen[0].end()]
    _remember(beginning, chosen[0], markers, task)
    return beginning


def _remember(
    text: str, chosen: re.Match[str], markers: Sequence[re.Match[str]], task: re.Match[str] | None
) -> None:
    """Store the beginning of a prompt, if later prompts can be split by it.

    `chosen` is the marker at the end of the beginning. An answer must follow each earlier marker
    of the task section (of the prompt, if the section starts later), and must be within the
    beginning. Otherwise, the input of a prompt decides whether such a marker is skipped.
    """
    has_task = task is not None and task.start() < chosen.start()
    start = task.start() if task is not None and has_task else -1
    earlier = [marker for marker in markers if start < marker.start() < chosen.start()]
    beginning = _Beginning(text, chosen.start(), has_task)
    if all(ANSWERED.match(text, marker.end()) for marker in earlier) and (
        beginning not in tuple(_beginnings)
    ):
        _beginnings.appendleft(beginning)
