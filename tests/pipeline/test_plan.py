from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from loomgit.domain.definitions import (
    Evaluate,
    EvaluatorSpec,
    Extract,
    ExtractiveFallback,
    Fallback,
    Gate,
    Load,
    Pipeline,
    Retrieve,
    Transform,
)
from loomgit.domain.keys import digest
from loomgit.domain.records import Record
from loomgit.domain.versions import FileVersion
from loomgit.pipeline.plan import Plan, case_identifier

PIPELINE = Pipeline(
    "demo",
    "pipelines/demo.yaml",
    Extract("rows.csv"),
    Transform(prompt="prompts/p.txt", temperature=0.0),
    Load("out.jsonl"),
    Evaluate((EvaluatorSpec("label", "exact_match", 0.5),), Gate("all_pass")),
)
PLAN = Plan(
    pipeline=PIPELINE,
    prompt=FileVersion("prompts/p.txt", "v1", "a" * 40, "Hello"),
    context={"domain": FileVersion("context/domain.md", "v1", "b" * 40, "shops")},
    model="gpt-4o-mini",
    judge=None,
    variables={"tone": "dry"},
    execution_date=datetime(2026, 1, 1, tzinfo=UTC),
    files={"pipelines/demo.yaml": "c" * 40, "prompts/rules.txt": "d" * 40},
)


def with_evaluator(**changes):
    spec = replace(PIPELINE.evaluate.evaluators[0], **changes)
    return replace(PIPELINE, evaluate=replace(PIPELINE.evaluate, evaluators=(spec,)))


def searching(retrieve):
    return replace(PIPELINE, transform=replace(PIPELINE.transform, type="rag", retrieve=retrieve))


# The fingerprint since `EVALUATION_FORMAT` 3. Stored results have it.
FINGERPRINT_OF_A_CONSTANT = "5f691fec110732cfd25e711e45983b9f1a7e75239fd6ab2eaf4f55ba856bd218"


def with_extract(**settings):
    fallback = Fallback(extractive=ExtractiveFallback(**settings))
    return Load("out.jsonl", on_failure="fallback", fallback=fallback)


def with_fallback(label):
    return Load("out.jsonl", on_failure="fallback", fallback=Fallback(value={"label": label}))


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": replace(PLAN.prompt, blob="e" * 40)},
        {"context": {"domain": replace(PLAN.context["domain"], blob="e" * 40)}},
        {"context": {}},
        {"model": "gpt-4o"},
        {"judge": "gpt-4o"},
        {"variables": {"tone": "warm"}},
        {"files": {**PLAN.files, "prompts/rules.txt": "e" * 40}},
        {"output": {"type": "object"}},
        {"pipeline": replace(PIPELINE, transform=replace(PIPELINE.transform, temperature=1.0))},
        {"pipeline": replace(PIPELINE, transform=replace(PIPELINE.transform, model_version="x"))},
        {"pipeline": with_evaluator(type="contains")},
        {"code": {"checks/own.py": "e" * 40}},
        {"endpoints": {PLAN.model: {"base_url": "http://127.0.0.1:1"}}},
        {"judge_endpoint": {"base_url": "http://127.0.0.1:1"}},
        {"pipeline": with_evaluator(config={"ignore_case": True})},
        {"pipeline": replace(PIPELINE, load=Load("out.jsonl", on_failure="retry"))},
        {"pipeline": replace(PIPELINE, load=with_fallback("a"))},
        {"pipeline": replace(PIPELINE, load=with_extract())},
        {"documents": {"docs/a.md": "e" * 40}},
        {"pipeline": searching(Retrieve(("docs/*.md",)))},
    ],
)
def test_what_can_change_a_result_changes_the_fingerprint(changed):
    assert replace(PLAN, **changed).fingerprint() != PLAN.fingerprint()


@pytest.mark.parametrize(
    "changed",
    [
        {"prompt": replace(PLAN.prompt, name="v2", revision="f" * 40)},
        {"files": {**PLAN.files, "pipelines/demo.yaml": "e" * 40}},
        {"pipeline": replace(PIPELINE, description="Other words", version="2")},
        {"pipeline": replace(PIPELINE, load=Load("elsewhere.jsonl"))},
        {"pipeline": replace(PIPELINE, load=Load("out.jsonl", evolve="add"))},
        {"pipeline": replace(PIPELINE, load=Load("out.jsonl", on_failure="skip"))},
        {"endpoints": {"another model": {"base_url": "http://127.0.0.1:1"}}},
        {"pipeline": with_evaluator(threshold=0.6)},
        {"pipeline": with_evaluator(weight=2.0)},
        {"pipeline": replace(PIPELINE, evaluate=replace(PIPELINE.evaluate, gate=Gate("any_pass")))},
        {"execution_date": datetime(2027, 1, 1, tzinfo=UTC)},
    ],
)
def test_what_cannot_change_a_result_leaves_it(changed):
    assert replace(PLAN, **changed).fingerprint() == PLAN.fingerprint()


def test_each_setting_of_an_extractive_fallback_changes_the_fingerprint():
    settings = ({}, {"field": "a"}, {"output": "a"}, {"sentences": 2})
    plans = [replace(PLAN, pipeline=replace(PIPELINE, load=with_extract(**s))) for s in settings]
    assert len({plan.fingerprint() for plan in plans}) == len(settings)


def test_the_fingerprint_with_another_fallback_is_that_of_earlier_versions():
    plan = replace(PLAN, pipeline=replace(PIPELINE, load=with_fallback("a")))
    assert plan.fingerprint() == FINGERPRINT_OF_A_CONSTANT


@pytest.mark.parametrize(
    "retrieve",
    [
        Retrieve(("docs/*.md",), top_k=6),
        Retrieve(("docs/*.md",), query_field="q"),
        Retrieve(("docs/*.md",), retriever="mine"),
    ],
)
def test_how_documents_are_searched_is_in_the_fingerprint_but_not_how_they_are_named(retrieve):
    documents = {"docs/a.md": "e" * 40}
    plain = replace(PLAN, documents=documents, pipeline=searching(Retrieve(("docs/*.md",))))
    same = replace(plain, pipeline=searching(Retrieve(("docs/a.md",))))
    assert same.fingerprint() == plain.fingerprint()
    assert replace(plain, pipeline=searching(retrieve)).fingerprint() != plain.fingerprint()
    assert plain.scope() != replace(plain, documents={}).scope()


def test_the_scope_is_over_all_files_of_the_pipeline():
    files = {**PLAN.files, "pipelines/demo.yaml": "e" * 40}
    assert replace(PLAN, files=files).scope() != PLAN.scope()


def test_a_pinned_snapshot_is_part_of_the_models_id():
    pinned = replace(PIPELINE, transform=replace(PIPELINE.transform, model_version="2024-07-18"))
    assert replace(PLAN, pipeline=pinned).sampling.model == "gpt-4o-mini-2024-07-18"
    assert replace(PLAN, pipeline=pinned).config().model == "gpt-4o-mini"


@pytest.mark.parametrize("content", [{"id": "r-1"}, {"id": "r-2", "text": 'a "quote" ü'}])
def test_the_hashes_of_a_case_are_those_of_two_digests(content):
    expected = tuple(
        digest([first, digest(content)]) for first in (PLAN.fingerprint(), digest(PLAN.question()))
    )
    assert case_identifier(PLAN)(Record(0, "key", content)) == expected
