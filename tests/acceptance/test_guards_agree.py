"""The push hook, `loom ci`, `loom compare` and `pytest --loom` look at the same files.

Whatever kind of change makes a prompt worse, none of them is green.
"""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from loomgit import cli
from tests.comparisons import NEUTRAL, SUITE, WORSE, make_comparable, reviews
from tests.plugin.sessions import pytest_in
from tests.projects import PIPELINE, PROMPT, TAXONOMY
from tests.repos import commit, git, make

BROKEN = {"prompts/classify.txt": "Review: {{ input.review }}\n\nSay anything.\n"}
NO_CUES = "There are two kinds of reviews.\n"
EVALUATOR = """\
def score(output, reference, config):
    return 1.0 if output["sentiment"] == reference["expected"] else 0.0
"""
INCLUDING = PROMPT.replace("{{ context.taxonomy }}", "{% include 'prompts/cues.txt' %}")


GUARDED = SUITE + "  - {name: as_before, type: regression}\n"


OTHER = PIPELINE.replace("name: demo", "name: other")
FAULTY = "name: demo\npipeline: demo\nnope: 1\n"


def link(project: Path, name: str, target: str) -> None:
    path = project / name
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def ignore_context(project: Path) -> None:
    git(project, "rm", "--quiet", "--cached", "context/taxonomy.md")
    commit(project, {".gitignore": "/out/\n/context/\n"})


def submodule(project: Path) -> None:
    """The context is in a submodule."""
    source = make(project.parent / "contexts")
    commit(source, {"taxonomy.md": TAXONOMY})
    git(project, "rm", "--quiet", "-r", "context")
    allowed = ("-c", "protocol.file.allow=always")
    git(project, *allowed, "submodule", "--quiet", "add", str(source), "context")
    commit(project, {})


def move_submodule(project: Path) -> None:
    there = project / "context"
    commit(there, {"taxonomy.md": NO_CUES})
    commit(project, {})


def nothing(_: Path) -> None:
    pass


# name: (files at the base, what else makes the base, files of the change, what else makes it)
KINDS = {
    "prompt": ({}, nothing, BROKEN, nothing),
    "context": ({}, nothing, WORSE, nothing),
    "context that is removed": (
        {}, nothing, {}, lambda project: git(project, "rm", "--quiet", "context/taxonomy.md"),
    ),
    "context of a glob": (
        {"pipelines/demo.yaml": PIPELINE.replace("[context/taxonomy.md]", "[context/*.md]")},
        nothing, WORSE, nothing,
    ),
    "file behind a symbolic link": (
        {"elsewhere/cues.md": TAXONOMY},
        lambda project: link(project, "context/taxonomy.md", "../elsewhere/cues.md"),
        {"elsewhere/cues.md": NO_CUES}, nothing,
    ),
    "symbolic link": (
        {"elsewhere/cues.md": TAXONOMY, "elsewhere/none.md": NO_CUES},
        lambda project: link(project, "context/taxonomy.md", "../elsewhere/cues.md"),
        {}, lambda project: link(project, "context/taxonomy.md", "../elsewhere/none.md"),
    ),
    "included template": (
        {"prompts/classify.txt": INCLUDING, "prompts/cues.txt": TAXONOMY},
        nothing, {"prompts/cues.txt": NO_CUES}, nothing,
    ),
    "other context in the pipeline": (
        {"context/none.md": NO_CUES}, nothing,
        {"pipelines/demo.yaml": PIPELINE.replace("[context/tax", "{taxonomy: context/none.md} #")},
        nothing,
    ),
    "renamed prompt": (
        {}, nothing,
        {"pipelines/demo.yaml": PIPELINE.replace("classify.txt", "other.txt"),
         "prompts/other.txt": BROKEN["prompts/classify.txt"]}, nothing,
    ),
    "prompt beside a context that Git ignores": ({}, ignore_context, BROKEN, nothing),
    "prompt beside a context in a submodule": ({}, submodule, BROKEN, nothing),
    "submodule": ({}, submodule, {}, move_submodule),
    "data": (
        {}, nothing,
        {"data/reviews.csv": reviews().replace("positive", "@").replace("negative", "positive")
         .replace("@", "negative")}, nothing,
    ),
    "expectation": (
        {}, nothing,
        {"tests/demo_test.yaml": GUARDED.replace("{sentiment: positive}", "{sentiment: negative}")
         .replace("dataset: data/reviews.csv", "dataset: data/few.csv"),
         "data/few.csv": reviews(20)}, nothing,
    ),
    "syntax of the pipeline": ({}, nothing, {"pipelines/demo.yaml": FAULTY}, nothing),
    "syntax of the tests": ({}, nothing, {"tests/demo_test.yaml": FAULTY}, nothing),
    "pipeline that is removed": (
        {"pipelines/other.yaml": OTHER}, nothing,
        {}, lambda project: git(project, "rm", "--quiet", "-r", "pipelines/demo.yaml", "tests"),
    ),
    "pipeline that is renamed": (
        {"pipelines/other.yaml": OTHER}, nothing,
        {**BROKEN, "tests/demo_test.yaml": GUARDED.replace("demo", "renamed")},
        lambda project: git(project, "mv", "pipelines/demo.yaml", "pipelines/renamed.yaml"),
    ),
}  # fmt: skip


def loom(folder: Path, *arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    command = list(arguments)
    at = command.index("--") if "--" in command else len(command)
    command[at:at] = ["--project", str(folder)]
    with redirect_stdout(out), redirect_stderr(out):
        code = cli._run(command)
    return code, out.getvalue()


def push(project: Path, monkeypatch, *, strict: bool) -> tuple[int, str]:
    """The hook, for a push of HEAD to a branch that is at main."""
    main, head = git(project, "rev-parse", "main"), git(project, "rev-parse", "HEAD")
    line = f"refs/heads/change {head} refs/heads/change {main}\n".encode()
    stdin = io.TextIOWrapper(io.BytesIO(line))
    monkeypatch.setattr("sys.stdin", stdin)
    flags = ["--strict"] if strict else []
    return loom(project, "hooks", "run", *flags, "pre-push", "--", "origin", "url")


@pytest.fixture
def changed(request, tmp_path):
    """A project on the branch `change`, one commit after `main`."""
    base, prepare, change, alter = request.param
    project = make_comparable(tmp_path / "project", **{"tests/demo_test.yaml": GUARDED, **base})
    prepare(project)
    commit(project, {}, "Prepare")
    git(project, "checkout", "--quiet", "-b", "change")
    alter(project)
    commit(project, change, "Change")
    return project


@pytest.mark.parametrize("changed", KINDS.values(), ids=KINDS, indirect=True)
def test_no_guard_is_green(changed, monkeypatch):
    answers = {
        "push": push(changed, monkeypatch, strict=True),
        "ci": loom(changed, "ci", "--dry-run", "--strict"),
        "compare": loom(changed, "compare", "--run-missing", "--strict"),
    }
    green = {name: said for name, (code, said) in answers.items() if code == 0}
    assert not green
    said = pytest_in(changed, "--loom-strict", "--loom-modified")
    assert said.code != 0, said.out


@pytest.mark.parametrize(
    "changed",
    [KINDS["prompt beside a context that Git ignores"], KINDS["submodule"]],
    ids=["ignored", "submodule"],
    indirect=True,
)
def test_what_cannot_be_read_is_named_and_unverified(changed, monkeypatch):
    code, said = push(changed, monkeypatch, strict=False)
    assert code == 0
    assert "warning: unverified: demo: pipelines/demo.yaml:" in said
    assert "context/taxonomy.md does not exist at" in said
    code, said = loom(changed, "ci", "--dry-run")
    assert (code, "## ⚠️ Loom: 1 pipeline unverified" in said) == (4, True), said
    code, said = loom(changed, "ci", "--json")
    assert json.loads(said)["unread"][0].startswith("demo: ")


@pytest.mark.parametrize("changed", [KINDS["pipeline that is removed"]], indirect=True)
def test_a_pipeline_that_is_gone_is_named_until_somebody_accepts_it(changed, monkeypatch):
    assert "demo: the pipeline is gone" in push(changed, monkeypatch, strict=False)[1]
    assert loom(changed, "ci", "--dry-run")[0] == 4
    code, said = loom(changed, "compare", "--run-missing")
    assert (code, "pipeline demo is gone" in said, "✅" in said) == (0, True, False), said
    commit(changed, {}, "Accept\n\nLoom-Accept: demo: it moved to another repository")
    assert push(changed, monkeypatch, strict=True)[0] == 0
    assert loom(changed, "ci", "--dry-run", "--strict")[0] == 0
    assert loom(changed, "compare", "--run-missing", "--strict")[0] == 0


def test_data_that_cannot_be_read_makes_an_unchanged_prompt_inconclusive(tmp_path):
    project = make_comparable(tmp_path / "project", **{"tests/demo_test.yaml": GUARDED})
    git(project, "checkout", "--quiet", "-b", "change")
    commit(project, {"data/reviews.csv": b"review_id,review,expected\nr-1,\xff\xfe,positive\n"})
    code, said = loom(project, "compare", "--strict")
    assert (code, "the cases cannot be compared: " in said) == (1, True), said


def test_where_nothing_differs_a_pipeline_that_cannot_be_read_stops_nobody(tmp_path, monkeypatch):
    project = make_comparable(tmp_path / "project")
    ignore_context(project)
    git(project, "checkout", "--quiet", "-b", "change")
    git(project, "commit", "--quiet", "--allow-empty", "-m", "Nothing")
    code, said = push(project, monkeypatch, strict=True)
    assert (code, said) == (0, "")


@pytest.mark.parametrize("changed", [({}, nothing, NEUTRAL, nothing)], indirect=True)
def test_a_harmless_change_is_green_everywhere(changed, monkeypatch):
    assert push(changed, monkeypatch, strict=True)[0] == 0
    assert loom(changed, "ci", "--dry-run", "--strict")[0] == 0
    assert loom(changed, "compare", "--run-missing", "--strict")[0] == 0
    assert pytest_in(changed, "--loom-strict").code == 0
