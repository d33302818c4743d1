"""Fake keys and passwords in every place that takes one: no byte that a command prints or leaves
holds any of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loomgit.domain import safe_text
from tests.command import loom
from tests.comparisons import classify, make_comparable, with_transform
from tests.projects import PIPELINE
from tests.pytest_plugin.sessions import pytest_in
from tests.repos import commit, git
from tests.servers.openai_server import OpenAiServer, error

SECRET = "Zq7xVb-never-shown-92"
KEYED = with_transform("model: m")
SUITE = """\
pipeline: demo
unit_tests:
  - {name: one, input: {review: It is great, expected: positive}, expected: {sentiment: positive}}
"""
DATA = "review_id,review,expected\nr-1,It is great,positive\nr-2,It is bad,negative\n"


@pytest.fixture(autouse=True)
def _no_memory(monkeypatch):
    """What an earlier test has used is not known here, as in a new process."""
    monkeypatch.setattr(safe_text.hide_known.__self__, "_patterns", set())
    monkeypatch.setattr(safe_text.hide_known.__self__, "_pattern", None)


def tell_key(request):
    answer = json.loads(classify(request))
    return json.dumps({**answer, "reason": f"the key is {SECRET}"})


SERVERS = {
    "that answers": classify,
    "that answers with the key": tell_key,
    "that refuses and tells the key": lambda _: error(401, f"Incorrect API key: {SECRET}"),
    "that rejects and tells the header": lambda _: error(400, f"bad Bearer {SECRET}"),
    "that is out and tells the key": lambda _: error(500, f"lost {SECRET}", retry_after="0"),
    "that tells the key in other words": lambda _: error(403, json.dumps({"k": SECRET})),
}
COMMANDS = (
    ["validate"],
    ["run", "demo"],
    ["run", "demo", "--json"],
    ["runs", "list"],
    ["runs", "show", "latest"],
    ["test", "--strict"],
    ["test", "--json"],
    ["compare", "--run-missing"],
    ["compare", "--format", "markdown"],
    ["compare", "--format", "html"],
    ["ci", "--dry-run"],
    ["cost", "demo"],
    ["cache"],
    ["log", "prompts/classify.txt"],
    ["report", "--format", "json"],
)


def ask_everything(project: Path, commands=COMMANDS) -> str:
    said = []
    for arguments in commands:
        done = loom(project, *arguments)
        assert "Traceback" not in done.stderr
        said.append(done.stdout + done.stderr)
    return "\n".join(said)


def left(project: Path) -> list[Path]:
    """The files with the secret, except those in which the test wrote it."""
    found = []
    for folder in (".loom", ".git", "out"):
        for path in (project / folder).rglob("*"):
            if path.is_file() and SECRET.encode() in path.read_bytes():
                found.append(path)
    return found


def make(tmp_path, config, text=KEYED, **files):
    return make_comparable(
        tmp_path / "project",
        **{
            "pipelines/demo.yaml": text,
            "tests/demo_test.yaml": SUITE,
            "data/reviews.csv": DATA,
            ".loom/config.yaml": config,
            ".gitignore": "/out/\n.env\n",
            **files,
        },
    )


def configuration(server, key="${SOME_KEY}", more=""):
    prices = "input_price: 1, output_price: 1"
    return f"models:\n  m: {{base_url: '{server.url}', api_key: '{key}', {prices}}}\n{more}"


@pytest.fixture
def server():
    with OpenAiServer(respond=classify) as server:
        yield server


@pytest.mark.parametrize("respond", SERVERS.values(), ids=SERVERS)
def test_a_key_of_the_environment(tmp_path, server, respond, monkeypatch):
    monkeypatch.setenv("SOME_KEY", SECRET)
    project = make(tmp_path, configuration(server))
    server.respond = respond
    git(project, "checkout", "--quiet", "-b", "change")
    commit(project, {"context/taxonomy.md": "Cue words: great\n"}, "Change")
    said = ask_everything(project, COMMANDS if respond is tell_key else COMMANDS[:8])
    assert server.headers
    assert all(headers["authorization"] == f"Bearer {SECRET}" for headers in server.headers)
    assert SECRET not in said
    assert left(project) == []


def test_a_key_of_the_env_file_that_ends_in_a_space(tmp_path, server):
    project = make(tmp_path, configuration(server))
    (project / ".env").write_text(f'SOME_KEY="{SECRET} "\n')
    server.respond = tell_key
    said = ask_everything(project)
    assert server.headers[0]["authorization"] == f"Bearer {SECRET}"
    assert SECRET not in said
    assert left(project) == []


def test_a_key_that_is_written_out(tmp_path, server):
    project = make(tmp_path, "")
    (project / ".loom/config.yaml").write_text(configuration(server, SECRET))
    server.respond = lambda _: error(400, f"bad key {SECRET}")
    said = ask_everything(project)
    assert SECRET not in said
    assert left(project) == [project / ".loom/config.yaml"]


WRITTEN = {
    "params": with_transform(f"params: {{api_key: {SECRET}}}"),
    "params of litellm": with_transform(f"params: {{aws_secret_access_key: {SECRET}}}"),
    "a header": with_transform(f"params: {{extra_headers: {{Authorization: Bearer {SECRET}}}}}"),
    "a source": PIPELINE.replace("data/reviews.csv", f"postgres://me:{SECRET}@127.0.0.1/db"),
    "a source with parameters": PIPELINE.replace(
        "data/reviews.csv", f"https://127.0.0.1/rows?api_key={SECRET}"
    ),
    "a destination": PIPELINE.replace("sqlite://out", f"postgres://me:{SECRET}@127.0.0.1/db"),
    "a destination of an unknown scheme": PIPELINE.replace(
        "sqlite://out", f"oracle://me:{SECRET}@127.0.0.1/db"
    ),
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_a_secret_in_a_pipeline_is_refused_and_not_shown(tmp_path, text):
    project = make(tmp_path, "", text)
    for arguments in (["validate"], ["run", "demo"], ["run", "demo", "--json"], ["test"]):
        done = loom(project, *arguments)
        assert SECRET not in done.stdout + done.stderr
        assert done.returncode == 2 or arguments == ["test"], done.stderr
    assert left(project) == []


PLACES = {
    "a connection": "connections: {{mine: 'postgres://me:{secret}@127.0.0.1/db'}}\n",
    "a connection by reference": (
        "connections: {{mine: 'postgres://me:${{SOME_KEY}}@127.0.0.1/db'}}\n"
    ),
    "a password in an address": "models: {{m: {{base_url: 'http://me:{secret}@127.0.0.1/v1'}}}}\n",
    "a query in an address": "models: {{m: {{base_url: 'http://127.0.0.1/v1?key={secret}'}}}}\n",
    "a channel": "channels: {{slack: {{url: 'https://127.0.0.1/{secret}'}}}}\n",
    "a default": (
        "models: {{m: {{base_url: 'http://127.0.0.1:9/v1', api_key: '${{NOPE:-{secret}}}'}}}}\n"
    ),
    "an unknown key": "models: {{m: {{apikey: '{secret}'}}}}\n",
    "a reference that is not whole": "models: {{m: {{api_key: '${{{secret}'}}}}\n",
}


@pytest.mark.parametrize("config", PLACES.values(), ids=PLACES)
def test_a_secret_in_the_configuration_is_not_shown(tmp_path, config, monkeypatch):
    monkeypatch.setenv("SOME_KEY", SECRET)
    text = KEYED.replace("data/reviews.csv", "sqlite://mine/reviews") if "mine" in config else KEYED
    project = make(tmp_path, "", text)
    (project / ".loom/config.yaml").write_text(config.format(secret=SECRET))
    for arguments in (["validate"], ["run", "demo"], ["test"], ["run", "demo", "--json"]):
        done = loom(project, *arguments)
        assert SECRET not in done.stdout + done.stderr
    written = [project / ".loom/config.yaml"] if "{secret}" in config else []
    assert left(project) == written


def test_a_password_in_the_address_of_the_remote(tmp_path, server):
    project = make(tmp_path, configuration(server, "x"))
    git(project, "remote", "add", "origin", f"http://me:{SECRET}@127.0.0.1:9/x.git")
    commands = (["sync", "push"], ["sync", "pull"], ["init", "--github"], ["hooks", "install"])
    assert SECRET not in ask_everything(project, commands)
    assert left(project) == [project / ".git/config"]


def test_a_proxy_with_a_password(tmp_path, server, monkeypatch):
    monkeypatch.setenv("SOME_KEY", "another-key-1")
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://me:{SECRET}@127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    config = configuration(server).replace("127.0.0.1", "models.example")
    project = make(tmp_path, config)
    assert SECRET not in ask_everything(project, (["run", "demo"], ["test"]))
    assert left(project) == []


def test_an_evaluator_that_prints_the_environment(tmp_path, server, monkeypatch):
    monkeypatch.setenv("SOME_KEY", SECRET)
    own = KEYED.replace("type: exact_match", "type: own.py:score").replace(
        "      config: {field: sentiment, reference_field: expected}\n", ""
    )
    code = "import os\n\n\ndef score(output, record):\n    raise ValueError(dict(os.environ))\n"
    project = make(tmp_path, configuration(server), own, **{"own.py": code})
    said = ask_everything(project, (["run", "demo"], ["test"], ["runs", "show", "latest"]))
    assert "SOME_KEY" in said or "ValueError" in said
    assert SECRET not in said
    assert left(project) == []


def test_an_evaluator_that_raises_the_key(tmp_path, server, monkeypatch):
    monkeypatch.setenv("SOME_KEY", SECRET)
    own = KEYED.replace("type: exact_match", "type: own.py:score").replace(
        "      config: {field: sentiment, reference_field: expected}\n", ""
    )
    code = (
        "import os\n\n\ndef score(output, record):\n    raise ValueError(os.environ['SOME_KEY'])\n"
    )
    project = make(tmp_path, configuration(server), own, **{"own.py": code})
    said = ask_everything(project, (["run", "demo"], ["test"], ["runs", "show", "latest"]))
    quarantined = (project / ".loom/state/quarantine/demo.jsonl").read_text()
    assert "ValueError: ***" in said
    assert "ValueError: ***" in quarantined
    assert SECRET not in said
    assert left(project) == []


def test_pytest_with_reports(tmp_path, server):
    project = make(tmp_path, configuration(server))
    server.respond = lambda _: error(400, f"bad key {SECRET}")
    reports = ["--loom-report", "out/report.json", "--junitxml", "out/junit.xml"]
    (project / "out").mkdir()
    session = pytest_in(project, *reports, env={"SOME_KEY": SECRET})
    pytest_in(project, "--loom-report", "out/report.html", env={"SOME_KEY": SECRET})
    assert SECRET not in session.out + session.error
    assert left(project) == []


def test_a_bug_in_loom_tells_no_secret(tmp_path):
    """The traceback is kept in a file that users are asked to send along."""
    project = make(tmp_path, "")
    script = (
        "import sys\nfrom loomgit import cli\nfrom loomgit.api import Project\n"
        "def fail(*_, **__):\n    raise KeyError(f'postgres://me:{sys.argv.pop()}@h')\n"
        "Project.find = fail\ncli.main(['run', 'demo'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, SECRET],
        cwd=project, capture_output=True, text=True, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == 3
    assert "bug in Loom" in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert left(project) == []
