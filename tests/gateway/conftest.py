"""The local server for each test, and litellm loaded once for all of them."""

import os
import subprocess
import sys
import textwrap

import pytest

from loomgit.gateway.litellm_lane import load_litellm
from tests.servers.openai_server import OpenAiServer

FIRST_CALL = """
    import asyncio, os, socket, sys
    def nowhere(self, address):
        raise AssertionError(address)
    socket.socket.connect = nowhere
    from loomgit.domain.models import Message, Request
    from loomgit.errors import Denied
    from loomgit.gateway.litellm_lane import LiteLlmGateway
    from loomgit.gateway.prices import Prices
    lane = LiteLlmGateway({}, Prices({}), reveal=str)
    assert not {"litellm", "openai", "httpx"} & sys.modules.keys()
    before = dict(os.environ)
    try:
        asyncio.run(lane.complete(Request("gpt-4o-mini", (Message("user", "x"),))))
    except Denied as error:
        print(error)
    print(sorted(os.environ.items() - before.items()), "litellm" in sys.modules)
"""


@pytest.fixture(scope="session")
def fresh_process(tmp_path_factory):
    """A first call in a process of its own, begun before the long import here, to run beside it."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / ".env").write_text("OPENAI_API_KEY=sk-from-dot-env\n")
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(FIRST_CALL)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
    )
    with process:
        yield process
        process.kill()


@pytest.fixture(scope="session")
def litellm(fresh_process):
    return load_litellm()


@pytest.fixture
def server():
    with OpenAiServer() as running:
        yield running
