"""Which names that providers give are those of the model that was asked for."""

import pytest

from loomgit.domain.models import is_same_model, other_models


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4o-mini", "gpt-4o-mini"),
        ("openai/gpt-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("gemini/gemini-1.5-pro", "gemini-1.5-pro-002"),
        ("anthropic/claude-3-5-sonnet", "claude-3-5-sonnet-20241022"),
        ("anthropic/claude-3-5-sonnet", "claude-3-5-sonnet-latest"),
        ("vertex_ai/claude-3-5-sonnet", "claude-3-5-sonnet@20240620"),
        ("ollama/llama3", "llama3:latest"),
        ("together/meta/Llama-3", "meta/llama-3"),
    ],
)
def test_the_same_model_or_a_snapshot_of_it(asked, served):
    assert is_same_model(asked, served)


@pytest.mark.parametrize(
    ("asked", "served"),
    [
        ("gpt-4o", "gpt-4o-mini"),
        ("gpt-4o-mini", "gpt-4o"),
        ("gpt-4o", "gpt-4"),
        ("openai/small", "other"),
        ("mistral/mistral-large", "mistral-large-instruct"),
    ],
)
def test_another_model(asked, served):
    assert not is_same_model(asked, served)
    assert other_models(asked, [served, asked, ""]) == [served]


def test_a_program_does_not_answer_for_a_model():
    assert other_models("", ["spam-detector-001@v2"]) == []
