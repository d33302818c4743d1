"""`loom ci` in clones made as actions/checkout makes them, against a server that speaks GitHub's
API."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import processes
from tests.comparisons import CUES, NEUTRAL, SUITE, WORSE, make_comparable
from tests.projects import PIPELINE, PROMPT, REVIEWS
from tests.pytest_plugin.sessions import pytest_in
from tests.repos import CLEAN, commit, git
from tests.servers.github_server import GitHubServer
from tests.servers.openai_server import OpenAiServer
from tests.ways import OWN_FILES

TOKEN = "ghs_a-token-that-nobody-may-see"
WRONG = {"tests/demo_test.yaml": SUITE.replace("{sentiment: positive}", "{sentiment: negative}")}
NO_KEY = {
    ".loom/config.yaml": "models:\n  openai/m: {base_url: 'http://127.0.0.1:9/v1',"
    ' api_key: "${SOME_KEY}"}\n',
    "pipelines/demo.yaml": PIPELINE.replace("  prompt:", "  model: openai/m\n  prompt:"),
    "data/reviews.csv": REVIEWS,
}


class Forge:
    """A repository at GitHub, and clones of it as a workflow has them."""

    def __init__(self, folder: Path, server: GitHubServer) -> None:
        self.folder = folder
        self.server = server
        self.summary = folder / "summary.md"
        self.remote = folder / "remote.git"
        self.author = make_comparable(folder / "author")
        git(folder, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
        git(self.author, "remote", "add", "origin", str(self.remote))
        git(self.author, "push", "--quiet", "origin", "main")
        self.clones = 0

    def propose(self, files: dict[str, str], message: str = "Propose") -> str:
        """A pull request: a branch, and the merge that GitHub tests."""
        git(self.author, "checkout", "--quiet", "-B", "feature", "main")
        head = commit(self.author, files, message)
        self.merge()
        return head

    def merge(self) -> None:
        """What GitHub does when a branch was pushed."""
        head = git(self.author, "rev-parse", "feature")
        git(self.author, "checkout", "--quiet", "--detach", "main")
        git(self.author, "merge", "--quiet", "--no-ff", "-m", "Merge", head)
        git(self.author, "push", "--quiet", "--force", "origin", "HEAD:refs/pull/7/merge")
        git(self.author, "push", "--quiet", "--force", "origin", "feature")
        git(self.author, "checkout", "--quiet", "feature")

    def checkout(self, depth: int = 0, ref: str = "pull/7/merge") -> Path:
        """As actions/checkout does it: init, fetch one ref (with depth 0: all), check it out."""
        self.clones += 1
        clone = self.folder / f"clone{self.clones}"
        clone.mkdir()
        git(clone, "init", "--quiet", "--initial-branch=master")
        git(clone, "remote", "add", "origin", f"file://{self.remote}")
        wanted = f"+refs/{ref}:refs/remotes/{ref.removeprefix('heads/')}"
        if ref.startswith("heads/"):
            wanted = f"+refs/{ref}:refs/remotes/origin/{ref.removeprefix('heads/')}"
        if depth:
            git(clone, "fetch", "--quiet", "--no-tags", f"--depth={depth}", "origin", wanted)
        else:
            git(clone, "fetch", "--quiet", "origin", "+refs/heads/*:refs/remotes/origin/*", wanted)
        if ref.startswith("heads/"):
            name = ref.removeprefix("heads/")
            git(clone, "checkout", "--quiet", "--force", "-B", name, f"refs/remotes/origin/{name}")
        else:
            git(clone, "checkout", "--quiet", "--force", f"refs/remotes/{ref}")
        return clone

    def event(self, *, fork: bool = False, **other: object) -> dict[str, object]:
        source = "mallory/bot" if fork else "acme/bot"
        request = {
            "number": 7,
            "head": {
                "sha": git(self.author, "rev-parse", "feature"),
                "repo": {"full_name": source},
            },
            "base": {
                "sha": git(self.author, "rev-parse", "main"),
                "repo": {"full_name": "acme/bot"},
            },
        }
        return {"pull_request": request, **other}

    def ci(self, clone: Path, *arguments: str, event=None, **variables: str):
        """Run `loom ci` as a step of the workflow."""
        file = self.folder / "event.json"
        file.write_text(json.dumps(self.event() if event is None else event))
        env = {
            **os.environ,
            **CLEAN,
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "acme/bot",
            "GITHUB_REF": "refs/pull/7/merge",
            "GITHUB_API_URL": self.server.url,
            "GITHUB_EVENT_PATH": str(file),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_TOKEN": TOKEN,
            **variables,
        }
        done = processes.run("loomgit", "ci", *arguments, cwd=clone, env=env)
        assert "Traceback" not in done.stderr, done.stderr
        for said in (done.stdout, done.stderr, self.summary_text, *self.bodies):
            assert TOKEN not in said
        return done

    @property
    def summary_text(self) -> str:
        return self.summary.read_text() if self.summary.exists() else ""

    @property
    def bodies(self) -> list[str]:
        return [comment["body"] for comment in self.server.comments]

    @property
    def comment(self) -> str:
        """The one comment, without its marker."""
        assert len(self.bodies) == 1, self.bodies
        head, _, rest = self.bodies[0].partition("\n")
        assert head == "<!-- loom: . -->"
        return rest

    @property
    def heading(self) -> str:
        return self.comment.partition("\n")[0]


@pytest.fixture
def forge(tmp_path):
    with GitHubServer() as server:
        yield Forge(tmp_path, server)


@pytest.mark.parametrize("depth", [0, 2])
def test_a_degraded_prompt_is_told_everywhere(forge, depth):
    head = forge.propose({"context/taxonomy.md": "### positive\nCue words: great, good\n"})
    done = forge.ci(forge.checkout(depth))
    assert done.returncode == 1, done.stderr
    assert forge.heading == "## ❌ Loom: Degraded: demo"
    for part in (
        "the pull request's base",
        f"pull request 7 \\({head[:8]}\\)".replace("\\", ""),
        "| Label |",
        "| degraded |",
        "Per 1,000 records: cost ",
        "latency ",
        "<summary>Prompt diff</summary>",
        "-Cue words: great, good, love",
        "got worse</summary>",
        git(forge.author, "rev-parse", "main")[:8],
    ):
        assert part in forge.comment, part
    assert forge.summary_text.strip() == forge.comment.strip()
    annotations = [line for line in done.stdout.splitlines() if line.startswith("::error")]
    assert len(annotations) == 1
    # the line that changed first
    assert annotations[0].startswith(
        "::error file=context/taxonomy.md,line=2,title=demo degraded::"
    )


def test_a_good_prompt_passes(forge):
    forge.propose(NEUTRAL)
    done = forge.ci(forge.checkout())
    assert done.returncode == 0, done.stderr
    assert forge.heading == "## ✅ Loom: No worse: every case scores as before in 1 pipeline"
    assert "::error" not in done.stdout


def test_a_pull_request_that_touches_nothing_says_so(forge):
    forge.propose({"src/code.py": "pass\n"})
    assert forge.ci(forge.checkout()).returncode == 0
    assert forge.heading == "## ✅ Loom: Nothing that is tested has changed"


def test_a_clone_of_depth_1_is_told_which_depth_is_needed(forge):
    forge.propose(WORSE)
    done = forge.ci(forge.checkout(1))
    assert done.returncode == 2
    assert "fetch-depth 2 or more" in done.stderr
    assert forge.heading == "## ⚠️ Loom: The comparison could not be made"
    assert "fetch\\-depth 2" in forge.comment.replace("fetch-depth", "fetch\\-depth")
    assert "::error::Loom: no baseline to compare with" in done.stdout


def test_a_rerun_and_a_rebased_branch_update_the_comment_in_place(forge):
    forge.server.add("A person says something")
    forge.propose(WORSE)
    clone = forge.checkout()
    assert forge.ci(clone).returncode == 1
    first = forge.server.comments[1]["id"]
    assert forge.ci(clone).returncode == 1
    git(forge.author, "checkout", "--quiet", "main")
    commit(forge.author, {"README.md": "meanwhile\n"})
    git(forge.author, "push", "--quiet", "origin", "main")
    forge.propose(NEUTRAL)
    assert forge.ci(forge.checkout()).returncode == 0
    assert [comment["id"] for comment in forge.server.comments] == [1, first]
    assert "## ✅ Loom" in forge.bodies[1]


def test_a_failing_test_is_in_the_heading_and_at_its_line(forge):
    forge.propose(WRONG)
    done = forge.ci(forge.checkout())
    assert done.returncode == 1
    assert forge.heading == "## ❌ Loom: 1 test failed; tests or cases are gone"
    assert "### Failed tests" in forge.comment
    assert "::error file=tests/demo_test.yaml,line=4,title=unit%3A%3Aplain failed::" in done.stdout


def test_both_are_in_the_heading(forge):
    forge.propose({**WORSE, **WRONG})
    assert forge.ci(forge.checkout()).returncode == 1
    assert forge.heading == "## ❌ Loom: Degraded: demo; 1 test failed; tests or cases are gone"


@pytest.mark.parametrize("depth", [0, 2])
def test_an_accepted_loss_passes_and_is_listed(forge, depth):
    forge.propose(WORSE, "Worse\n\nLoom-Accept: demo: the words move elsewhere")
    done = forge.ci(forge.checkout(depth))
    assert done.returncode == 0, done.stderr
    assert forge.heading == "## ✅ Loom: Degraded, and accepted: demo"
    assert "accepted: demo: the words move elsewhere" in forge.comment
    assert ("shallow clone: losses accepted" in forge.comment) is bool(depth)


def test_what_could_not_be_measured_is_another_result(forge):
    forge.propose(NO_KEY)
    done = forge.ci(forge.checkout())
    assert done.returncode == 2  # a key is missing
    assert forge.heading.startswith("## ⚠️ Loom: ")
    assert "unverified" in forge.heading
    assert "✅" not in forge.comment
    assert "SOME" in forge.comment  # which variable is missing
    assert "::warning file=tests/demo_test.yaml" in done.stdout


def test_a_broken_file_is_told_with_its_line(forge):
    forge.propose({"pipelines/demo.yaml": PIPELINE.replace("all_pass", "al_pass")})
    done = forge.ci(forge.checkout())
    assert done.returncode == 2
    assert forge.heading == "## ❌ Loom: 1 problem in the project's files"
    assert "::error file=pipelines/demo.yaml,line=15,title=Loom::" in done.stdout


# -- forks


def test_a_fork_is_judged_by_what_needs_no_secrets(forge):
    forge.propose(WORSE)
    file = forge.folder / "comment.md"
    done = forge.ci(
        forge.checkout(), "--comment-file", str(file), event=forge.event(fork=True), GITHUB_TOKEN=""
    )
    assert done.returncode == 1
    assert forge.server.asked == []  # it may not comment
    assert "## ❌ Loom: Degraded: demo" in file.read_text()
    assert forge.summary_text.strip() == file.read_text().strip()


def test_what_a_fork_cannot_ask_is_unverified_and_never_passed(forge):
    forge.propose(NO_KEY)
    clone, event = forge.checkout(), forge.event(fork=True)
    done = forge.ci(clone, event=event)
    assert done.returncode == 0, done.stderr
    assert "::warning file=tests/demo_test.yaml" in done.stdout
    assert "## ⚠️ Loom: " in forge.summary_text
    assert "a pull request from a fork has no secrets" in forge.summary_text
    assert "✅" not in forge.summary_text + done.stdout
    assert forge.server.asked == []
    assert forge.ci(clone, "--strict", event=event).returncode == 1


def hurried(request):
    """Reads well, unless the prompt tells it to hurry."""
    text = request["messages"][-1]["content"]
    good = any(word in text.partition("Review:")[2] for word in CUES["positive"])
    label = "positive" if good and "Hurry" not in text else "negative"
    return json.dumps({"sentiment": label, "confidence": 0.9})


def test_a_fork_is_judged_by_what_both_sides_recorded(forge):
    """Each side's replies come from its own tree: no model is there to be asked."""
    own = ".loom/cassettes/demo.jsonl"

    def record(branch):
        git(forge.author, "checkout", "--quiet", branch)
        pytest_in(forge.author, "--loom-replay", "record", env={"SOME_KEY": "k"})
        recorded = (forge.author / own).read_text()
        commit(forge.author, {own: recorded}, "Record")
        return recorded

    with OpenAiServer(hurried) as server:
        pipeline = PIPELINE.replace("  prompt:", "  model: openai/m\n  prompt:")
        models = f"base_url: '{server.url}', api_key: \"${{SOME_KEY}}\""
        config = f"models:\n  openai/m: {{{models}}}\n"
        files = {".loom/config.yaml": config, "pipelines/demo.yaml": pipeline}
        commit(forge.author, files, "Ask a model")
        base = record("main")
        git(forge.author, "push", "--quiet", "origin", "main")
        forge.propose({"prompts/classify.txt": PROMPT + "\nHurry.\n"})
        (forge.author / own).unlink()
        head = record("feature")
        forge.merge()
    assert {line[:80] for line in base.splitlines()}.isdisjoint(
        line[:80] for line in head.splitlines()
    )
    done = forge.ci(forge.checkout(), event=forge.event(fork=True), GITHUB_TOKEN="")
    assert done.returncode == 1, done.stderr
    assert "## ❌ Loom: Degraded: demo" in forge.summary_text
    assert "could not be made" not in forge.summary_text


def test_a_forks_comment_is_published_by_a_run_of_its_own(forge, tmp_path):
    """It gets no number from the fork, believes nothing, and needs no project."""
    head = "a" * 40
    forge.server.pulls = [{"number": 7, "head": {"label": "mallory:patch", "sha": head}}]
    run = {
        "head_sha": head,
        "head_branch": "patch",
        "head_repository": {"owner": {"login": "mallory"}},
    }
    (tmp_path / "empty").mkdir()
    file = tmp_path / "comment.md"
    file.write_text("## ✅ Loom: hello @everybody and #1\n" + "x" * 100_000)
    for _ in range(2):
        done = forge.ci(
            tmp_path / "empty", "--publish", str(file), event={"workflow_run": run},
            GITHUB_REF="refs/heads/main",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert forge.comment.startswith("<sub>From a fork")
    assert "@everybody" not in forge.comment
    assert len(forge.bodies[0]) <= 65_536
    run["head_sha"] = "b" * 40
    done = forge.ci(tmp_path / "empty", "--publish", str(file), event={"workflow_run": run})
    assert done.returncode == 4
    assert "no open pull request has the commit" in done.stderr


@pytest.mark.parametrize("fork", [True, False], ids=["from a fork", "of the repository"])
def test_a_fork_does_not_run_its_code_with_a_key(forge, tmp_path, fork):
    """With `pull_request_target` the workflow has secrets, and may have checked out the fork."""
    marker = tmp_path / "ran"
    git(forge.author, "checkout", "--quiet", "main")
    commit(forge.author, OWN_FILES)
    git(forge.author, "push", "--quiet", "origin", "main")
    evil = f"open({str(marker)!r}, 'w').close()\n" + OWN_FILES["checks/own.py"]
    forge.propose({"checks/own.py": evil, **NEUTRAL})
    done = forge.ci(forge.checkout(), "--strict", event=forge.event(fork=fork))
    assert marker.exists() is not fork
    assert done.returncode == 1, done.stderr
    changed = "it changes the code of evaluators (checks/own.py)"
    assert (changed in done.stdout + done.stderr + forge.summary_text) is fork


def test_a_link_is_not_published(forge, tmp_path):
    """An artifact of a fork's run may hold links to files of this machine."""
    secret = tmp_path / "secret"
    secret.write_text("very-secret")
    folder = tmp_path / "empty"
    (folder / "artifact").mkdir(parents=True)
    (folder / "comment.md").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    run = {"head_sha": "a" * 40}
    for name in ("comment.md", "linked/secret", str(folder / "comment.md")):
        done = forge.ci(folder, "--publish", name, event={"workflow_run": run})
        assert done.returncode == 2, done.stderr
        assert "symbolic link" in done.stderr
        assert forge.bodies == []


# -- other events


def test_a_push_to_main_is_compared_with_what_was_there_before(forge):
    git(forge.author, "checkout", "--quiet", "main")
    before = git(forge.author, "rev-parse", "HEAD")
    commit(forge.author, WORSE)
    commit(forge.author, {"README.md": "later\n"})
    git(forge.author, "push", "--quiet", "origin", "main")
    clone = forge.checkout(ref="heads/main")
    done = forge.ci(clone, event={"before": before}, GITHUB_REF="refs/heads/main")
    assert done.returncode == 1, done.stderr
    assert "Base: before the push" in done.stdout
    assert forge.server.asked == []
    assert "❌ Loom: Degraded: demo" in forge.summary_text
    shallow = forge.checkout(2, "heads/main")  # lacks it: the commit before, then
    done = forge.ci(shallow, event={"before": before}, GITHUB_REF="refs/heads/main")
    assert done.returncode == 0


def test_an_entry_of_a_merge_queue_is_compared_with_the_entry_before(forge):
    """The second entry undoes what the first one mended: against main it changes nothing."""
    git(forge.author, "checkout", "--quiet", "main")
    commit(forge.author, WORSE)
    git(forge.author, "push", "--quiet", "origin", "main")
    good = git(forge.author, "show", "HEAD^:context/taxonomy.md")
    before = commit(forge.author, {"context/taxonomy.md": f"{good}\n"})
    head = commit(forge.author, WORSE)
    git(forge.author, "push", "--quiet", "origin", "HEAD:refs/heads/gh-readonly-queue/main/pr-7")
    event = {"merge_group": {"base_sha": before, "head_sha": head, "base_ref": "refs/heads/main"}}
    clone = forge.checkout(ref="heads/gh-readonly-queue/main/pr-7")
    done = forge.ci(clone, event=event, GITHUB_REF="refs/heads/gh-readonly-queue/main/pr-7")
    assert done.returncode == 1, done.stderr
    assert "Base: the merge queue's base" in done.stdout
    assert "❌ Loom: Degraded: demo" in forge.summary_text
    shallow = forge.checkout(1, "heads/gh-readonly-queue/main/pr-7")
    done = forge.ci(shallow, event=event, GITHUB_REF="refs/heads/gh-readonly-queue/main/pr-7")
    assert done.returncode == 2
    assert "fetch-depth 0" in done.stderr


def test_a_branch_checked_out_itself_is_compared_with_where_it_forked_off(forge):
    """Its head is a merge too, of main into it: that is not GitHub's."""
    forge.propose(WORSE)
    git(forge.author, "checkout", "--quiet", "main")
    commit(forge.author, {"README.md": "meanwhile\n"})
    git(forge.author, "push", "--quiet", "origin", "main")
    git(forge.author, "checkout", "--quiet", "feature")
    git(forge.author, "merge", "--quiet", "--no-ff", "-m", "Update", "main")
    git(forge.author, "push", "--quiet", "origin", "feature")
    clone = forge.checkout(ref="heads/feature")
    git(clone, "checkout", "--quiet", "--detach")
    assert forge.ci(clone).returncode == 1
    assert "degraded" in forge.comment


def test_what_a_step_before_left_in_the_working_tree_does_not_count(forge):
    forge.propose(NEUTRAL)
    clone = forge.checkout()
    (clone / "context/taxonomy.md").write_text("two kinds\n")
    assert forge.ci(clone).returncode == 0


# -- GitHub says no


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_comment_that_cannot_be_written_is_said_and_the_gate_still_answers(forge, status):
    forge.propose(WORSE)
    forge.server.fail["POST"] = [status] * 9
    done = forge.ci(forge.checkout())
    assert done.returncode == 1
    assert f"warning: the comment was not written: GitHub responded with {status}" in done.stderr
    assert "❌ Loom: Degraded: demo" in forge.summary_text


def test_without_a_token_there_is_no_comment(forge):
    forge.propose(NEUTRAL)
    done = forge.ci(forge.checkout(), GITHUB_TOKEN="")
    assert done.returncode == 0
    assert "the comment was not written: GITHUB_TOKEN is not set" in done.stderr


# -- anywhere


def test_a_dry_run_prints_the_comment_anywhere(forge):
    forge.propose(WORSE)
    done = subprocess.run(
        [sys.executable, "-m", "loomgit", "ci", "--dry-run"],
        cwd=forge.author, env={**os.environ, **CLEAN}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.startswith("## ❌ Loom: Degraded: demo\n")
    done = forge.ci(forge.checkout(), "--dry-run")
    assert done.returncode == 1
    assert done.stdout.startswith("## ❌ Loom: Degraded: demo\n")
    assert (forge.server.asked, forge.summary_text) == ([], "")


def test_one_json_document(forge):
    forge.propose({**WORSE, **WRONG})
    done = forge.ci(forge.checkout(), "--json")
    document = json.loads(done.stdout)
    assert document["blocked"] is True
    assert document["failures"] == ["unit::plain"]
    assert document["comment"] == forge.server.comments[0]["html_url"]
    assert "::error file=" in done.stderr


def test_names_that_look_like_commands_and_markup_mean_nothing(forge):
    """Ids of cases come from whoever writes the data."""
    nasty = "@ada <img src=x> | ```` ::error::hi [a](http://x)"
    rows = ["review_id,review,expected"]
    for number in range(60):
        word, label = ("good", "positive") if number % 2 else ("bad", "negative")
        rows.append(f'"{nasty} {number}",number {number} is {word},{label}')
    forge.propose({"data/reviews.csv": "\n".join(rows) + "\n"})
    git(forge.author, "checkout", "--quiet", "main")
    git(forge.author, "merge", "--quiet", "feature")
    git(forge.author, "push", "--quiet", "origin", "main")
    forge.propose({"context/taxonomy.md": "```\n~~~\n</details> @ada two kinds\n"})
    done = forge.ci(forge.checkout())
    assert done.returncode == 1
    text = forge.comment.partition("<summary>Prompt diff")[0]
    assert "ada" in text
    for markup in ("<img", " @ada", "http://x", "[a]("):
        assert markup not in text, markup
    assert "\n````diff\n" in forge.comment  # longer than any fence in the diff
    hostile = [line for line in done.stdout.splitlines() if "::error::hi" in line]
    assert hostile
    assert not any(line.lstrip().startswith("::") for line in hostile)  # a runner's command
