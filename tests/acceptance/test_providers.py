"""One pipeline through the wire formats of five providers, by the command, against servers that
take what the real ones take."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

from tests.command import loom
from tests.projects import PIPELINE, make_project
from tests.repos import commit
from tests.servers.provider_server import INPUT, OUTPUT, ProviderServer

KEY = "sk-very-secret-value-0123456789"


@dataclass(frozen=True)
class Provider:
    """A provider as a user writes it: the model, the variable of its key, USD per million."""

    name: str
    model: str
    variable: str
    input: float
    output: float

    @property
    def served(self):
        return self.model.rpartition("/")[2]


PROVIDERS = [
    Provider("openai", "gpt-4o-mini", "OPENAI_API_KEY", 0.15, 0.60),
    Provider("anthropic", "anthropic/claude-haiku-4-5", "ANTHROPIC_API_KEY", 1.0, 5.0),
    Provider("gemini", "gemini/gemini-2.5-flash", "GEMINI_API_KEY", 0.30, 2.50),
    Provider("mistral", "mistral/mistral-small-latest", "MISTRAL_API_KEY", 0.15, 0.60),
    Provider("ollama", "ollama/llama3.1", "OLLAMA_API_KEY", 0.0, 0.0),
]
KEYED = PROVIDERS[:-1]
VARIABLES = [p.variable for p in PROVIDERS] + ["GOOGLE_API_KEY", "OPENAI_BASE_URL"]


def respond(prompt):
    review = prompt.partition("Review:")[2]
    label = "positive" if "great" in review or "love" in review else "negative"
    return json.dumps({"sentiment": label, "confidence": 0.9})


@pytest.fixture(params=PROVIDERS, ids=lambda provider: provider.name)
def provider(request):
    return request.param


@pytest.fixture
def server(provider):
    with ProviderServer(provider.name, respond, KEY) as running:
        yield running


@pytest.fixture
def project(tmp_path, monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    return make_project(tmp_path / "work")


def use(project, provider, entry=""):
    lines = f"  model: {provider.model}\n  temperature: 0\n  max_tokens: 100\n  prompt:"
    files = {"pipelines/demo.yaml": PIPELINE.replace("  prompt:", lines)}
    if entry:
        files[".loom/config.yaml"] = f"models:\n  {provider.model}: {{{entry}}}\n"
    commit(project, files)


def run(project, *flags):
    done = loom(project, "run", "demo", *flags)
    assert KEY not in done.stdout + done.stderr
    for path in project.rglob("*"):
        if path.is_file():
            assert KEY.encode() not in path.read_bytes(), path
    return done


def test_the_same_records_come_out_of_every_provider(project, provider, server, monkeypatch):
    monkeypatch.setenv(provider.variable, KEY)
    use(project, provider, f"base_url: '{server.url}'")
    done = run(project, "--json")
    assert done.returncode == 0, (done.stderr, server.problems)
    found = json.loads(done.stdout)
    assert server.problems == []
    assert server.models == {provider.served}
    assert len(server.asked) == 4
    assert found["results"]["records_loaded"] == 4
    assert found["evaluation"]["label"]["mean"] == 1.0
    cost = found["cost"]
    assert cost["tokens"] == {"input": 4 * INPUT, "output": 4 * OUTPUT, "cached": 0}
    per_call = (INPUT * provider.input + OUTPUT * provider.output) / 1e6
    assert cost["total"] == pytest.approx(4 * per_call)
    (split,) = cost["models"]
    assert (split["asked"], split["calls"]) == (provider.model, 4)
    estimate = json.loads(loom(project, "cost", "demo", "--dry-run", "--json").stdout)
    (part,) = estimate["transform"]
    assert (part["input_price"], part["output_price"]) == pytest.approx(
        (provider.input, provider.output)
    )


def test_too_many_calls_wait_as_they_are_told_and_are_made_again(
    project, provider, server, monkeypatch
):
    monkeypatch.setenv(provider.variable, KEY)
    use(project, provider, f"base_url: '{server.url}'")
    server.refuse = 4  # as many as go out at once
    # Google says in the body how long to wait, the others in a header.
    server.wait = None if provider.name == "gemini" else "1"
    started = time.monotonic()
    done = run(project, "--json")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - started >= 1.0
    assert 5 <= len(server.asked) <= 8
    assert json.loads(done.stdout)["results"]["records_loaded"] == 4
    assert server.problems == []


def test_a_wrong_key_is_exit_2_and_names_its_variable(project, provider, server, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-a-wrong-key-0123456789")
    use(project, provider, f"base_url: '{server.url}', api_key: '${{MY_KEY}}'")
    done = run(project)
    assert done.returncode == 2, done.stderr
    assert f"{provider.model}: the provider does not accept the key in ${{MY_KEY}}" in done.stderr
    assert "sk-a-wrong" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("provider", KEYED, ids=lambda provider: provider.name)
def test_a_wrong_key_in_the_usual_variable_is_named_by_that(project, provider, monkeypatch):
    with ProviderServer(provider.name, respond, KEY) as server:
        monkeypatch.setenv(provider.variable, "sk-a-wrong-key-0123456789")
        use(project, provider, f"base_url: '{server.url}'")
        done = run(project)
    assert done.returncode == 2, done.stderr
    assert f"does not accept the key in {provider.variable}" in done.stderr


def test_googles_other_variable_serves_as_well(project, monkeypatch):
    (gemini,) = (provider for provider in PROVIDERS if provider.name == "gemini")
    with ProviderServer("gemini", respond, KEY) as server:
        monkeypatch.setenv("GOOGLE_API_KEY", KEY)
        use(project, gemini, f"base_url: '{server.url}'")
        done = run(project)
    assert (done.returncode, server.problems) == (0, []), done.stderr


def test_a_key_in_dot_env_serves_as_well(project):
    (gemini,) = (provider for provider in PROVIDERS if provider.name == "gemini")
    with ProviderServer("gemini", respond, "from-dot-env") as server:
        (project / ".env").write_text("GEMINI_API_KEY=from-dot-env\n")
        use(project, gemini, f"base_url: '{server.url}'")
        assert run(project).returncode == 0
    assert server.problems == []


def test_an_ollama_without_a_key_gets_none(project):
    (ollama,) = (provider for provider in PROVIDERS if provider.name == "ollama")
    with ProviderServer("ollama", respond, KEY) as server:
        use(project, ollama, f"base_url: '{server.url}'")
        assert run(project).returncode == 0
    assert not any("authorization" in asked.headers for asked in server.asked)


PROGRAM = """
import json, sys
from loomgit.cli import main
try:
    main(["run", *sys.argv[1:]])
except SystemExit as ended:
    print(ended.code, {"litellm", "openai", "httpx"} & sys.modules.keys())
"""


@pytest.mark.parametrize("provider", KEYED, ids=lambda provider: provider.name)
def test_a_key_that_is_not_set_is_one_line_before_any_library_loads(project, provider):
    use(project, provider)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, "demo"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["2 set()"], done.stderr
    error, hint = done.stderr.splitlines()
    assert error == f"error: {provider.model}: no key: {provider.variable} is not set"
    assert provider.variable in hint
