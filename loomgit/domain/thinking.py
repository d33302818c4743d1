"""Separates the thinking in a model's reply from the answer, by the marks of known formats.

A mark is a tag (`<think>`, `[THINK]`, `◁think▷`), a pair of special tokens (`<|START_THINKING|>`),
or a channel of gpt-oss (`<|channel|>analysis<|message|>`). Servers remove some of these tokens.
Therefore, if a closing tag has no opening tag, all text before the closing tag is thinking. If an
opening tag has no closing tag, all text after the opening tag is thinking.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

_MARK = re.compile(
    r"<(?P<slash>/?)(?:think|thinking|thoughts?|reasoning|reasoning_content|reflection|scratchpad|inner_monologue|"
    r"seed:think|mm:think)(?:\s[^<>]*)?>"
    r"|\[(?P<slash_b>/?)(?:THINK|THINKING|REASONING)\]"
    r"|◁(?P<slash_k>/?)(?:think|thinking)▷"
    r"|<\|(?P<word>begin|end|start)_(?:of_)?(?:thought|thinking|think|reasoning)\|>"
    r"|<unused(?P<unused>94|95)>(?:thought\s)?",
    re.IGNORECASE,
)
# The channels of gpt-oss (harmony). `final` and a channel without a name contain the answer.
_CHANNEL = re.compile(
    r"(?:<\|start\|>\s*assistant\s*)?<\|channel\|>\s*(?P<name>\w*).{0,200}?<\|message\|>",
    re.IGNORECASE,
)
_CHANNEL_END = re.compile(r"<\|(?:end|return|call)\|>")
# If a server removes the tokens of the channels, this text remains: `analysis…assistantfinal{…}`.
_BARE_CHANNELS = re.compile(r"\A\s*analysis(?!\s*:).*assistantfinal", re.DOTALL)
# The answer after the thinking, with the marks before and after the answer.
_ANSWER = re.compile(
    r"<(?P<tag>answer|final_answer)>(?P<tagged>.*?)(?:</(?P=tag)>|\Z)"
    r"|<\|START_(?:RESPONSE|TEXT)\|>(?P<response>.*?)(?:<\|END_(?:RESPONSE|TEXT)\|>|\Z)"
    r"|<\|begin_of_solution\|>(?P<solution>.*?)(?:<\|end_of_solution\|>|\Z)",
    re.DOTALL | re.IGNORECASE,
)


class SplitReply(Struct, frozen=True):
    """A reply, split into answer and thinking.

    `unfinished` is true if the reply ends before its thinking ends.
    """

    answer: str
    thinking: str = ""
    unfinished: bool = False


def split_thinking(text: str, quoted: Sequence[tuple[int, int]] = ()) -> SplitReply:
    """Split a reply into its thinking and its answer.

    Marks inside the ranges `quoted` (start, end) are ignored, because they are part of the answer,
    for example in a string.
    """
    if match := _BARE_CHANNELS.match(text):
        return SplitReply(text[match.end() :].strip(), text[: match.end()].strip())
    if "<|channel|>" in text:
        return _split_channels(text)
    marks = [
        match
        for match in _MARK.finditer(text)
        if not any(start <= match.start() < end for start, end in quoted)
    ]
    if not marks:
        return SplitReply(text.strip())
    thinking: list[str] = []
    answer: list[str] = []
    position, is_thinking = 0, False
    for match in marks:
        is_closing = _is_closing(match)
        if is_closing and not is_thinking:  # all text before this mark is thinking
            thinking += answer
            answer = []
        target = thinking if is_thinking or is_closing else answer
        target.append(text[position : match.start()])
        position, is_thinking = match.end(), not is_closing
    (thinking if is_thinking else answer).append(text[position:])
    return SplitReply(
        _marked_answer("".join(answer)).strip(),
        "\n".join(filter(None, map(str.strip, thinking))),
        unfinished=is_thinking,
    )


def _is_closing(match: re.Match[str]) -> bool:
    slash = match["slash"] or match["slash_b"] or match["slash_k"]
    return bool(slash) or (match["word"] or "").lower() == "end" or match["unused"] == "95"


def _split_channels(text: str) -> SplitReply:
    """Split a reply of gpt-oss. The channel `final` and channels without a name contain the answer.

    All other channels contain thinking.
    """
    openings = list(_CHANNEL.finditer(text))
    if not openings:
        return SplitReply("", text.strip(), unfinished=True)
    thinking = [text[: openings[0].start()].strip()]
    answer: list[str] = []
    ends = [match.start() for match in openings[1:]] + [len(text)]
    for match, end in zip(openings, ends, strict=True):
        part = _CHANNEL_END.split(text[match.end() : end], maxsplit=1)[0].strip()
        (answer if match["name"].lower() in ("final", "") else thinking).append(part)
    thought = "\n".join(filter(None, thinking))
    return SplitReply("\n".join(answer), thought, unfinished=not answer)


def _marked_answer(text: str) -> str:
    """Return the text that the model marks as its answer.

    If the text has no such marks, return the whole text.
    """
    answers = [match["tagged"] or match["response"] or match["solution"] for match in
               _ANSWER.finditer(text)]  # fmt: skip
    return (answers[-1] or "") if answers else text
