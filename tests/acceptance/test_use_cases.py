"""The use cases that Loom is for, whole: the command, a repository, a server, Arbiter's judges."""

import json
import subprocess
import sys
from collections import Counter

import orjson
import pytest

from tests.projects import PROMPT, REVIEWS, TAXONOMY
from tests.repos import commit, make
from tests.servers.openai_server import OpenAiServer, find_schema, instance, tokens

PRICES = {  # USD per million tokens: input, output
    "small": (0.15, 0.6),
    "judge": (3.0, 15.0),
    "large": (2.5, 10.0),
    "cheap": (0.1, 0.4),
    "reader": (0.8, 3.2),
}

SENTIMENT = """\
name: customer_sentiment
version: 2.1.0
extract: {source: data/reviews.csv, key: review_id}
transform:
  prompt: prompts/classify.txt
  context: [context/taxonomy.md]
  model: small
  output: {sentiment: string, confidence: float}
evaluate:
  model: judge
  evaluators:
    - type: semantic
      threshold: 0.7
      config: {field: sentiment, reference_field: expected}
    - type: custom_criteria
      criteria: "Accurate, no hallucination"
      threshold: 0.7
  quality_gate: all_pass
load: {destination: sqlite://out/analytics.db/sentiment, mode: upsert}
"""

SUMMARIES = """\
name: doc_summarization
extract: {source: data/documents.jsonl}
transform:
  prompt: prompts/summarize_document.txt
  model: large
evaluate:
  - factuality
  - completeness
  - no_hallucination
load:
  destination: out/summaries.jsonl
  on_failure: fallback
  fallback:
    prompt: prompts/extract_sentences.txt
    model: cheap
"""

RAG = """\
name: rag_qa
extract: {source: data/questions.csv, key: id}
transform:
  type: rag
  prompt: prompts/answer_question.txt
  context: {{ retrieved_documents }}
  retrieve: {documents: ["docs/**/*.md"], top_k: 2}
  model: reader
evaluate:
  - groundedness
  - relevance
  - attribution
load:
  destination: sqlite://out/answers.db/answers
  quality_gate: all_pass
"""

FILES = {
    "pipelines/customer_sentiment.yaml": SENTIMENT,
    "pipelines/doc_summarization.yaml": SUMMARIES,
    "pipelines/rag_qa.yaml": RAG,
    "prompts/classify.txt": PROMPT,
    "prompts/summarize_document.txt": "Summarize in a sentence:\n\n{{ input.document }}\n",
    "prompts/extract_sentences.txt": "Copy its first sentence:\n\n{{ input.document }}\n",
    "prompts/answer_question.txt": (
        "Answer from these passages and cite each:\n\n{{ context.retrieved_documents }}\n\n"
        "Question: {{ input.question }}\n"
    ),
    "context/taxonomy.md": TAXONOMY,
    "data/reviews.csv": REVIEWS,
    "data/documents.jsonl": (
        '{"id": 1, "document": "Rain fell on Oslo. Trams stopped."}\n'
        '{"id": 2, "document": "The mill burned in 1911. Nobody was hurt."}\n'
    ),
    "data/questions.csv": (
        "id,question\nq-1,How long may I return an item?\n"
        'q-2,"Are ""gift cards"" (AND downloads) refunded?"\n'
    ),
    "docs/returns.md": (
        "# Returns\n\nReturn any item within 30 days.\n\n## Exceptions\n\nGift cards stay sold.\n"
    ),
    "docs/far/delivery.md": "# Delivery\n\nParcels leave at noon.\n",
    ".loom/config.yaml": "",
    ".gitignore": "/out/\n",
}


class Provider:
    """Answers as the models of the three pipelines, and keeps the account of every call."""

    def __init__(self):
        self.calls = []

    def respond(self, request):
        text = "\n".join(turn["content"] for turn in request["messages"])
        schema = find_schema(request)
        score = None
        if schema is not None and "score" in schema["properties"]:
            score = round(0.75 + 0.002 * len(self.calls), 3)  # each its own
            if "No name, number, date" in text and "1899" in text:
                score = 0.1
            reply = json.dumps({**instance(schema, schema), "score": score})
        else:
            reply = self.write(request["model"], text)
        asked = sum(tokens(turn["content"]) for turn in request["messages"]) + 3
        self.calls.append((request["model"], text, score, asked, tokens(reply)))
        return reply

    def write(self, model, text):
        if model == "small":
            positive = "great" in text.partition("Review:")[2] or "I love" in text
            return json.dumps(
                {"sentiment": "positive" if positive else "negative", "confidence": 0.9}
            )
        if model == "large":
            return "Oslo was wet." if "Oslo" in text else "The mill burned in 1899."
        if model == "cheap":
            return "The mill burned in 1911."
        return "Within 30 days [docs/returns.md#1]."

    def of(self, *models):
        return [call for call in self.calls if call[0] in models]


class Ran:
    """What three runs left behind."""

    def __init__(self, folder, provider, done):
        self.provider, self.done = provider, done
        files = (folder / ".loom" / "runs").rglob("*.json")
        documents = [orjson.loads(path.read_bytes()) for path in files]
        self.runs = {document["pipeline"]: document for document in documents}
        self.lines = {
            name: [
                orjson.loads(line)
                for line in (folder / ".loom" / run["records"]["path"]).read_bytes().splitlines()
            ]
            for name, run in self.runs.items()
        }
        self.folder = folder


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    folder = make(tmp_path_factory.mktemp("use-cases"))
    provider = Provider()
    with OpenAiServer(provider.respond, api_key="sk-local") as server:
        models = "".join(
            f"  {name}: {{base_url: '{server.url}', api_key: sk-local, "
            f"input_price: {inward}, output_price: {outward}}}\n"
            for name, (inward, outward) in PRICES.items()
        )
        commit(folder, {**FILES, ".loom/config.yaml": f"models:\n{models}"})
        names = ("customer_sentiment", "doc_summarization", "rag_qa")
        done = subprocess.run(
            [sys.executable, "-m", "loomgit", "run", *names],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert server.statuses == {200: len(provider.calls)}
    assert done.returncode == 0, done.stdout + done.stderr
    return Ran(folder, provider, done)


MODELS = {
    "customer_sentiment": ("small", "judge"),
    "doc_summarization": ("large", "cheap"),
    "rag_qa": ("reader",),
}


@pytest.mark.parametrize("pipeline", MODELS)
def test_every_score_is_one_that_the_judge_gave(ran, pipeline):
    given = Counter(call[2] for call in ran.provider.of(*MODELS[pipeline]) if call[2] is not None)
    kept = [score for line in ran.lines[pipeline] for score in line["scores"].values()]
    assert given.keys() == set(kept), "the same question is asked once"
    assert set(given.values()) == {1}
    assert ran.runs[pipeline]["cost"]["cached"] == len(kept) - len(given)
    evaluation = ran.runs[pipeline]["evaluation"]
    assert sum(part["n"] for part in evaluation.values()) == len(kept)
    for name, part in evaluation.items():
        scores = [line["scores"][name] for line in ran.lines[pipeline]]
        assert part["mean"] == pytest.approx(sum(scores) / len(scores))
        assert part["errors"] == 0


@pytest.mark.parametrize("pipeline", MODELS)
def test_tokens_and_cost_are_the_sums_over_all_calls(ran, pipeline):
    calls = ran.provider.of(*MODELS[pipeline])
    cost = ran.runs[pipeline]["cost"]
    assert cost["calls"] == len(calls)
    assert cost["tokens"]["input"] == sum(call[3] for call in calls)
    assert cost["tokens"]["output"] == sum(call[4] for call in calls)

    def price(call):
        inward, outward = PRICES[call[0]]
        return (call[3] * inward + call[4] * outward) / 1e6

    judged = sum(price(call) for call in calls if call[2] is not None)
    written = sum(price(call) for call in calls if call[2] is None)
    assert cost["total"] == pytest.approx(judged + written, abs=1e-6, rel=1e-9)
    assert cost["breakdown"]["evaluate"] == pytest.approx(judged, abs=1e-6, rel=1e-9)
    assert cost["breakdown"]["transform"] == pytest.approx(written, abs=1e-6, rel=1e-9)
    assert cost["unpriced"] == 0


def test_each_review_is_classified_and_judged_twice(ran):
    results = ran.runs["customer_sentiment"]["results"]
    assert (results["records_validated"], results["records_loaded"]) == (4, 4)
    assert ran.runs["customer_sentiment"]["evaluation"].keys() == {"semantic", "custom_criteria"}
    judged = ran.provider.of("judge")
    assert len(judged) == 6, "4 by criteria, and 'positive' and 'negative' once each by meaning"
    assert sum("Accurate, no hallucination" in call[1] for call in judged) == 4
    found = [line["output"]["sentiment"] for line in ran.lines["customer_sentiment"]]
    assert found == ["positive", "negative", "positive", "negative"]


def test_an_invented_fact_is_replaced_by_the_extractive_summary(ran):
    results = ran.runs["doc_summarization"]["results"]
    assert results["records_fallback"] == 1
    assert results["records_loaded"] == 2
    first, second = ran.lines["doc_summarization"]
    assert "fallback" not in first
    assert second["fallback"]
    assert second["scores"]["no_hallucination"] == 0.1
    loaded = (ran.folder / "out" / "summaries.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"] for line in loaded]
    assert texts == ["Oslo was wet.", "The mill burned in 1911."]
    assert len(ran.provider.of("cheap")) == 1


def test_questions_are_answered_and_judged_by_the_passages_that_were_found(ran):
    asked = [call for call in ran.provider.of("reader") if call[2] is None]
    texts = {"q-1": "", "q-2": ""}
    for call in asked:
        texts["q-1" if "how long" in call[1].lower() else "q-2"] = call[1]
    assert "[docs/returns.md#1] # Returns\n\nReturn any item within 30 days." in texts["q-1"]
    assert "[docs/returns.md#2] ## Exceptions\n\nGift cards stay sold." in texts["q-2"]
    assert "Parcels" not in texts["q-1"] + texts["q-2"]
    judged = [call[1] for call in ran.provider.of("reader") if call[2] is not None]
    assert len(judged) == 6
    shown = [text for text in judged if "[docs/returns.md#" in text.replace("30 days [", "")]
    assert len(shown) == 4, "groundedness and attribution see the passages"
    assert sum("How long may I return" in text for text in judged) >= 1
    evaluation = ran.runs["rag_qa"]["evaluation"]
    assert evaluation.keys() == {"groundedness", "relevance", "attribution"}
    assert ran.runs["rag_qa"]["results"]["records_validated"] == 2
