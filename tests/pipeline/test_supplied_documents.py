import asyncio

import pytest

from loomgit.domain.passages import Passage
from loomgit.domain.records import Record
from loomgit.errors import WorldError
from loomgit.pipeline.prompt import Prompt
from loomgit.pipeline.retrieval import Retrieval, RetrievalFailure

PASSAGES = [Passage("docs/a.md", 2, "Thirty days."), Passage("docs/b.md", 1, "No gifts.")]


class FakeRetriever:
    """Answers each question with the same passages and remembers the questions."""

    def __init__(self):
        self.asked = []

    async def retrieve(self, question, count):
        if question == "broken":
            raise WorldError("the disk is gone")
        self.asked.append(question)
        return PASSAGES[:count] if question else []


def supply(fields, count=5, retriever=None):
    retrieval = Retrieval(
        retriever or FakeRetriever(), field="retrieved_documents", query_field="q", count=count
    )
    record = Record(0, "r-1", fields)
    return asyncio.run(retrieval.supply(record)), record


def test_a_record_gets_the_passages_that_answer_its_question():
    found, record = supply({"q": "when?"})
    assert found.input["retrieved_documents"] == [passage.as_json() for passage in PASSAGES]
    assert "retrieved_documents" not in record.input
    assert (found.key, found.input["q"]) == ("r-1", "when?")


def test_a_record_that_brings_documents_is_left_as_it_is():
    retriever = FakeRetriever()
    for brought in ("mine", ["mine"]):
        found, record = supply({"retrieved_documents": brought}, retriever=retriever)
        assert found is record
    assert retriever.asked == []


@pytest.mark.parametrize("none", [None, "", []])
def test_an_empty_field_brings_no_documents(none):
    found, _ = supply({"q": "when?", "retrieved_documents": none})
    assert len(found.input["retrieved_documents"]) == 2


@pytest.mark.parametrize(("value", "question"), [(None, ""), (7, "7"), (["a"], '["a"]')])
def test_any_value_is_a_question(value, question):
    retriever = FakeRetriever()
    supply({"q": value}, retriever=retriever)
    assert retriever.asked == [question]


def test_a_record_without_the_field_fails_by_itself():
    with pytest.raises(RetrievalFailure, match="no field 'q'") as caught:
        supply({"other": 1})
    assert not caught.value.infrastructure


def test_a_retriever_that_fails_is_the_worlds_fault():
    with pytest.raises(RetrievalFailure, match="the disk is gone") as caught:
        supply({"q": "broken"})
    assert caught.value.infrastructure


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ input.docs }}", "[docs/a.md#2] Thirty days.\n\n[docs/b.md#1] No gifts."),
        ("{% for d in input.docs %}{{ d.document }}:{{ d.text }};{% endfor %}",
         "docs/a.md:Thirty days.;docs/b.md:No gifts.;"),
    ],
)  # fmt: skip
def test_a_prompt_shows_passages_with_their_sources_or_takes_them_apart(template, text):
    found, _ = supply({"q": "when?"})
    given = {"docs": found.input["retrieved_documents"]}
    assert Prompt("p.txt", template).render(input=given, context={}, variables={}) == text
