"""Every command with --json prints one document with the fields of docs/json-output.md, no others.

The page has a table below each heading. A heading is a command (`loom cost --dry-run`) or a part of
a document (`Version`). A type with a link to a heading refers to the table there.
"""

import importlib
import json
import re
import time
from pathlib import Path

import click
import jsonschema_rs
import pytest

from loomgit.cli import COMMANDS
from loomgit.domain.models import Completion, Usage
from loomgit.domain.unfinished_runs import Attempt, UnfinishedRun
from loomgit.domain.versions import Commit
from loomgit.gateway.reply_store import ReplyStore
from loomgit.history.file_schemas import run_schema
from loomgit.history.store import RunStore
from tests.command import loom as loom_in_process
from tests.comparisons import SUITE, WORSE, make_comparable
from tests.loop_apps import SPAM, make_repository, run_in_process, shared_files
from tests.projects import PIPELINE
from tests.pytest_plugin.sessions import loom
from tests.repos import commit, git
from tests.servers.github_server import GitHubServer

PAGE = Path(__file__).parents[2] / "docs/json-output.md"
REFUSED = PIPELINE.replace("name: demo", "name: refused").replace("reviews.csv", "none.csv")
SECOND = PIPELINE.replace("name: demo", "name: second").replace("demo.db", "second.db")
BROKEN = PIPELINE.replace("name: demo", "name: broken").replace("all_pass", "al_pass")
WRONG = SUITE.replace("{sentiment: positive}", "{sentiment: negative}")


def commands(command, name):
    if isinstance(command, click.Group):
        for inner, child in command.commands.items():
            yield from commands(child, f"{name} {inner}")
    elif any("--json" in option.opts for option in command.params):
        yield name


def all_commands():
    for name, (module, _) in COMMANDS.items():
        yield from commands(importlib.import_module(f"loomgit.commands.{module}").command, name)


class Recorder:
    """Runs commands in a project, and keeps the one document that each prints to stdout."""

    def __init__(self, project):
        self.project = project
        self.documents = {}

    def __call__(self, heading, *arguments, code=0, env=None, project=None):
        done = loom(project or self.project, *arguments, "--json", env=env)
        assert done.code == code, done.out + done.error
        self.documents.setdefault(heading, []).append(json.loads(done.out))
        return self.documents[heading][-1]


def publish(ask, folder):
    """`loom ci --publish`, with a server that speaks GitHub's API."""
    comment, event = folder / "comment.md", folder / "event.json"
    run = {"head_sha": "a" * 40, "head_branch": "patch", "head_repository": {"owner": {}}}
    run["head_repository"]["owner"]["login"] = "mallory"
    event.write_text(json.dumps({"workflow_run": run}), encoding="utf-8")
    comment.write_text("No change.\n", encoding="utf-8")
    with GitHubServer() as server:
        server.pulls = [{"number": 7, "head": {"label": "mallory:patch", "sha": "a" * 40}}]
        variables = {
            "GITHUB_ACTIONS": "true",
            "GITHUB_REPOSITORY": "acme/bot",
            "GITHUB_REF": "refs/heads/main",
            "GITHUB_API_URL": server.url,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_TOKEN": "ghs_a-token",
        }
        ask("loom ci --publish", "ci", "--publish", str(comment), env=variables)


def run_and_test(ask, folder):
    (folder / "new").mkdir()
    ask("loom init", "init", project=folder / "new")
    ask("loom validate", "validate", "demo")
    ask("loom run", "run", "demo")
    ask("loom run with several pipelines", "run", "demo", "second")
    ask("loom run --dry-run", "run", "demo", "second", "--dry-run")
    ask("loom test", "test", "demo", "--replay", "record")
    ask("loom tag", "tag", "prompts/classify.txt", "v1.0")


def degrade_and_compare(ask):
    project = ask.project
    text = PIPELINE.replace("version: 1.0.0", "version: 1.1.0")
    git(project, "checkout", "--quiet", "-b", "feature")
    changes = {**WORSE, "pipelines/demo.yaml": text, "tests/demo_test.yaml": WRONG}
    commit(project, changes, "Degrade\n\nReviewed-by: Grace <grace@example.org>")
    ask("loom compare --resolve", "compare", "HEAD~1", "--resolve")
    ask("loom compare", "compare", "HEAD~1", "--run-missing", code=1)
    ask("loom test", "test", "demo", "--baseline", "HEAD~1", code=1)
    ask("loom ci", "ci", "--dry-run", code=1)
    pipeline = project / "pipelines/demo.yaml"
    pipeline.write_text(text.replace("exact_match", "contains"), encoding="utf-8")
    ask("loom test", "test", "demo", code=1)
    ask("loom compare", "compare", "HEAD")  # another evaluator: not comparable
    pipeline.write_text(text, encoding="utf-8")


def kill_a_run(project):
    """Leave what a killed run leaves: the state of a run that no process works on."""
    store = RunStore(project / ".loom", pytest.fail)
    row = next(run for run in store.all() if run.pipeline == "second")
    attempt = Attempt("2026-11-21-001", "20261121T100000Z-second-abc123", row.started)
    run = UnfinishedRun(
        uid=attempt.uid,
        pipeline="second",
        execution_date=row.started,
        variables={},
        limit=None,
        inputs={},
        fingerprint=row.fingerprint,
        commit=Commit(row.commit, branch=row.branch),
        attempts=(attempt,),
    )
    with store.unfinished.working_on(run):
        pass


def use_quarantine(ask):
    ask("loom quarantine list", "quarantine")
    ask("loom quarantine retry", "quarantine", "retry")  # nothing to retry
    data = ask.project / "data/reviews.csv"
    whole = data.read_text(encoding="utf-8")
    data.write_text("review_id,review,expected\nx-1,good,negative\nx-2,bad,positive\n", "utf-8")
    ask("loom run", "run", "demo", code=1)
    ask("loom run", "run", "second", code=1)
    data.write_text(whole, encoding="utf-8")
    listed = ask("loom quarantine list", "quarantine", "list", "--limit", "1")
    assert (listed["count"], len(listed["entries"])) == (4, 1)
    pipeline = ask.project / "pipelines/second.yaml"
    pipeline.write_text(SECOND + "  mode: replace\n", encoding="utf-8")
    found = ask("loom quarantine retry", "quarantine", "retry", code=2)
    assert [run["pipeline"] for run in found["runs"]] == ["demo"]
    assert [error["pipeline"] for error in found["errors"]] == ["second"]
    ask("Errors", "quarantine", "retry", "second", code=2)
    pipeline.write_text(SECOND, encoding="utf-8")
    of_demo = ("--pipeline", "demo")
    ask("loom quarantine show", "quarantine", "show", "x-1", *of_demo)
    ask("loom quarantine resolve", "quarantine", "resolve", "x-1", *of_demo, "--why", "Noise")
    ask("loom quarantine list", "quarantine", "list", "--all")
    ask("loom quarantine to-test", "quarantine", "to-test", "x-2", "--pipeline", "second")


def compare_variables(ask):
    """Compare a pipeline whose test files set different variables."""
    for number, lang in enumerate(("de", "en")):
        text = SUITE.replace("dataset:", f"vars: {{lang: {lang}}}\ndataset:")
        text = text.replace("name: ", f"name: {lang}_")
        (ask.project / f"tests/{number}_test.yaml").write_text(text, encoding="utf-8")
    (ask.project / "tests/demo_test.yaml").unlink()
    found = ask("loom compare", "compare", "HEAD", "--pipeline", "demo")
    assert [each["vars"] for each in found["pipelines"]] == [{"lang": "de"}, {"lang": "en"}]


def read_history(ask):
    kill_a_run(ask.project)
    listed = ask("loom runs list", "runs", "list", "--status", "interrupted")
    assert [run["processed"] for run in listed["runs"]] == [None]
    ask("loom runs list", "runs", "list")
    ask("loom runs list", "runs")
    ask("loom runs show", "runs", "show", "latest")
    ask("loom runs gc", "runs", "gc", "--days", "0", "--keep", "0", "--dry-run")
    ask("loom log", "log", "prompts/classify.txt")
    ask("loom show", "show", "prompts/classify.txt@v1.0")
    ask("loom cost", "cost", "demo")
    ask("loom cost --dry-run", "cost", "demo", "--dry-run")
    ask("loom power", "power", "demo", "--drop", "5%")
    ask("loom report", "report")
    ask("loom report --compliance", "report", "--compliance")
    ask("loom sync push", "sync", "push")
    ask("loom sync pull", "sync", "pull")


def use_hooks(ask):
    ask("loom hooks install", "hooks", "install")
    ask("loom hooks status", "hooks", "status")
    prompt = ask.project / "prompts/classify.txt"
    prompt.write_text("{{ input.review }}: good or bad?", encoding="utf-8")
    git(ask.project, "add", "prompts/classify.txt")
    ask("loom hooks run", "hooks", "run", "pre-commit", code=1)
    ask("loom hooks run", "hooks", "run", "pre-commit", env={"LOOM_SKIP": "1"})
    ask("loom hooks uninstall", "hooks", "uninstall")


def use_stored_replies(ask):
    ask("loom cassette verify", "cassette", "verify")
    ask("loom cassette prune", "cassette", "prune", "--dry-run")
    store = ReplyStore(
        ask.project / ".loom/cache/responses.sqlite", warn=pytest.fail, clock=time.time
    )
    store.put(bytes(32), Completion("Fine.", "gpt-4o-mini", Usage(10, 2), cost=0.25))
    store.close()
    ask("loom cache stats", "cache", "stats")
    ask("loom cache prune", "cache", "prune")
    ask("loom cache clear", "cache", "clear")


def use_apps(ask):
    """The commands of loop apps. Their programs run in this process."""
    project = make_repository(ask.project.parent / "apps", **shared_files())

    def app(command, *arguments, code=0):
        with pytest.MonkeyPatch.context() as patch:
            run_in_process(patch)
            done = loom_in_process(project, *command.split()[1:], *arguments, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        ask.documents.setdefault(command, []).append(json.loads(done.stdout))

    spec, examples = str(project / f"specs/{SPAM}.yaml"), str(project / "examples.csv")
    program, value = str(project / "programs/v2.py"), ("--input", '{"text": "free"}')
    app("loom app create", SPAM, "--spec", spec, "--program", program)
    app("loom app add", SPAM, "--artifact", str(project / "artifact"))
    app("loom app validate", SPAM, "--version", "v1")
    app("loom app validate", SPAM, "--version", "v1", "--examples", examples)
    app("loom app promote", SPAM, "v1")
    app("loom app run", SPAM, *value)
    app("loom app run", SPAM, "--input", '{"text": 1}', code=2)
    app("loom app add", SPAM, "--program", str(project / "programs/v1.py"))
    app("loom app validate", SPAM, "--version", "v3", "--examples", examples)
    app("loom app promote", SPAM, "v3")
    app("loom app rollback", SPAM)
    app("loom app deprecate", SPAM, "v3")
    app("loom app list")
    app("loom app show", SPAM, code=2)  # v2 has the hashes of the documentation
    app("loom app show --version", "v2", SPAM, code=2)
    app("loom app audit", code=1)
    app("loom validate", code=2)
    for command in ("pause", "resume", "archive"):
        app(f"loom app {command}", SPAM)
    (project / f".loom/loop-apps/{SPAM}/config.yaml").write_text("tsk: a\n", encoding="utf-8")
    app("loom app list", code=2)
    app("loom app audit", code=2)


def make_mistakes(ask):
    (ask.project / "pipelines/refused.yaml").write_text(REFUSED, encoding="utf-8")
    found = ask("loom run with several pipelines", "run", "demo", "refused", code=2)
    assert [error["pipeline"] for error in found["errors"]] == ["refused"]
    (ask.project / "pipelines/broken.yaml").write_text(BROKEN, encoding="utf-8")
    ask("loom validate", "validate", code=2)
    ask("Errors", "run", "broken", code=2)
    ask("Errors", "compare", "--format", "html", code=2)
    ask("Errors", "test", "--watch", code=2)


@pytest.fixture(scope="module")
def documents(tmp_path_factory):
    """The documents of all commands, by the heading of the page."""
    folder = tmp_path_factory.mktemp("json")
    project = make_comparable(folder / "project", **{"pipelines/second.yaml": SECOND})
    git(folder, "init", "--quiet", "--bare", "remote.git")
    git(project, "remote", "add", "origin", str(folder / "remote.git"))
    ask = Recorder(project)
    run_and_test(ask, folder)
    degrade_and_compare(ask)
    read_history(ask)
    publish(ask, folder)
    use_hooks(ask)
    use_stored_replies(ask)
    use_quarantine(ask)
    compare_variables(ask)
    use_apps(ask)
    make_mistakes(ask)
    return ask.documents


# The page

ROW = re.compile(r"^\| (`[^|]+`) \| ([^|]+) \| (.+) \|$", re.MULTILINE)
SECTION = re.compile(r"^#{2,3} (.+)\n((?:(?!^#{2,3} ).*\n?)*)", re.MULTILINE)
LINKED = re.compile(r"\[[^]]+\]\(([\w.-]*)#([\w-]+)\)")
KINDS = {"text": str, "boolean": bool, "integer": int, "number": (int, float)}
CHECKED = set()  # the sections with which a part of a document was compared
RUN = jsonschema_rs.validator_for(run_schema())


def anchor(heading):
    return heading.lower().replace(" ", "-")


SECTIONS = SECTION.findall(PAGE.read_text(encoding="utf-8"))
TEXTS = {anchor(heading): text for heading, text in SECTIONS}


def fields(section):
    """The type of each field in the table of a section.

    A row of the type `any value` with a link has the types of the section that it links to.
    """
    found = {}
    for names, kind, meaning in ROW.findall(TEXTS[section]):
        for name in re.findall(r"`(\w+)`", names):
            link = LINKED.search(meaning)
            found[name] = fields(link[2])[name] if kind == "any value" and link else kind
    return found


def check(value, kind, place):
    """Compare a value with a type of the page, such as `list of [Version](#version) or null`."""
    if kind == "any value":
        return
    kind, _, alternative = kind.partition(" or ")
    if value is None:
        assert alternative == "null", f"{place} is null"
    elif kind.startswith("list of "):
        assert isinstance(value, list), place
        for item in value:
            check(item, kind.removeprefix("list of "), f"{place}[]")
    elif kind.startswith("map of "):
        assert isinstance(value, dict), place
        for item in value.values():
            inner = kind.removeprefix("map of ")
            suffix = " or null" if alternative and inner != "any value" else ""
            check(item, inner + suffix, f"{place}.*")
    elif link := LINKED.fullmatch(kind):
        check_object(value, *link.groups(), place)
    else:
        assert isinstance(value, KINDS[kind]), f"{place} is {value!r}, not {kind}"
        assert kind == "boolean" or not isinstance(value, bool), place


def check_object(value, page, section, place):
    CHECKED.add(section)
    if page:
        assert (page, section) == ("run-record.md", "the-run-file")
        RUN.validate(value)
        return
    expected = fields(section)
    assert value.keys() == expected.keys(), f"{place}: {value.keys() ^ expected.keys()}"
    for name, item in value.items():
        check(item, expected[name], f"{place}.{name}")


HEADINGS = [heading for heading, _ in SECTIONS if heading.startswith("loom ")] + ["Errors"]


@pytest.mark.parametrize("heading", HEADINGS)
def test_the_document_of_a_command_has_the_fields_of_the_page(documents, heading):
    section = anchor(heading)
    for document in documents[heading]:
        assert document["schema_version"] == 1
        if fields(section):
            check_object(document, "", section, heading)
        else:
            assert "run-record.md#the-run-file" in TEXTS[section]
            RUN.validate(document)


def test_the_page_describes_every_command_and_the_test_runs_every_heading(documents):
    for name in all_commands():
        aliases = {"diff": "loom diff", "schema": "loom schema"}
        assert f"loom {name}" in HEADINGS or f"`{aliases[name]}`" in PAGE.read_text("utf-8"), name
    assert documents.keys() == set(HEADINGS)


def test_every_table_of_the_page_describes_a_part_of_a_real_document(documents):
    CHECKED.clear()
    for heading, found in documents.items():
        for document in found:
            if fields(anchor(heading)):
                check_object(document, "", anchor(heading), heading)
    assert {section for section in TEXTS if fields(section)} <= CHECKED


def test_a_user_who_stops_a_command_and_a_bug_get_a_document(monkeypatch, capsys):
    from loomgit import cli

    for error, code in ((KeyboardInterrupt(), 130), (RuntimeError("odd"), 3)):
        monkeypatch.setattr(cli.group, "main", raising(error))
        assert cli._run(["runs", "list", "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        check_object(document, "", "errors", "Errors")
        assert document["error"]["exit_code"] == code


def raising(error):
    def main(**_):
        raise error

    return main
