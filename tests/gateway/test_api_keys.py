import pytest

from loomgit.domain.place import Place
from loomgit.domain.settings import ModelSettings, Secret
from loomgit.errors import Denied
from loomgit.gateway.api_keys import find_key
from loomgit.gateway.chain import Lanes
from loomgit.gateway.provider_errors import read_delay

CLAUDE = "anthropic/claude-haiku-4-5"
HERE = Place(".loom/config.yaml")


def check(model, environment=None, **settings):
    Lanes({model: ModelSettings(**settings)}, str, environment or {}).check(model)


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, (None, "GEMINI_API_KEY")),
        ({"GOOGLE_API_KEY": "g"}, ("g", "GOOGLE_API_KEY")),
        ({"GOOGLE_API_KEY": "g", "GEMINI_API_KEY": "m"}, ("m", "GEMINI_API_KEY")),
        ({"GOOGLE_API_KEY": "g", "GEMINI_API_KEY": ""}, ("g", "GOOGLE_API_KEY")),
    ],
)
def test_a_provider_may_have_two_variables(environment, found):
    assert find_key("gemini", environment) == found


def test_a_provider_nobody_listed_has_the_usual_one():
    assert find_key("acme", {"ACME_API_KEY": "k"}) == ("k", "ACME_API_KEY")


@pytest.mark.parametrize(
    "model",
    [
        CLAUDE,
        "claude-haiku-4-5",
        "gemini/gemini-2.5-flash",
        "mistral/mistral-small-latest",
        "gpt-4o",
    ],
)
def test_a_missing_key_is_seen_without_the_library(model):
    with pytest.raises(Denied, match="no key: [A-Z]+_API_KEY is not set"):
        check(model)


@pytest.mark.parametrize(
    ("environment", "settings"),
    [
        ({"ANTHROPIC_API_KEY": "k"}, {}),
        ({"ANTHROPIC_API_BASE": "http://proxy"}, {}),
        ({}, {"base_url": Secret("http://127.0.0.1:1", HERE)}),
        ({}, {"api_key": Secret("k", HERE)}),
    ],
)
def test_what_may_need_no_variable_is_not_refused(environment, settings):
    check(CLAUDE, environment, **settings)


@pytest.mark.parametrize(
    "model", ["ollama/llama3.1", "ollama_chat/qwen3", "bedrock/claude", "acme/x"]
)
def test_a_key_that_may_not_be_needed_is_not_asked_for(model):
    check(model)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('{"error": {"details": [{"retryDelay": "34s"}]}}', 34.0),
        ('b\'{"retryDelay": "1.5s"}\'', 1.5),
        ('{"retryDelay": "soon"}', None),
        ("retryDelay", None),
    ],
)
def test_googles_word_on_waiting_is_read_in_the_body(text, seconds):
    assert read_delay(text) == seconds
