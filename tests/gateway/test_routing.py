import asyncio

from loomgit.domain.models import Completion, Request
from loomgit.domain.settings import ModelSettings
from loomgit.gateway.routing import RoutingGateway


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
