"""Files that never reach a model: files of secrets, Git's own, those outside of the project."""

import pytest

from tests.command import loom
from tests.comparisons import make_comparable
from tests.projects import PIPELINE, PROMPT
from tests.repos import commit, git

SECRET = "TOKEN=very-secret\n"


def prompt(line):
    return {"prompts/classify.txt": PROMPT + line + "\n"}


def context(path):
    return {
        "pipelines/demo.yaml": PIPELINE.replace(
            "[context/taxonomy.md]", f"[context/taxonomy.md, '{path}']"
        )
    }


def link(name, target):
    return lambda project: (project / name).symlink_to(target)


def nothing(project):
    pass


WAYS = {
    "an included .env": (prompt("{% include '.env' %}"), nothing, "prompts/classify.txt:14"),
    "one that may be missing": (
        prompt("{% include '.env' ignore missing %}"), nothing, "prompts/classify.txt:14",
    ),
    "an imported .env": (
        prompt("{% import '.env' as env %}"), nothing, "prompts/classify.txt:14"
    ),
    "one of several": (
        prompt("{% include ['nope.txt', '.env'] %}"), nothing, "prompts/classify.txt:14"
    ),
    "a computed include": (
        prompt("{% include '.' ~ 'env' %}"), nothing, "computed"
    ),
    "a .env of a folder": (
        prompt("{% include 'config/.env.local' %}"), nothing, "prompts/classify.txt:14"
    ),
    "a .env beside the prompt": (
        prompt("{% include '.envrc' %}"), nothing, "prompts/classify.txt:14"
    ),
    "a context .env": (context(".env"), nothing, "pipelines/demo.yaml:8"),
    "in other letters": (context(".ENV"), nothing, "pipelines/demo.yaml:8"),
    "Git's configuration": (context(".git/config"), nothing, "pipelines/demo.yaml:8"),
    "Git's configuration, included": (
        prompt("{% include '.git/config' %}"), nothing, "prompts/classify.txt:14"
    ),
    "a link to a .env": (context("context/more.md"), link("context/more.md", "../.env"),
                         "pipelines/demo.yaml:8"),
    "a link to Git's configuration": (
        context("context/more.md"), link("context/more.md", "../.git/config"),
        "pipelines/demo.yaml:8",
    ),
    "a link out of the project": (
        context("context/more.md"), link("context/more.md", "../../outside.md"),
        "pipelines/demo.yaml:8",
    ),
    "a folder that leads out": (
        context("linked/outside.md"), link("linked", "../"), "pipelines/demo.yaml:8"
    ),
    "an included link": (
        prompt("{% include 'prompts/more.txt' %}"), link("prompts/more.txt", "../../outside.md"),
        "prompts/classify.txt:14",
    ),
    "a prompt that is a link": (
        {"pipelines/demo.yaml": PIPELINE.replace("prompts/classify.txt", "prompts/out.txt")},
        link("prompts/out.txt", "../../outside.md"), "pipelines/demo.yaml:7",
    ),
}  # fmt: skip


def make(tmp_path, files, alter):
    project = make_comparable(tmp_path / "project")
    (tmp_path / "outside.md").write_text(SECRET)
    for name in (".env", ".ENV", "config/.env.local", "prompts/.envrc"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text(SECRET)
    git(project, "checkout", "--quiet", "-b", "change")
    alter(project)
    (project / ".gitignore").write_text("/out/\n.env*\n.ENV\n")
    commit(project, files, "Change")
    return project


@pytest.mark.parametrize(("files", "alter", "place"), WAYS.values(), ids=WAYS)
def test_it_is_refused(tmp_path, files, alter, place):
    project = make(tmp_path, files, alter)
    for arguments in (["run", "demo"], ["validate"], ["compare"]):
        done = loom(project, *arguments)
        said = done.stdout + done.stderr
        computed = place == "computed"
        code = 2 if not computed else int(arguments[0] == "run")
        assert done.returncode == code, said
        assert computed or (place in said and "never sent to a model" in said)
        assert "very-secret" not in said
    if computed:
        rejected = (project / ".loom/state/quarantine/demo.jsonl").read_text()
        assert "never sent to a model" in rejected
    kept = [path for path in (project / ".loom").rglob("*") if path.is_file()]
    assert not any(b"very-secret" in path.read_bytes() for path in kept)


def test_documents_that_are_searched_leave_them_out(tmp_path):
    project = make(tmp_path, {"docs/plain.md": "Great is good.\n", ".env": SECRET},
                   link("docs.md", "../outside.md"))  # fmt: skip
    git(project, "add", "--force", ".env", "docs.md")
    text = PIPELINE.replace(
        "  prompt:",
        "  type: rag\n  retrieve: {documents: ['**/*'], query_field: review}\n  prompt:",
    )
    commit(
        project,
        {"pipelines/demo.yaml": text, **prompt("{{ input.retrieved_documents }}")},
        "Search",
    )
    done = loom(project, "run", "demo")
    assert done.returncode in (0, 1), done.stderr
    kept = [path for path in (project / ".loom").rglob("*") if path.is_file()]
    kept += [path for path in (project / ".git/loom/documents").rglob("*") if path.is_file()]
    assert kept
    assert not any(b"very-secret" in path.read_bytes() for path in kept)


def test_a_plain_link_within_the_project_is_followed(tmp_path):
    files = context("context/more.md")
    project = make(tmp_path, files, link("context/more.md", "taxonomy.md"))
    assert loom(project, "run", "demo").returncode == 0
    assert loom(project, "compare").returncode == 0
