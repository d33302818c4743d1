"""Real pushes and commits in real repositories, with the hooks that `loom hooks install` writes."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from loomgit import cli
from tests.comparisons import FILES, NEUTRAL, SUITE, WORSE, classify, make_comparable
from tests.projects import FILES as SMALL
from tests.projects import PIPELINE, PROMPT, REVIEWS, TAXONOMY
from tests.repos import CLEAN, commit, git, make, write
from tests.servers.openai_server import OpenAiServer, Reply, error

WRONG = SUITE.replace("{sentiment: positive}", "{sentiment: negative}")
ACCEPT = "Worse\n\nLoom-Accept: demo: the taxonomy moves elsewhere"


def run(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **CLEAN, **variables}
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=300
    )


def loom(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in this process: half of the time would go into starting Python."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = cli._run([*arguments, "--project", str(folder)])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def push(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run(folder, "git", "push", *(arguments or ("origin", "main")), **variables)


def at_remote(folder: Path, ref: str = "refs/heads/main") -> str:
    return git(folder, "ls-remote", "origin", ref).partition("\t")[0]


def state(folder: Path) -> tuple[str, ...]:
    """All that a hook must not touch; of the index what it says, since Git notes times in it."""
    index = git(folder, "ls-files", "--stage")
    files = git(folder, "status", "--porcelain=v2", "-z", "--untracked-files=no")
    return index, files, git(folder, "for-each-ref"), git(folder, "stash", "list")


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A project and the remote that it was pushed to, with a hook and the results of HEAD."""
    folder = tmp_path_factory.mktemp("template")
    project = make_comparable(folder / "project")
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
    git(project, "remote", "add", "origin", "../remote.git")
    git(project, "push", "--quiet", "--set-upstream", "origin", "main")
    done = loom(project, "hooks", "install")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def project(template, tmp_path):
    shutil.copytree(template, tmp_path / "w", symlinks=True)
    project = tmp_path / "w" / "project"
    git(project, "remote", "set-url", "origin", str(tmp_path / "w/remote.git"))
    return project


def test_a_good_prompt_is_pushed_and_the_hook_names_its_seconds(project):
    head = commit(project, NEUTRAL)
    index = (project / ".git/index").read_bytes()
    before = state(project)
    done = push(project)
    assert done.returncode == 0, done.stderr
    assert "demo: no worse" in done.stderr
    assert "loom: pre-push passed in " in done.stderr
    assert at_remote(project) == head
    assert (project / ".git/index").read_bytes() == index
    assert state(project)[:2] == before[:2]


def test_a_degraded_prompt_is_refused_with_the_table_and_the_reason(project):
    there = at_remote(project)
    commit(project, WORSE)
    before = state(project)
    done = push(project)
    assert done.returncode != 0
    assert re.search(r"Label +1.000 +0.500 +-0.500 +.* degraded\n", done.stderr)
    assert "❌ Degraded: demo" in done.stderr
    assert "worse: r-" in done.stderr
    assert "error: loom: pre-push blocked" in done.stderr
    assert "Loom-Accept: <pipeline or metric>: <reason>" in done.stderr
    assert "Traceback" not in done.stderr
    assert at_remote(project) == there
    assert state(project) == before


def test_modules_of_the_project_do_not_replace_those_that_loom_imports(project):
    shadow = "raise SystemExit('the project's own module')\n"
    commit(project, {**NEUTRAL, "click.py": shadow, "loomgit/__init__.py": shadow})
    done = push(project)
    assert done.returncode == 0, done.stderr
    assert "loom: pre-push passed in " in done.stderr


def test_a_default_branch_that_was_renamed_is_named_and_never_passed_as_nothing(project):
    """Everything that judges says the same, and what to do."""
    remote = project.parent / "remote.git"
    git(project, "remote", "set-head", "origin", "main")
    git(remote, "branch", "--move", "main", "trunk")
    git(project, "fetch", "--quiet", "--prune")
    git(project, "checkout", "--quiet", "-b", "bad")
    commit(project, WORSE)
    lost = "the default branch is unknown: origin/HEAD names origin/main, which does not exist"
    for arguments in (["compare", "--run-missing"], ["ci", "--dry-run"]):
        done = loom(project, *arguments)
        assert (done.returncode, lost in done.stderr) == (2, True), done.stderr
        assert "git remote set-head origin -a" in done.stderr
    done = push(project, "origin", "bad:one")
    assert done.returncode == 0, done.stderr
    assert "unverified: bad could not be measured: the default branch is unknown" in done.stderr
    loom(project, "hooks", "install", "--strict")
    commit(project, {"README.md": "later\n"})
    done = push(project, "origin", "bad:two")
    assert done.returncode != 0
    assert lost in done.stderr
    git(project, "remote", "set-head", "origin", "-a")
    done = push(project, "origin", "bad:two")
    assert done.returncode != 0
    assert "❌ Degraded: demo" in done.stderr


def test_an_accepted_loss_passes_and_is_listed(project):
    head = commit(project, WORSE, ACCEPT)
    later = commit(project, {"README.md": "later\n"})
    done = push(project)
    assert done.returncode == 0, done.stderr
    assert "demo: degraded, and accepted" in done.stderr
    assert f"accepted: demo: the taxonomy moves elsewhere ({head[:8]})" in done.stderr
    assert at_remote(project) == later


@pytest.mark.parametrize(
    "message",
    [
        "Worse\n\nLoom-Accept: demo",  # no reason
        "Worse\n\nLoom-Accept: other: for a reason",
        "Worse\n\nLoom-Accept: demo: in the middle\n\nis no trailer\n\nBut this is text.",
    ],
    ids=["no reason", "other pipeline", "no trailer"],
)
def test_what_accepts_nothing_stops(project, message):
    commit(project, WORSE, message)
    assert push(project).returncode != 0


@pytest.mark.parametrize("value", ["demo", "demo:", "demo: ", ": because", "demo: \u200b"])
def test_a_trailer_without_a_reason_is_reported(project, value):
    head = commit(project, WORSE, f"Worse\n\nLoom-Accept: {value}")
    said = f"commit {head[:8]}: `Loom-Accept: {value.strip()}` is ignored: expected"
    assert said in push(project).stderr
    done = loom(project, "compare", "HEAD~1..HEAD", "--run-missing")
    assert (done.returncode, said in done.stderr) == (1, True)


def test_a_failing_test_stops_and_can_be_accepted_by_name(project):
    commit(project, {"tests/demo_test.yaml": WRONG})
    done = push(project)
    assert done.returncode != 0
    assert "failed: tests/demo_test.yaml::unit::plain" in done.stderr
    git(project, "commit", "--quiet", "--amend", "-m", "Ask more\n\nLoom-Accept: plain: soon")
    done = push(project)
    assert done.returncode == 0, done.stderr
    assert "accepted: unit::plain failed: plain: soon" in done.stderr


def test_nothing_relevant_changed_says_nothing(project):
    head = commit(project, {"src/code.py": "pass\n"})
    done = push(project)
    assert done.returncode == 0
    assert "loom" not in done.stderr
    assert at_remote(project) == head


def test_the_results_of_a_hook_are_there_afterwards(project):
    commit(project, NEUTRAL)
    assert push(project).returncode == 0
    done = loom(project, "compare", "HEAD~1..HEAD", "--json")
    assert json.loads(done.stdout)["outcome"] == "no_worse"
    git(project, "commit", "--quiet", "--amend", "-m", "Reworded")
    again = push(project, "--force", "origin", "main")
    assert again.returncode == 0
    assert "demo" not in again.stderr  # content that is there already


# -- which commits, which refs


def test_a_new_branch_is_compared_with_where_it_forked_off(project):
    git(project, "checkout", "--quiet", "-b", "feature")
    commit(project, WORSE)
    done = push(project, "origin", "feature")
    assert done.returncode != 0
    assert "Base: merge base with origin/main" in done.stderr
    git(project, "revert", "--no-edit", "HEAD")
    assert push(project, "origin", "feature").returncode == 0


def test_a_branch_that_is_not_checked_out_is_judged_by_its_own_content(project):
    git(project, "checkout", "--quiet", "-b", "feature")
    commit(project, WORSE)
    git(project, "checkout", "--quiet", "main")
    assert push(project, "origin", "feature").returncode != 0
    assert push(project, "origin", "main:other").returncode == 0


def test_commits_cannot_slip_past_under_another_name(project):
    """The local default branch holds them; the remote does not."""
    commit(project, WORSE)
    assert push(project, "origin", "main:refs/heads/other").returncode != 0
    assert push(project, "origin", "HEAD:refs/tags/v1").returncode != 0


def test_several_refs_are_checked_each(project):
    git(project, "checkout", "--quiet", "-b", "good")
    commit(project, NEUTRAL)
    git(project, "checkout", "--quiet", "-b", "bad", "main")
    commit(project, WORSE)
    done = push(project, "origin", "good", "bad")
    assert done.returncode != 0
    assert "Head: good" in done.stderr
    assert "Head: bad" in done.stderr
    assert at_remote(project, "refs/heads/good") == ""


def test_deleting_a_ref_and_pushing_another_judges_the_other(project):
    git(project, "push", "--quiet", "origin", "main:gone")
    commit(project, WORSE)
    assert push(project, "origin", ":gone", "main").returncode != 0
    done = push(project, "origin", ":gone")
    assert done.returncode == 0
    assert "loom" not in done.stderr
    assert at_remote(project, "refs/heads/gone") == ""


def test_a_forced_push_is_compared_with_what_the_remote_has(project):
    commit(project, NEUTRAL)
    assert push(project).returncode == 0
    git(project, "reset", "--quiet", "--hard", "HEAD~1")
    commit(project, WORSE)
    done = push(project, "--force", "origin", "main")
    assert done.returncode != 0
    assert "Base: origin's main" in done.stderr


def test_a_commit_that_only_the_remote_has_is_no_hindrance(project, tmp_path):
    git(tmp_path, "clone", "--quiet", str(project.parent / "remote.git"), "other")
    commit(tmp_path / "other", {"README.md": "theirs\n"})
    git(tmp_path / "other", "push", "--quiet", "origin", "main")
    commit(project, NEUTRAL)
    done = push(project, "--force", "origin", "main")
    assert done.returncode == 0, done.stderr
    assert "Base: merge base with origin/main" in done.stderr
    commit(project, WORSE)
    assert push(project, "--force", "origin", "main").returncode != 0


def test_a_tag_of_what_is_there_needs_no_looking_at(project):
    git(project, "tag", "-a", "-m", "One", "v1")
    done = push(project, "origin", "v1")
    assert done.returncode == 0
    assert "loom" not in done.stderr
    blob = git(project, "rev-parse", "HEAD:data/reviews.csv")
    git(project, "tag", "of-a-blob", blob)
    assert push(project, "origin", "of-a-blob").returncode == 0


def test_the_first_push_to_an_empty_remote_runs_the_tests(project):
    git(project.parent, "init", "--quiet", "--bare", "empty.git")
    git(project, "remote", "set-url", "origin", "../empty.git")
    git(project, "update-ref", "-d", "refs/remotes/origin/main")
    done = push(project, "origin", "main")
    assert done.returncode == 0, done.stderr
    assert "no baseline: origin has nothing to compare with" in done.stderr
    assert "loom: pre-push passed in " in done.stderr


def test_the_first_push_to_an_empty_remote_stops_where_a_test_fails(project):
    git(project.parent, "init", "--quiet", "--bare", "empty.git")
    git(project, "remote", "add", "fresh", str(project.parent / "empty.git"))
    git(project, "update-ref", "-d", "refs/remotes/origin/main")
    commit(project, {"tests/demo_test.yaml": WRONG})
    assert push(project, "fresh", "main").returncode != 0
    assert push(project, str(project.parent / "empty.git"), "main").returncode != 0  # by URL


def test_a_branch_of_another_history_is_let_through(project):
    git(project, "checkout", "--quiet", "--orphan", "pages")
    git(project, "rm", "-rf", "--quiet", ".")
    commit(project, {"index.html": "hello\n"})
    (project / "pipelines").mkdir(exist_ok=True)
    done = push(project, "origin", "pages")
    assert done.returncode == 0, done.stderr


def test_files_that_others_made_matter_are_watched(project):
    """A colleague's pipeline names a data set: a change of it is judged, though the list of what
    is watched was written before."""
    moved = SUITE.replace("data/reviews.csv", "data/other.csv")
    commit(project, {"tests/demo_test.yaml": moved, "data/other.csv": FILES["data/reviews.csv"]})
    assert push(project, "--no-verify", "origin", "main").returncode == 0
    spoilt = FILES["data/reviews.csv"].replace("positive", "negative")
    commit(project, {"data/other.csv": spoilt})
    assert "demo: " in push(project).stderr


# -- skipping and failing


@pytest.mark.parametrize("how", ["LOOM_SKIP", "--no-verify"])
def test_it_can_be_skipped(project, how):
    head = commit(project, WORSE)
    if how == "LOOM_SKIP":
        done = push(project, LOOM_SKIP="1")
    else:
        done = push(project, "--no-verify", "origin", "main")
    assert done.returncode == 0
    assert at_remote(project) == head


def test_a_broken_pipeline_is_named_with_its_line_and_stops(project):
    commit(
        project, {"pipelines/demo.yaml": PIPELINE.replace("quality_gate: all", "quality_gate: al")}
    )
    done = push(project)
    assert done.returncode != 0
    assert "error: pipelines/demo.yaml:15:3: " in done.stderr
    assert "did you mean 'all_pass'" in done.stderr


OTHER = "tests/other_test.yaml"
BROKEN = "pipeline: other\nunit_tests:\n  - name: [a\n"


def test_a_test_file_of_another_pipeline_that_was_broken_before_stops_nobody(project):
    commit(project, {OTHER: BROKEN})
    assert push(project, "--no-verify", "origin", "main").returncode == 0
    head = commit(project, NEUTRAL)
    done = push(project)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count(f"warning: {OTHER}:3:") == 1
    assert "these tests are left out" in done.stderr
    assert "demo: no worse" in done.stderr
    assert at_remote(project) == head
    commit(project, WORSE)
    done = push(project)
    assert done.returncode != 0
    assert "❌ Degraded: demo" in done.stderr


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("", BROKEN),  # what the push brings is broken
        (BROKEN, BROKEN.replace("[a", "[b")),
        (BROKEN.replace("other", "demo"), BROKEN.replace("other", "demo")),  # and demo is judged
    ],
    ids=["new", "changed", "of the pipeline"],
)
def test_a_broken_test_file_stops_what_it_is_about(project, before, now):
    if before:
        commit(project, {OTHER: before})
        assert push(project, "--no-verify", "origin", "main").returncode == 0
    there = at_remote(project)
    commit(project, {**NEUTRAL, OTHER: now})
    done = push(project)
    assert done.returncode != 0
    assert f"error: {OTHER}:3:" in done.stderr
    assert "hint: fix the files above, or skip the hook with LOOM_SKIP=1" in done.stderr
    assert at_remote(project) == there


def test_a_pipeline_that_was_broken_before_stops_nobody(project):
    broken = PIPELINE.replace("name: demo", "name: old").replace("classify.txt", "gone.txt")
    commit(project, {"pipelines/old.yaml": broken})
    assert push(project, "--no-verify", "origin", "main").returncode == 0
    commit(project, NEUTRAL)
    done = push(project)
    assert done.returncode == 0, done.stderr
    assert "demo: no worse" in done.stderr


def test_a_bug_of_ours_says_so_and_lets_the_push_through_unless_strict(project):
    """Where results are kept there is a file: nobody foresaw that."""
    head = commit(project, NEUTRAL)
    shutil.rmtree(project / ".loom", ignore_errors=True)
    (project / ".loom").write_text("in the way\n")
    done = push(project)
    assert done.returncode == 0, done.stderr
    assert "the prompts could not be tested" in done.stderr
    assert "warning: this push continues untested" in done.stderr
    assert "Traceback" not in done.stderr
    if "this is a bug in Loom" in done.stderr:
        details = done.stderr.partition("hint: the details are in ")[2].partition("\n")[0]
        assert "Traceback" in Path(details).read_text()
    assert at_remote(project) == head
    (project / ".loom").unlink()
    loom(project, "hooks", "install", "--strict")
    (project / ".loom").write_text("in the way\n")
    commit(project, {"prompts/classify.txt": PROMPT + "\nBe terse.\n"})
    assert push(project).returncode != 0
    assert at_remote(project) == head


def test_the_traceback_of_a_bug_is_kept_with_the_project(project, tmp_path):
    """A library that fails as nobody foresaw: when a hook is at work, and before it is."""
    last = project / ".loom/last-error.txt"
    last.parent.mkdir(exist_ok=True)
    commit(project, NEUTRAL)
    for library in ("numpy", "orjson"):
        last.unlink(missing_ok=True)
        write(tmp_path / library, {f"{library}.py": "raise RuntimeError('not foreseen')\n"})
        done = push(project, "--dry-run", "origin", "main", PYTHONPATH=str(tmp_path / library))
        assert done.returncode == 0, done.stderr
        assert "this is a bug in Loom: RuntimeError: not foreseen" in done.stderr
        assert "hint: the details are in" in done.stderr
        assert "this push continues untested" in done.stderr
        assert "Traceback" not in done.stderr
        assert "Traceback" in last.read_text()


def test_a_full_disk_says_so_and_lets_the_push_through(project):
    head = commit(project, NEUTRAL)
    hook = project / ".git/hooks/pre-push"
    # No file of more than 8 kB can be written.
    text = hook.read_text().replace("#!/bin/sh\n", "#!/bin/sh\nulimit -f 16\n", 1)
    hook.write_text(text)
    done = push(project)
    assert done.returncode == 0, done.stderr
    assert "untested" in done.stderr
    assert at_remote(project) == head


def test_a_python_that_is_gone_lets_the_push_through(project, tmp_path):
    commit(project, WORSE)
    hook = project / ".git/hooks/pre-push"
    hook.write_text(hook.read_text().replace(sys.executable, str(tmp_path / "gone")))
    path = os.pathsep.join(
        folder
        for folder in os.environ["PATH"].split(os.pathsep)
        if not (Path(folder) / "loom").exists()
    )
    done = push(project, PATH=path)
    assert done.returncode == 0, done.stderr
    assert "does not exist (python -m pip install " in done.stderr


def test_ctrl_c_stops_the_push_and_leaves_the_remote_alone(project):
    there = at_remote(project)
    with OpenAiServer(latency=30) as server:
        model = f"models:\n  openai/slow: {{base_url: {server.url}, api_key: none}}\n"
        slow = PIPELINE.replace("  prompt:", "  model: openai/slow\n  prompt:")
        commit(project, {".loom/config.yaml": model, "pipelines/demo.yaml": slow})
        env = {**os.environ, **CLEAN}
        process = subprocess.Popen(
            ["git", "push", "origin", "main"],
            cwd=project, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert server.arrived.wait(30)
        for _ in range(2):  # the first lets calls in flight end
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.3)
        said = process.communicate(timeout=30)[1]
    assert process.returncode != 0
    assert "Traceback" not in said
    assert at_remote(project) == there


# -- no network, no key


def with_model(url: str) -> dict[str, str]:
    model = f'models:\n  openai/small: {{base_url: "{url}", api_key: "${{SMALL_KEY}}"}}\n'
    return {
        ".loom/config.yaml": model,
        "pipelines/demo.yaml": PIPELINE.replace("  prompt:", "  model: openai/small\n  prompt:"),
    }


@pytest.mark.parametrize("lacks", ["key", "network"])
def test_what_cannot_be_asked_is_unverified_and_goes_through_unless_strict(project, lacks):
    nobody = with_model("http://127.0.0.1:9/v1")
    few = "\n".join(REVIEWS.splitlines()[:3])
    commit(project, {**nobody, "data/reviews.csv": few})
    variables = {"SMALL_KEY": "k"} if lacks == "network" else {}
    done = push(project, **variables)
    assert done.returncode == 0, done.stderr
    assert "unverified: tests/demo_test.yaml::unit::plain" in done.stderr
    assert "✅" not in done.stderr
    if lacks == "network":
        return  # to find that out takes its time
    git(project, "push", "--quiet", "--no-verify", "--force", "origin", "HEAD~1:main")
    loom(project, "hooks", "install", "--strict")
    done = push(project)
    assert done.returncode != 0
    assert "error: loom: pre-push blocked" in done.stderr


def down(request: dict) -> Reply:
    return error(503, "down for maintenance")


@pytest.mark.parametrize("reached", [False, True], ids=["closed port", "503"])
def test_a_model_that_is_out_does_not_hold_a_push(project, reached):
    """61 cases, each of which alone would be asked again for a quarter of a minute."""
    with OpenAiServer(down) as server:
        url = server.url if reached else "http://127.0.0.1:9/v1"
        head = commit(project, with_model(url))
        done = push(project, SMALL_KEY="k")
    assert done.returncode == 0, done.stderr
    assert "warning: unverified: main could not be measured: openai/small: unav" in done.stderr
    assert "distributional::quality: 60 of 60 replies are missing\n" in done.stderr
    seconds = re.search(r"loom: pre-push continues unverified after ([\d.]+) s", done.stderr)
    assert seconds is not None
    assert float(seconds[1]) < 15  # three, where nobody else is at work
    assert at_remote(project) == head


def test_without_a_network_what_is_recorded_is_replayed(project):
    with OpenAiServer(classify) as server:
        commit(project, with_model(server.url))
        done = run(
            project, sys.executable, "-m", "pytest", "-q", "--loom", "--loom-replay", "record",
            SMALL_KEY="k",
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        commit(project, {})
    shutil.rmtree(project / ".loom/runs")
    shutil.rmtree(project / ".loom/cache", ignore_errors=True)
    (project / ".loom/index.json").unlink()
    done = push(project)
    assert done.returncode == 0, done.stderr
    assert "unverified: tests/" not in done.stderr
    said = (
        "unverified: demo: no model answered, and the replies come from a cassette that the change"
    )
    assert said in done.stderr
    kept = [json.loads(path.read_text()) for path in (project / ".loom/runs").rglob("*.json")]
    assert not any(run["complete"] for run in kept)  # what the change brings in is no result


# -- other hooks


OTHERS = {
    "sh": "#!/bin/sh\necho sh ran >&2\n",
    "python": "#!/usr/bin/env python3\nimport sys\nprint('python ran', file=sys.stderr)\n",
    "reader": "#!/bin/sh\necho reader ran >&2\ncat >>seen\n",
}


@pytest.mark.parametrize("kind", list(OTHERS))
def test_a_hook_that_was_there_still_runs_and_comes_back(project, kind):
    hook = project / ".git/hooks/pre-push"
    loom(project, "hooks", "uninstall")
    hook.write_bytes(OTHERS[kind].encode())
    hook.chmod(0o751)
    assert "moves aside" not in loom(project, "hooks", "install").stderr
    assert loom(project, "hooks", "install").returncode == 0  # and twice is once
    head = commit(project, NEUTRAL)
    done = push(project)
    assert done.returncode == 0, done.stderr
    assert f"{kind} ran" in done.stderr
    assert "demo: no worse" in done.stderr
    if kind == "reader":
        old = git(project, "rev-parse", "HEAD~1")
        assert (project / "seen").read_text() == f"refs/heads/main {head} refs/heads/main {old}\n"
    loom(project, "hooks", "uninstall")
    assert hook.read_bytes() == OTHERS[kind].encode()
    assert hook.stat().st_mode & 0o777 == 0o751
    assert [path.name for path in hook.parent.glob("pre-push*")] == ["pre-push"] or kind
    assert not (hook.parent / "pre-push.before-loom").exists()
    assert not (project / ".git/loom/watched").exists()


def test_a_hook_that_fails_stops_the_push_whatever_ours_says(project):
    hook = project / ".git/hooks/pre-push"
    loom(project, "hooks", "uninstall")
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    loom(project, "hooks", "install")
    commit(project, NEUTRAL)
    assert push(project).returncode != 0


# -- where hooks live


def test_a_hooks_path_inside_the_repository_is_used(project):
    loom(project, "hooks", "uninstall")
    git(project, "config", "core.hooksPath", ".githooks")
    done = loom(project, "hooks", "install")
    assert done.returncode == 0, done.stderr
    assert (project / ".githooks/pre-push").exists()
    assert not (project / ".git/hooks/pre-push").exists()
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Nothing")
    write(project, WORSE)
    git(project, "commit", "--quiet", "-a", "-m", "Worse")
    assert push(project).returncode != 0


def test_a_hooks_path_outside_is_refused_with_the_line_to_paste(project, tmp_path):
    loom(project, "hooks", "uninstall")
    git(project, "config", "core.hooksPath", str(tmp_path / "shared"))
    done = loom(project, "hooks", "install")
    assert done.returncode == 2
    assert f"core.hooksPath is {tmp_path / 'shared'}, which is outside" in done.stderr
    snippet = done.stderr.partition("/pre-push: ")[2].strip()
    (tmp_path / "shared").mkdir()
    hook = tmp_path / "shared/pre-push"
    hook.write_text(f"#!/bin/sh\n{snippet}\n")
    hook.chmod(0o755)
    commit(project, WORSE)
    assert push(project).returncode != 0  # what is to be pasted works


def test_a_linked_worktree_has_the_hook_and_shares_the_results(project, tmp_path):
    tree = tmp_path / 'a tree\'s "own" place'
    git(project, "worktree", "add", "--quiet", "-b", "feature", str(tree))
    commit(tree, NEUTRAL)
    done = push(tree, "origin", "feature")
    assert done.returncode == 0, done.stderr
    assert "demo: no worse" in done.stderr
    commit(tree, WORSE)
    assert push(tree, "origin", "feature").returncode != 0
    assert not (tree / ".loom/runs").exists()
    assert "pre-push: installed" in loom(tree, "hooks", "status").stdout


def test_a_submodule_has_its_own_hook(project, tmp_path):
    whole = make(tmp_path / "whole")
    remote = project.parent / "remote.git"
    git(
        whole, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(remote), "bot"
    )
    bot = whole / "bot"
    assert loom(bot, "hooks", "install").returncode == 0
    assert (whole / ".git/modules/bot/hooks/pre-push").exists()
    git(bot, "config", "user.name", "Ada")
    git(bot, "config", "user.email", "ada@example.org")
    commit(bot, WORSE)
    done = push(bot, "origin", "HEAD:main")
    assert done.returncode != 0
    assert "❌ Degraded: demo" in done.stderr
    git(bot, "revert", "--no-edit", "HEAD")
    assert push(bot, "origin", "HEAD:main").returncode == 0


NASTY = 'apps/it\'s a "bot" $1'


def test_a_project_in_a_subfolder_of_a_monorepo(tmp_path):
    whole = make(tmp_path / "it's whole")
    commit(whole, {f"{NASTY}/{name}": text for name, text in {**SMALL, **FILES}.items()})
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
    git(whole, "remote", "add", "origin", "../remote.git")
    git(whole, "push", "--quiet", "origin", "main")
    done = loom(whole / NASTY, "hooks", "install", "--pre-push", "--pre-commit")
    assert done.returncode == 0, done.stderr
    commit(whole, {"apps/other/code.py": "pass\n"})
    done = push(whole)
    assert (done.returncode, "loom" in done.stderr) == (0, False)
    write(whole, {f"{NASTY}/{name}": text for name, text in WORSE.items()})
    git(whole, "add", "--all")
    done = run(whole / "apps", "git", "commit", "-m", "Worse")
    assert done.returncode != 0, done.stderr
    assert "❌ Degraded: demo" in done.stderr
    run(whole, "git", "commit", "--quiet", "--no-verify", "-m", "Worse")
    assert push(whole).returncode != 0
    write(whole, {f"second/{name}": text for name, text in SMALL.items()})
    done = loom(whole / "second", "hooks", "install")
    assert done.returncode == 2
    assert "checks another project of this repository" in done.stderr


# -- commits


@pytest.fixture
def committing(project):
    loom(project, "hooks", "uninstall")
    done = loom(project, "hooks", "install", "--pre-commit")
    assert done.returncode == 0, done.stderr
    return project


def test_commit_all_judges_the_index_that_git_makes_for_it(committing):
    """`git commit -a` commits from another index; the usual one is as before until it is done."""
    write(committing, WORSE)
    before = state(committing)
    done = run(committing, "git", "commit", "-a", "-m", "Worse")
    assert done.returncode != 0
    assert "Head: the staged files" in done.stderr
    assert "❌ Degraded: demo" in done.stderr
    assert state(committing) == before
    write(committing, {"context/taxonomy.md": TAXONOMY, **NEUTRAL})
    done = run(committing, "git", "commit", "-a", "-m", "Neutral")
    assert done.returncode == 0, done.stderr
    assert "loom: pre-commit passed in " in done.stderr


def test_a_commit_of_some_paths_judges_those(committing):
    write(committing, {**WORSE, "src/code.py": "pass\n"})
    git(committing, "add", "--all")
    done = run(committing, "git", "commit", "-m", "Code", "src/code.py")
    assert done.returncode == 0, done.stderr
    assert "Degraded" not in done.stderr
    assert run(committing, "git", "commit", "-m", "Worse", "context").returncode != 0


@pytest.mark.parametrize("staged", ["good", "bad"])
def test_partial_staging_is_judged_by_what_is_staged(committing, staged):
    """`git add -p`: one hunk is taken, the other stays in the working tree."""
    lines = [*PROMPT.splitlines(), "", "Be brief.", ""]
    write(committing, {"prompts/classify.txt": "\n".join(lines)})
    git(committing, "commit", "--quiet", "--no-verify", "-am", "Two ends")
    worse = "\n".join(lines).replace("{{ context.taxonomy }}", "There are two kinds.")
    both = worse.replace("Be brief.", "Be very brief.")
    write(committing, {"prompts/classify.txt": both})
    answers = "y\nn\n" if staged == "bad" else "n\ny\n"
    subprocess.run(
        ["git", "add", "-p"], cwd=committing, env={**os.environ, **CLEAN}, input=answers,
        text=True, check=True, capture_output=True,
    )  # fmt: skip
    before = state(committing)
    done = run(committing, "git", "commit", "-m", "A part")
    assert (done.returncode == 0) is (staged == "good"), done.stderr
    assert ("Degraded" in done.stderr) is (staged == "bad")
    assert (committing / "prompts/classify.txt").read_text() == both
    if staged == "bad":
        assert state(committing) == before


def test_amending_is_judged_too(committing):
    commit(committing, {"README.md": "hello\n"})
    write(committing, WORSE)
    assert run(committing, "git", "commit", "-a", "--amend", "--no-edit").returncode != 0
    write(committing, {"context/taxonomy.md": TAXONOMY, **NEUTRAL})
    assert run(committing, "git", "commit", "-a", "--amend", "--no-edit").returncode == 0


def test_the_first_commit_has_nothing_to_compare_with(tmp_path):
    fresh = make(tmp_path / "fresh")
    write(fresh, {**SMALL, **FILES})
    assert loom(fresh, "hooks", "install", "--pre-commit").returncode == 0
    git(fresh, "add", "--all")
    done = run(fresh, "git", "commit", "-m", "Begin")
    assert done.returncode == 0, done.stderr


def test_the_message_of_a_commit_accepts_a_loss(project):
    loom(project, "hooks", "uninstall")
    assert loom(project, "hooks", "install", "--commit-msg").returncode == 0
    write(project, WORSE)
    assert run(project, "git", "commit", "-a", "-m", "Worse").returncode != 0
    commented = "Worse\n\n# Loom-Accept: demo: a comment\n"
    assert run(project, "git", "commit", "-a", "-m", commented).returncode != 0
    done = run(project, "git", "commit", "-a", "-m", ACCEPT)
    assert done.returncode == 0, done.stderr
    assert "accepted: demo: the taxonomy moves elsewhere" in done.stderr


def test_nothing_staged_that_matters_says_nothing(committing):
    write(committing, {**WORSE, "src/code.py": "pass\n"})
    git(committing, "add", "src")
    done = run(committing, "git", "commit", "-m", "Code")
    assert done.returncode == 0
    assert "loom" not in done.stderr


def test_the_variables_of_a_hook_reach_nobody_else(committing):
    """An evaluator of the user's asks Git about a repository of its own, from inside of a hook."""
    other = make(committing.parent / "other")
    commit(other, {"a": "a"}, "Elsewhere")
    own = f"""\
import os
import subprocess


def score(output, reference=None):
    assert not {{"GIT_DIR", "GIT_INDEX_FILE", "GIT_PREFIX"}} & set(os.environ), os.environ
    said = subprocess.run(["git", "log", "-1", "--format=%s"], cwd={str(other)!r},
                          capture_output=True, text=True, check=True).stdout
    return 1.0 if said == "Elsewhere\\n" else 0.0
"""
    pipeline = PIPELINE.replace(
        "  quality_gate", "    - {name: own, type: 'own.py:score'}\n  quality_gate"
    )
    write(committing, {"own.py": own, "pipelines/demo.yaml": pipeline})
    git(committing, "add", "--all")
    done = run(committing, "git", "commit", "-m", "Own", GIT_PREFIX="src/")
    assert done.returncode == 0, done.stderr
    records = "".join(path.read_text() for path in (committing / ".loom/records").iterdir())
    assert '"own"' in records
    assert "Error" not in records


def test_status_tells_what_is_there(committing):
    document = json.loads(loom(committing, "hooks", "status", "--json").stdout)
    assert {h["hook"]: h["installed"] for h in document["hooks"]} == {
        "pre-push": False, "pre-commit": True, "commit-msg": False,
    }  # fmt: skip
