"""One call of equal requests of several processes, on a real board."""

import asyncio

from msgspec.structs import replace

from loomgit.domain.models import Message, Request
from loomgit.gateway.shared_calls import SharedCallGateway
from loomgit.history.shared_draws import SharedDraws
from tests.fakes import FakeGateway

ASK = Request("gpt-4o-mini", (Message("user", "x"),), purpose="evaluate")


def test_a_fresh_request_is_asked_though_another_process_has_the_reply(tmp_path):
    inner = FakeGateway(lambda _: "an answer")
    board = SharedDraws(tmp_path / "board.db")
    first, second = (SharedCallGateway(inner, board, ["evaluate"]) for _ in range(2))

    async def ask():
        await first.complete(ASK)
        shared = await second.complete(ASK)
        fresh = await second.complete(replace(ASK, fresh=True))
        return shared.cached, fresh.cached

    assert asyncio.run(ask()) == (True, False)
    assert len(inner.requests) == 2
