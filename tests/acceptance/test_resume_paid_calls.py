"""Resumed runs after outages of a judge: no reply is paid twice, also without a cache."""

import json
import signal
import time
from collections import Counter

import pytest

from loomgit.api import Project
from tests.acceptance.test_resume import REVIEW, make, start
from tests.command import loom
from tests.repos import commit
from tests.servers.openai_server import Hang, OpenAiServer, error, find_schema, instance

RECORDS = 20
JUDGES = """\
evaluate:
  evaluators:
    - {name: tone, type: custom_criteria, config: {criteria: Is it polite?}}
    - {name: wit, type: custom_criteria, config: {criteria: Is it witty?}}
  quality_gate: all_pass
load:
"""


class JudgingServer(OpenAiServer):
    """A model and two judges. `paid` counts the replies by model and record.

    `answer` may return another answer to a call. It receives the role ("model", "correction",
    "polite", "witty"), the name of the review and the number of the call.
    """

    def __init__(self):
        super().__init__(self.reply, keep=False)
        self.asked, self.paid = Counter(), Counter()
        self.answer = lambda role, name, number: None

    def reply(self, request):
        text = " ".join(str(turn["content"]) for turn in request["messages"])
        role = next((word for word in ("polite", "witty") if word in text), "model")
        if role == "model" and len(request["messages"]) > 1:
            role = "correction"
        name = REVIEW.search(text)
        name = (
            name.group(1)
            if name
            else next(w for w in text.replace('"', " ").split() if w[0] == "n" and w[1:].isdigit())
        )
        self.asked[role, name] += 1
        other = self.answer(role, name, self.asked[role, name])
        if isinstance(other, str) or other is None:
            self.paid[role, name] += 1
        if other is not None:
            return other
        if role in ("model", "correction"):
            return json.dumps({"sentiment": name, "confidence": 0.9})
        schema = find_schema(request)
        return "Yes." if schema is None else json.dumps(instance(schema, schema))

    def paid_twice(self):
        return sorted(call for call, count in self.paid.items() if count > 1)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("LOOM_TEST_KEY", "sk-test")
    with JudgingServer() as running:
        yield running


def make_judged(folder, server, **settings):
    project = make(folder, server, "sqlite://out/demo.db/scores", records=RECORDS, **settings)
    path = project / "pipelines/demo.yaml"
    before, _, rest = path.read_text("utf-8").partition("evaluate:\n")
    config = (project / ".loom/config.yaml").read_text("utf-8")
    config = "defaults: {judge_model: gpt-4o-mini}\n" + config
    text = before + JUDGES + rest.partition("load:\n")[2]
    commit(project, {"pipelines/demo.yaml": text, ".loom/config.yaml": config})
    return project


def lose(*roles):
    """An outage of these roles for some records."""
    lost = {f"n{i}" for i in range(0, RECORDS, 4)}
    outage = error(500, "down", retry_after="0")
    return lambda role, name, number: outage if role in roles and name in lost else None


@pytest.mark.parametrize("roles", [("polite", "witty"), ("witty",), ("model",)])
def test_no_reply_of_a_lost_record_is_paid_twice(tmp_path, server, roles):
    project = make_judged(tmp_path / "project", server)
    server.answer = lose(*roles)
    for attempt in range(2):
        assert loom(project, "run", "demo", *(["--resume", "latest"] * attempt)).returncode == 4
    server.answer = lambda *_: None
    done = loom(project, "run", "demo", "--resume", "latest", "--json")
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert run["results"]["records_loaded"] == RECORDS
    assert server.paid_twice() == []
    assert server.paid.total() == 3 * RECORDS
    lost = RECORDS // 4
    assert run["cost"]["calls"] == lost * len(roles) if roles != ("model",) else 3 * lost
    assert run["cost"]["all_attempts"] > run["cost"]["total"] > 0
    first, *_, last = Project(project).runs()
    assert last.uid != first.uid


def test_a_reply_that_a_killed_run_had_received_is_not_paid_twice(tmp_path, server):
    project = make_judged(tmp_path / "project", server)
    server.answer = lambda role, name, number: Hang() if role == "witty" else None
    process = start(project)
    deadline = time.monotonic() + 60
    while server.paid.total() < 16 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)  # the replies arrive
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    server.answer = lambda *_: None
    done = loom(project, "run", "demo", "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert server.paid_twice() == []
    assert Project(project).get_run("latest").results.records_loaded == RECORDS


def test_a_judge_without_a_usable_answer_is_asked_again(tmp_path, server):
    """Its stored replies are not usable, so they must not decide about the record again."""
    project = make_judged(tmp_path / "project", server)
    useless = lose("witty")
    server.answer = lambda *call: "no object [" if useless(*call) else None
    assert loom(project, "run", "demo").returncode == 4
    server.answer = lambda *_: None
    done = loom(project, "run", "demo", "--resume", "latest")
    assert done.returncode == 0, done.stderr
    assert Project(project).get_run("latest").results.records_loaded == RECORDS
    assert {role for role, _ in server.paid_twice()} == {"witty"}


def test_an_outage_after_a_reply_of_the_wrong_form_costs_only_the_correction(tmp_path, server):
    project = make_judged(tmp_path / "project", server)

    def answer(role, name, number):
        if name not in ("n1", "n2"):
            return None
        if role == "correction":
            return error(500, "down", retry_after="0")
        return "no object [" if role == "model" else None

    server.answer = answer
    assert loom(project, "run", "demo").returncode == 4
    server.answer = lambda *_: None
    assert loom(project, "run", "demo", "--resume", "latest").returncode == 0
    assert server.paid["model", "n1"] == server.paid["correction", "n1"] == 1
    assert server.paid_twice() == []
    assert server.paid.total() == 3 * RECORDS + 2
