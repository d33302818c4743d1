"""What a model, a file or a provider says does not command the terminal or the CI system."""

import json
import re
import subprocess
import sys

import pytest

from tests.command import loom
from tests.comparisons import make_comparable, with_transform
from tests.projects import PIPELINE
from tests.pytest_plugin.sessions import environment, pytest_in
from tests.servers.openai_server import OpenAiServer, error

EVIL = (
    "\x1b[31mred\x1b]0;title\x07\r\x9bc\u202e\n::error file=x::owned\n##[error]owned\n"
    "::stop-commands::x"
)
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]|^\\s*::(error|stop-commands)|##\\[", re.MULTILINE
)
SUITE = """\
pipeline: demo
unit_tests:
  - {name: one, input: {review: It is great, expected: positive}, expected: {sentiment: positive}}
distributional_tests:
  - {name: quality, type: statistical, assertions: ["mean(evaluation_scores) > 0.9"]}
"""
REPLIES = {
    "an answer": json.dumps({"sentiment": EVIL, "confidence": 0.9}),
    "no answer": EVIL,
    "a refusal": error(400, f"content policy: {EVIL}"),
    "an outage": error(500, EVIL, retry_after="0"),
    "a web page": error(403, f"<html>{EVIL}"),
}
COMMANDS = (
    ["run", "demo"], ["run", "demo", "--json"], ["runs", "show", "latest"], ["test"],
    ["test", "--json"], ["compare", "--run-missing"], ["compare", "--format", "markdown"],
)  # fmt: skip


@pytest.fixture
def server():
    with OpenAiServer() as server:
        yield server


def make(folder, server, **files):
    config = (
        f"models:\n  m: {{base_url: '{server.url}', api_key: k, input_price: 1, output_price: 1}}\n"
    )
    return make_comparable(
        folder,
        **{
            "pipelines/demo.yaml": with_transform("model: m"),
            "tests/demo_test.yaml": SUITE,
            "data/reviews.csv": "review_id,review,expected\nr-1,It is great,positive\n",
            ".loom/config.yaml": config,
            **files,
        },
    )


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_a_reply_is_shown_and_not_obeyed(tmp_path, server, reply):
    project = make(tmp_path / "project", server)
    server.respond = lambda _: reply
    for arguments in COMMANDS:
        done = loom(project, *arguments)
        for said in (done.stdout, done.stderr):
            assert OBEYED.search(said) is None, said
        if "--json" in arguments and done.stdout:
            json.loads(done.stdout)
    session = pytest_in(project)
    assert OBEYED.search(session.out + session.error) is None


FILES = {
    "data": {"data/reviews.csv": f'review_id,review,expected\n"r{EVIL}","{EVIL}",positive\n'},
    "a name of an evaluator": {
        "pipelines/demo.yaml": with_transform("model: m").replace(
            "name: label", f"name: {json.dumps(EVIL)}"
        )
    },
    "a name of a pipeline": {
        "pipelines/demo.yaml": with_transform("model: m").replace(
            "name: demo", f"name: {json.dumps(EVIL)}"
        )
    },
    "a key that is unknown": {"pipelines/demo.yaml": PIPELINE + f"{json.dumps(EVIL)}: 1\n"},
    "a template": {"prompts/classify.txt": f"{{{{ input.{EVIL} }}}}"},
    "a prompt that raises": {"prompts/classify.txt": "{{ input.nope }}" + EVIL},
    "an evaluator": {
        "pipelines/demo.yaml": with_transform("model: m")
        .replace("type: exact_match", "type: own.py:score")
        .replace("      config: {field: sentiment, reference_field: expected}\n", ""),
        "own.py": f"def score(output, record):\n    raise ValueError({EVIL!r})\n",
    },
}


@pytest.mark.parametrize("files", FILES.values(), ids=FILES)
def test_the_files_of_a_change_are_not_obeyed(tmp_path, server, files):
    server.respond = lambda _: json.dumps({"sentiment": "positive", "confidence": 0.9})
    project = make(tmp_path / "project", server, **files)
    for arguments in (*COMMANDS, ["validate"], ["log", "prompts/classify.txt"]):
        done = loom(project, *arguments)
        for said in (done.stdout, done.stderr):
            assert OBEYED.search(said) is None, said


def test_a_prompt_is_shown_as_it_is_where_no_terminal_reads_it(tmp_path, server):
    text = "plain \x1b[31m"
    project = make(tmp_path / "project", server, **{"prompts/other.txt": text})
    assert loom(project, "show", "prompts/other.txt").stdout == text + "\n"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_console_of_another_encoding(tmp_path, server, encoding):
    """What it cannot show is replaced (click shows UTF-8 where only ASCII is known)."""
    server.respond = lambda _: json.dumps({"sentiment": "日本", "confidence": 0.9})
    project = make(tmp_path / "project", server)
    for arguments in (["validate"], ["run", "demo"], ["run", "demo", "--json"], ["test"]):
        done = subprocess.run(
            [sys.executable, "-m", "loomgit", *arguments],
            cwd=project,
            env=environment(PYTHONIOENCODING=encoding),
            capture_output=True,
            check=False,
        )
        said = (done.stdout + done.stderr).decode("utf-8" if encoding == "ascii" else encoding)
        assert "bug in Loom" not in said
        assert "Traceback" not in said
        assert "demo" in said
        assert done.returncode in (0, 1), said
