import asyncio

import pytest

from loomgit.domain.models import Completion, Request
from loomgit.domain.place import Place
from loomgit.domain.settings import ModelSettings, Secret
from loomgit.gateway.routing import RoutingGateway, choose_lane

OWN = ModelSettings(base_url=Secret("http://127.0.0.1:1/v1", Place("config.yaml")))


class Lane:
    def __init__(self, name, log):
        self.name, self.log = name, log
        log.append(f"open {name}")

    async def complete(self, request):
        return Completion(self.name, request.model)

    async def close(self):
        self.log.append(f"close {self.name}")


def route(*asked, models=None, lanes=("embedded", "litellm")):
    log = []

    async def run():
        factories = {name: (lambda name=name: Lane(name, log)) for name in lanes}
        gateway = RoutingGateway(factories, models or {})
        texts = [(await gateway.complete(Request(model, ()))).text for model in asked]
        await gateway.close()
        return texts

    return asyncio.run(run()), log


def test_a_lane_opens_once_and_only_when_something_takes_it():
    texts, log = route("embedded/icl", "embedded/icl")
    assert texts == ["embedded", "embedded"]
    assert log == ["open embedded", "close embedded"]


def test_models_take_their_lanes():
    texts, log = route("gpt-4o-mini", "embedded/icl", "anthropic/claude-sonnet-4-5")
    assert texts == ["litellm", "embedded", "litellm"]
    assert sorted(log[-2:]) == ["close embedded", "close litellm"]


def test_a_configured_lane_is_taken_where_it_is_offered():
    models = {"gpt-4o-mini": ModelSettings(lane="direct")}
    assert route("gpt-4o-mini", models=models, lanes=("direct", "litellm"))[0] == ["direct"]
    assert route("gpt-4o-mini", models=models)[0] == ["litellm"]


@pytest.mark.parametrize(
    ("model", "lane", "at_own_address"),
    [
        ("gpt-4o-mini", "direct", "direct"),
        ("openai/gpt-4o-mini", "direct", "direct"),
        ("openai/new-one", "direct", "direct"),
        ("gpt-4o-2031-01-01", "direct", "direct"),
        ("o1-pro", "litellm", "litellm"),  # not by the chat API
        ("my-own-model", "litellm", "direct"),
        ("mistralai/Mistral-7B-Instruct", "litellm", "direct"),
        ("hosted_vllm/llama", "litellm", "direct"),
        ("anthropic/claude-sonnet-4-5", "litellm", "litellm"),
        ("claude-sonnet-4-5", "litellm", "litellm"),
        ("gemini/gemini-2.5-flash", "litellm", "litellm"),
        ("mistral/mistral-small-latest", "litellm", "litellm"),
        ("ollama/llama3", "litellm", "litellm"),
        ("embedded/icl", "embedded", "embedded"),
    ],
)
def test_who_serves_a_model_decides_its_lane(model, lane, at_own_address):
    assert choose_lane(model, None) == lane
    assert choose_lane(model, OWN) == at_own_address


@pytest.mark.parametrize("lane", ["direct", "litellm"])
@pytest.mark.parametrize("model", ["gpt-4o-mini", "anthropic/claude-sonnet-4-5", "mine"])
def test_a_configured_lane_goes_before_it(model, lane):
    assert choose_lane(model, ModelSettings(lane=lane)) == lane
