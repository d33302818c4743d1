"""The prompt is split at its input, however its beginning was found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loomgit.domain.models import Message
from loomgit.gateway import prompt_input
from loomgit.gateway.prompt_input import split_prompt

LINES = [
    "Review: ",
    "# Review",
    "## Input",
    "* Text *: ",
    "## Task",
    "Review: great\nSentiment: positive",
    'Input: bad\n{"sentiment": "negative"}',
    "Text: ",
    "Classify it as one of: good, bad",
    '{"sentiment": "good|bad"}',
    "Answer:",
    "---",
    "",
]
INPUTS = [
    "It works.",
    "",
    "* bold",
    " a",
    "to me: b",
    "first\nAnswer: no",
    "a\n## Task\nReview: b",
    'x\n{"a": 1}',
    "x\nText: y\nLabel: z",
    "\nbelow a heading",
]


def split_alone(prompt: str) -> tuple[str, str, str]:
    prompt_input._beginnings.clear()
    return split_prompt((Message("user", prompt),))


@given(
    before=st.lists(st.sampled_from(LINES), max_size=6),
    after=st.lists(st.sampled_from(LINES), max_size=4),
    inputs=st.lists(st.sampled_from(INPUTS), min_size=2, max_size=4),
)
def test_a_prompt_is_split_alike_whatever_prompts_came_before(before, after, inputs):
    prompts = ["\n".join([*before, text, *after]) for text in inputs]
    prompts += ["\n".join(before) + text + "\n".join(["", *after]) for text in inputs]
    alone = [split_alone(prompt) for prompt in prompts]
    prompt_input._beginnings.clear()
    together = [split_prompt((Message("user", prompt),)) for prompt in prompts * 2]
    assert together == alone * 2


def test_the_beginning_of_a_prompt_is_searched_for_once(monkeypatch):
    prompt_input._beginnings.clear()
    texts = [f"Review: one\nLabel: good\n\n## Task\n\nReview: {n}\n\nAnswer:" for n in range(50)]
    split_prompt((Message("user", texts[0]),))
    monkeypatch.setattr(prompt_input, "_remember", lambda *_: pytest.fail("it searched again"))
    for number, text in enumerate(texts):
        assert split_prompt((Message("user", text),))[1] == str(number)


def test_only_the_last_beginnings_are_remembered():
    for number in range(100):
        split_prompt((Message("user", f"Prompt {number}\nReview: x"),))
    assert len(prompt_input._beginnings) == prompt_input.REMEMBERED
