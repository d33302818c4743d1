import pytest

from tests.pytest_plugin import sessions
from tests.servers.openai_server import OpenAiServer


@pytest.fixture
def server():
    with OpenAiServer(sessions.respond) as running:
        yield running
