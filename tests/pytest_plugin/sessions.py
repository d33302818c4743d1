"""pytest inside pytest: real projects, a real server, a process of its own for each session."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from tests import processes
from tests.projects import PIPELINE, make_project
from tests.servers.openai_server import find_schema, instance

GOOD = {
    "great": "positive",
    "love": "positive",
    "bad": "negative",
    "broken": "negative",
    "hate": "negative",
}
MODEL = "local"
ASKING = PIPELINE.replace("  prompt:", f"  model: {MODEL}\n  concurrency: 8\n  prompt:")


def review_in(request):
    """The review that a transform's prompt shows."""
    text = request["messages"][-1]["content"]
    return text.partition("Review:")[2].partition("\n")[0].strip()


def label(review):
    words = re.findall(r"[a-z]+", review.lower())
    return next((GOOD[word] for word in words if word in GOOD), "neutral")


def respond(request):
    """A model that reads reviews well; as a judge it gives 0.9."""
    if "Review:" in request["messages"][-1]["content"]:
        return json.dumps({"sentiment": label(review_in(request)), "confidence": 0.9})
    schema = find_schema(request)
    return json.dumps(instance(schema, schema))


def settings(server, more=""):
    price = "input_price: 1.0, output_price: 2.0"
    return f"models:\n  {MODEL}: {{base_url: '{server.url}', api_key: k, {price}}}\n{more}"


def units(count, word="great", expected="positive", first=0):
    """So many unit tests, each with an input of its own."""
    return "unit_tests:\n" + "".join(
        f"  - name: case_{n:03d}\n"
        f'    input: {{review: "number {n} is {word}", expected: {expected}}}\n'
        f"    expected: {{sentiment: {expected}}}\n"
        for n in range(first, first + count)
    )


def project_with(folder, server, tests, pipeline=ASKING, config="", **files):
    """A project that asks `server`, with one test file of the pipeline `demo`."""
    return make_project(
        folder,
        **{
            "pipelines/demo.yaml": pipeline,
            "tests/demo_test.yaml": f"pipeline: demo\n{tests}",
            ".loom/config.yaml": settings(server, config),
            **files,
        },
    )


def environment(**more):
    """What a session sees: none of our own variables, and only the plugins that it names."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LOOM_", "PYTEST_", "GIT_"))}
    own = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONWARNINGS": "error::ResourceWarning"}
    if "PYTEST_DEBUG_TEMPROOT" in os.environ:  # set by the suite
        own["PYTEST_DEBUG_TEMPROOT"] = os.environ["PYTEST_DEBUG_TEMPROOT"]
    return {**kept, **own, **more}


def command(*arguments):
    plugins = ["-p", "loomgit_pytest"]
    if any(a == "-n" or a.startswith("-n=") for a in arguments):
        plugins += ["-p", "xdist"]
    return [sys.executable, "-m", "pytest", *plugins, "--loom", "--color=no", *arguments]


@dataclass(frozen=True)
class Session:
    code: int
    out: str
    error: str

    @property
    def counts(self):
        """`{"passed": 3, "failed": 1}` of the last line."""
        last = self.out.strip().splitlines()[-1]
        return {word: int(n) for n, word in re.findall(r"(\d+) ([a-z]+)", last)}

    def expect(self, code, **counts):
        found = {w: n for w, n in self.counts.items() if w not in ("warning", "warnings")}
        assert (self.code, found) == (code, counts), self.out + self.error
        return self


def pytest_in(project, *arguments, env=None, timeout=300):
    """Run `pytest --loom` in the project."""
    _, _, module, *rest = command(*arguments)
    variables = environment(**(env or {}))
    done = processes.run(module, *rest, cwd=project, env=variables, timeout=timeout)
    assert "INTERNALERROR" not in done.stdout + done.stderr, done.stdout + done.stderr
    return Session(done.returncode, done.stdout, done.stderr)


def begin(project, *arguments, env=None):
    """Begin a session and let it run, in a process group of its own."""
    return subprocess.Popen(
        command(*arguments),
        cwd=project,
        env=environment(PYTHONFAULTHANDLER="1", **(env or {})),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def loom(project, *arguments, env=None, timeout=300):
    """Run the command `loom` in the project."""
    variables = environment(**(env or {}))
    done = processes.run("loomgit", *arguments, cwd=project, env=variables, timeout=timeout)
    return Session(done.returncode, done.stdout, done.stderr)


def runs(project):
    """The run files, oldest first."""
    paths = (project / ".loom" / "runs").rglob("*.json")
    found = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return sorted(found, key=lambda run: run["run_id"])


def records(project, run):
    path = project / ".loom" / run["records"]["path"]
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def only(found):
    (one,) = found
    return one


def junit(path: Path):
    """(name, outcome, properties) of every test case."""
    cases = []
    for case in ElementTree.parse(path).iter("testcase"):
        outcome = next((c.tag for c in case if c.tag in ("failure", "error", "skipped")), "passed")
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        cases.append((case.get("name"), outcome, properties))
    return cases
