"""The local server for each test, and Arbiter loaded once for all of them."""

import os
import subprocess
import sys
import textwrap

import pytest

from loomgit.evaluators.arbiter import load_arbiter
from tests.servers.openai_server import OpenAiServer

LOAD = """
    import os, socket, sys
    def nowhere(self, address):
        raise AssertionError(address)
    socket.socket.connect = nowhere
    import loomgit.evaluators.registry
    from loomgit.evaluators.arbiter import load_arbiter
    assert not {"arbiter_ai", "litellm", "openai", "pydantic_ai"} & sys.modules.keys()
    before = dict(os.environ)
    load_arbiter()
    print(sorted(os.environ.items() - before.items()), "arbiter_ai" in sys.modules)
"""


@pytest.fixture(scope="session")
def fresh_process(tmp_path_factory):
    """Arbiter loaded in a process of its own, begun before the long import here, to run beside."""
    folder = tmp_path_factory.mktemp("fresh")
    (folder / ".env").write_text("OPENAI_API_KEY=sk-from-dot-env\n")
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(LOAD)],
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
def arbiter(fresh_process):
    return load_arbiter()


@pytest.fixture
def server():
    with OpenAiServer() as running:
        yield running
