"""Retrieval for `type: rag`, as runs, checks, tests and comparisons see it."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from loomgit.wiring.planning import Planning
from loomgit.wiring.project import Wiring
from loomgit.wiring.revision import ProjectRevision
from tests.command import loom
from tests.repos import commit, git, make, write
from tests.servers.openai_server import OpenAiServer

PIPELINE = """\
name: faq
extract: {source: data/questions.csv, key: id}
transform:
  type: rag
  prompt: prompts/answer.txt
  retrieve:
    documents: ["docs/**/*.md"]
    top_k: 1
  model: mine
evaluate:
  - {type: length, config: {min: 1}}
load: {destination: out/answers.jsonl}
"""
PROMPT = "Answer from:\n{{ context.retrieved_documents }}\nQuestion: {{ input.question }}\n"
FILES = {
    "pipelines/faq.yaml": PIPELINE,
    "prompts/answer.txt": PROMPT,
    "data/questions.csv": 'id,question\n1,When may I return it?\n2,\n3,the "AND" of (NEAR\n',
    "docs/returns.md": "Return it within 30 days.\n",
    "docs/more/cards.md": "Gift cards stay.\n",
    ".gitignore": "/out/\n/docs/draft.md\n",
}


@pytest.fixture
def server():
    with OpenAiServer(lambda request: request["messages"][-1]["content"]) as running:
        yield running


@pytest.fixture
def project(tmp_path, server):
    folder = make(tmp_path / "work")
    config = f"models:\n  mine: {{base_url: '{server.url}', input_price: 1, output_price: 1}}\n"
    commit(folder, {**FILES, ".loom/config.yaml": config})
    return folder


def run(project, code=0):
    done = loom(project, "run", "faq")
    assert done.returncode == code, done.stdout + done.stderr
    return done


def answers(project):
    lines = (project / "out" / "answers.jsonl").read_text().splitlines()
    return {str(row["id"]): row["text"] for row in map(json.loads, lines)}


def plan_of(wiring):
    pipeline = ProjectRevision(wiring).catalog.pipeline("faq")
    return Planning(wiring).plan(pipeline, {}, datetime.now(UTC))[0]


def test_records_are_answered_from_the_passages_found_for_them(project, server):
    run(project)
    found = answers(project)
    assert found["1"].startswith("Answer from:\n[docs/returns.md#1] Return it within 30 days.\n")
    assert found["2"].startswith("Answer from:\n\nQuestion:")
    assert len(found) == 3
    assert len(list((project / ".git" / "loom" / "documents").iterdir())) == 1


def test_a_record_that_brings_documents_keeps_them(project):
    rows = [
        {"id": "1", "retrieved_documents": "My own."},
        {"id": "2", "question": "return", "retrieved_documents": None},
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    prompt = "{{ context.retrieved_documents }}"
    pipeline = PIPELINE.replace("questions.csv", "questions.jsonl")
    write(project, {"data/questions.jsonl": text, "prompts/answer.txt": prompt})
    write(project, {"pipelines/faq.yaml": pipeline})
    run(project)
    found = "[docs/returns.md#1] Return it within 30 days."
    assert answers(project) == {"1": "My own.", "2": found}


def test_passages_stand_in_the_named_field_and_in_the_input(project):
    pipeline = PIPELINE.replace("  retrieve:", "  context: '{{ passages }}'\n  retrieve:")
    prompt = "{% for p in input.passages %}{{ p.document }}{% endfor %}{{ context.passages }}!"
    write(project, {"pipelines/faq.yaml": pipeline, "prompts/answer.txt": prompt})
    run(project)
    assert answers(project)["1"].startswith("docs/returns.md[docs/returns.md#1] Return")


def test_the_reply_cache_holds_until_a_document_changes(project, server):
    run(project)
    run(project)
    assert server.calls == 3
    write(project, {"docs/returns.md": "Return it within 60 days.\n"})
    run(project)
    assert server.calls == 4, "the two other prompts are the same"
    assert "60 days" in answers(project)["1"]


def test_with_key_fields_a_changed_document_asks_all_again(project, server):
    keyed = PIPELINE.replace("  model:", "  cache: {key_fields: [question]}\n  model:")
    write(project, {"pipelines/faq.yaml": keyed})
    run(project)
    run(project)
    assert server.calls == 3
    write(project, {"docs/returns.md": "Return it within 60 days.\n"})
    run(project)
    assert server.calls == 6


@pytest.mark.parametrize(
    ("files", "changes"),
    [
        ({"docs/returns.md": "Other."}, True),
        ({"docs/new.md": "More."}, True),
        ({"pipelines/faq.yaml": PIPELINE.replace("top_k: 1", "top_k: 2")}, True),
        ({"pipelines/faq.yaml": PIPELINE + "description: of returns\n"}, False),
        ({"docs/draft.md": "ignored by Git"}, False),
        ({"docs/note.txt": "no Markdown"}, False),
    ],
)
def test_what_the_answers_rest_on_is_in_the_fingerprint(project, files, changes):
    wiring = Wiring(project, {}, pytest.fail)
    before = plan_of(wiring)
    write(project, files)
    after = plan_of(Wiring(project, {}, pytest.fail))
    assert (after.fingerprint() != before.fingerprint()) is changes


def test_a_commit_is_searched_as_it_was(project):
    old = git(project, "rev-parse", "HEAD")
    commit(project, {"docs/returns.md": "Return it never.\n", "docs/extra.md": "More.\n"})
    wiring = Wiring(project, {}, pytest.fail)
    there = wiring.at(old)
    try:
        plan = plan_of(there)
        assert list(plan.documents) == ["docs/more/cards.md", "docs/returns.md"]
        staged = plan_of(wiring.at(""))
        assert list(staged.documents) == ["docs/extra.md", *plan.documents]
        assert staged.fingerprint() == plan_of(wiring).fingerprint() != plan.fingerprint()
        retrieval = ProjectRevision(there).assembly.retrieval(plan)
        assert retrieval is not None
    finally:
        there.close()


SUITE = """\
pipeline: faq
unit_tests:
  - name: returns
    input: {question: When may I return it?}
    assertions: ["output.text contains '30 days'"]
"""


def test_tests_and_comparisons_retrieve_too(project, server):
    base = commit(project, {"tests/faq_test.yaml": SUITE})
    done = loom(project, "test", "faq")
    assert done.returncode == 0, done.stdout + done.stderr
    write(project, {"docs/returns.md": "Return it within 60 days.\n"})
    done = loom(project, "test", "faq")
    assert done.returncode == 1, done.stdout + done.stderr
    commit(project, {})
    server.clear()
    done = loom(project, "compare", f"{base}..HEAD", "--run-missing", "--format", "json")
    assert done.returncode in (0, 1), done.stderr
    (compared,) = json.loads(done.stdout)["pipelines"]
    assert compared["base"]["fingerprint"] != compared["head"]["fingerprint"]
    assert server.calls == 0, "both sides have been measured by the tests"


def test_a_comparison_measures_each_side_with_its_own_documents(project, server):
    base = commit(project, {"tests/faq_test.yaml": SUITE})
    commit(project, {"docs/returns.md": "Return it within 60 days.\n"})
    done = loom(project, "compare", f"{base}..HEAD", "--run-missing")
    texts = [request["messages"][-1]["content"] for request in server.requests]
    assert sorted("60 days" in text for text in texts) == [False, True], done.stdout + done.stderr


BROKEN = [
    ({"documents: [\"docs/**/*.md\"]": "documents: [\"doc/*.md\"]"}, ":7:17: "
     "transform.retrieve.documents: no file of the project matches 'doc/*.md'"),
    ({"documents: [\"docs/**/*.md\"]": "documents: [docs]"}, "matches 'docs'\nhint: "
     "'docs/**' matches the files of a folder"),
    ({"documents: [\"docs/**/*.md\"]": "documents: [\"../x/*.md\"]"}, ":7:17: "
     "'../x/*.md' is outside the project"),
    ({"documents: [\"docs/**/*.md\"]": "documents: [\"docs/*\"]"}, ":7:5: "
     "transform.retrieve.documents: docs/logo.png is not UTF-8 text"),
    ({"top_k: 1": "query_field: quesion"}, ":8:5: transform.retrieve.query_field: the records "
     "have no field 'quesion'\nhint: did you mean 'question'?"),
    ({"top_k: 1": "retriever: full_txt"}, ":8:5: transform.retrieve.retriever: unknown retriever "
     "'full_txt'\nhint: did you mean 'full_text'?"),
    ({"top_k: 1": "top_k: 0"}, ":8:5: transform.retrieve.top_k: "),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "said"), BROKEN, ids=[said for _, said in BROKEN])
def test_what_cannot_be_searched_is_told_with_its_place(project, server, changed, said):
    text = PIPELINE
    for old, new in changed.items():
        assert old in text
        text = text.replace(old, new)
    write(project, {"pipelines/faq.yaml": text, "docs/logo.png": b"\x89PNG\0\xff"})
    done = run(project, code=2)
    assert said in done.stderr
    assert "error: pipelines/faq.yaml:" in done.stderr
    assert server.calls == 0
    checked = loom(project, "validate", "faq")
    assert checked.returncode == 2
    line = said.partition("\n")[0].partition(" ")[2].rpartition(": ")[2]
    assert line in checked.stdout + checked.stderr


def test_validate_says_how_many_documents_there_are(project):
    done = loom(project, "validate", "faq")
    assert done.returncode == 0
    assert "Documents to search: 2 found" in done.stdout
    assert not (project / ".git" / "loom" / "documents").exists()


def test_another_transform_for_failures_gets_the_documents_too(project):
    pipeline = PIPELINE.replace("{min: 1}", "{max: 1}") + (
        "  on_failure: fallback\n  fallback: {prompt: prompts/again.txt, model: mine}\n"
    )
    pipeline = pipeline.replace(
        "load: {destination: out/answers.jsonl}\n", "load:\n  destination: out/answers.jsonl\n"
    )
    again = "Again: {{ input.retrieved_documents }}"
    write(project, {"pipelines/faq.yaml": pipeline, "prompts/again.txt": again})
    loom(project, "run", "faq")
    assert answers(project)["1"] == "Again: [docs/returns.md#1] Return it within 30 days."


def test_the_record_of_a_run_keeps_no_passages(project):
    run(project)
    (path,) = (project / ".loom" / "records").glob("*.jsonl")
    first = orjson.loads(path.read_bytes().splitlines()[0])
    assert "retrieved_documents" not in first


def test_the_example_of_the_docs_runs_as_it_stands_there(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")
    files = dict(re.findall(r"^`([\w./]+)`\n\n```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
    assert len(files) == 5
    project = make(tmp_path / "handbook")
    commit(project, files)
    done = loom(project, "run", "handbook_qa")
    assert done.returncode == 0, done.stderr
    lines = (project / "out" / "answers.jsonl").read_text().splitlines()
    said = " ".join(text.split())
    assert len(lines) == 2
    assert all(json.loads(line)["text"] in said for line in lines)
