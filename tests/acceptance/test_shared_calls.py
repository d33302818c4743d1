"""Several processes that ask the same at the same time: each call is made once."""

import subprocess
import sys
import time

from tests.projects import PIPELINE, make_project
from tests.servers.openai_server import Hang, OpenAiServer

CONFIG = """\
models:
  fake: {{base_url: {url}, api_key: some-key-123, input_price: 1.0, output_price: 1.0}}
"""
ANSWER = '{"sentiment": "positive", "confidence": 0.9}'


def project_for(server, folder, reviews=12, pipelines=2):
    """A project with pipelines that make the same calls and load into different files."""
    pipeline = PIPELINE.replace(
        "transform:\n", "transform:\n  model: fake\n  cache: {enabled: true}\n"
    )
    pipeline = pipeline.replace("  quality_gate: all_pass\n", "  quality_gate: any_pass\n")
    rows = "review_id,review,expected\n" + "".join(
        f"r-{number},Review {number} is great,positive\n" for number in range(reviews)
    )
    files = {
        f"pipelines/demo{number}.yaml": pipeline.replace(
            "name: demo", f"name: demo{number}"
        ).replace("sqlite://out/demo.db/scores", f"out/{number}.jsonl")
        for number in range(pipelines)
    }
    return make_project(
        folder,
        **{
            **files,
            ".loom/config.yaml": CONFIG.format(url=server.url),
            "data/reviews.csv": rows,
        },
    )


def start(project, number):
    return subprocess.Popen(
        [sys.executable, "-m", "loomgit", "run", f"demo{number}", "--project", str(project)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_eight_processes_make_each_call_once(tmp_path):
    def respond(_):
        time.sleep(0.2)
        return ANSWER

    with OpenAiServer(respond) as server:
        project = project_for(server, tmp_path / "project", pipelines=8)
        runs = [start(project, number) for number in range(8)]
        outputs = [run.communicate(timeout=120)[0] for run in runs]
        assert [run.returncode for run in runs] == [0] * 8, outputs
        assert server.calls == 12
    for number in range(8):
        assert len((project / f"out/{number}.jsonl").read_text().splitlines()) == 12


def test_the_next_process_calls_where_the_first_one_was_killed(tmp_path):
    asked = []

    def respond(request):
        asked.append(request)
        return Hang() if len(asked) == 1 else ANSWER

    with OpenAiServer(respond) as server:
        project = project_for(server, tmp_path / "project", reviews=1)
        first = start(project, 0)
        wait_for(lambda: asked)
        with start(project, 1) as second:
            time.sleep(3)
            assert len(asked) == 1  # the second process waits
            first.kill()
            first.communicate(timeout=30)
            output, _ = second.communicate(timeout=60)
        assert (second.returncode, len(asked)) == (0, 2), output


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
