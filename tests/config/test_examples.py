"""Every example of the documents loads as it is written there."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loomgit.config.app_dependencies import parse_dependencies
from loomgit.config.app_model import parse_specification
from loomgit.config.pipelines import parse_pipeline
from loomgit.config.settings_model import parse_settings
from loomgit.config.suites import parse_suite
from loomgit.domain.definitions import (
    Alert,
    CacheRule,
    ContextFile,
    EvaluatorSpec,
    Gate,
    Monitoring,
)
from loomgit.domain.place import Place
from loomgit.domain.suites import (
    CostBudget,
    Drift,
    HallucinationRate,
    IntegrationStep,
    Policy,
    Regression,
    Statistical,
)

VALID = Path(__file__).parent / "valid"
DOCUMENTS = Path(__file__).parents[3] / "shared" / "mission"
BLOCK = re.compile(r"^```ya?ml\n(.*?)^```", re.MULTILINE | re.DOTALL)

# The fragments of the documents, completed in the obvious way.
SUITE_HEAD = "pipeline: customer_sentiment\n"
PIPELINE_HEAD = """\
name: fragment
extract: {source: data/in.csv}
transform: {prompt: prompts/p.txt}
load: {destination: data/out.csv}
evaluate:
"""


def whole(block):
    """The parser for a block, and the block with what it lacks."""
    if re.search(r"^(unit|distributional|integration)_tests:", block, re.MULTILINE):
        return parse_suite, block if "pipeline:" in block else SUITE_HEAD + block
    if re.search(r"^(connections|models|channels):", block, re.MULTILINE):
        return parse_settings, block
    if block.startswith("evaluators:"):
        return parse_pipeline, PIPELINE_HEAD + re.sub(r"^(?=.)", "  ", block, flags=re.MULTILINE)
    if re.search(r"^(shared|local)_artifacts:", block, re.MULTILINE):
        return parse_dependencies, block
    if app := re.search(r"^loop_app_id: *(\S+)", block, re.MULTILINE):
        return lambda text, path: parse_specification(text, path, app[1]), block
    return parse_pipeline, block


def example(name):
    parse, text = whole((VALID / f"{name}.yaml").read_text(encoding="utf-8"))
    return parse(text, f"{name}.yaml")


def test_every_block_of_the_specification_is_read_as_it_stands():
    if not DOCUMENTS.is_dir():
        pytest.skip("the documents of the specification are not beside this checkout")
    blocks = [
        block
        for document in sorted(DOCUMENTS.glob("*.md"))
        for block in BLOCK.findall(document.read_text(encoding="utf-8"))
    ]
    copies = {path.read_text(encoding="utf-8") for path in VALID.glob("*.yaml")}
    assert len(blocks) >= 8
    for block in blocks:
        parse, text = whole(block)
        parse(text, "block.yaml")
        assert block in copies


@pytest.mark.parametrize("path", sorted(VALID.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_copies_load(path):
    loaded = example(path.stem)
    assert loaded.shared if path.stem.startswith("dependencies") else loaded.places


def test_the_customer_sentiment_pipeline():
    pipeline = example("customer_sentiment")
    transform, load = pipeline.transform, pipeline.load
    assert (pipeline.name, pipeline.version) == ("customer_sentiment", "2.1.0")
    assert pipeline.description == "Classify customer review sentiment"
    assert pipeline.extract.source == "postgres://customers/reviews"
    assert "{{ execution_date }}" in str(pipeline.extract.query)
    assert (transform.type, transform.prompt) == ("ai", "prompts/classify_sentiment.txt")
    assert (transform.prompt_version, transform.model_version) == ("v2.3.0", "2024-07-18")
    assert (transform.model, transform.temperature) == ("gpt-4o-mini", 0.0)
    assert transform.context == (
        ContextFile("context/customer_domain.md"),
        ContextFile("context/sentiment_taxonomy.md"),
    )
    key_fields = ("review_text", "model", "prompt_version")
    assert transform.cache == CacheRule(enabled=True, ttl=7 * 86400, key_fields=key_fields)
    assert pipeline.evaluate.evaluators == (
        EvaluatorSpec(
            "semantic_similarity",
            "semantic",
            threshold=0.8,
            config={"reference_field": "expected_sentiment"},
        ),
        EvaluatorSpec(
            "quality_criteria",
            "custom_criteria",
            threshold=0.75,
            criteria="Accurate sentiment, appropriate tone, no hallucination",
        ),
    )
    assert pipeline.evaluate.gate == Gate("all_pass")
    assert (load.mode, load.on_failure) == ("upsert", "quarantine")
    assert load.schema == {
        "type": "object",
        "properties": {
            "sentiment": {"type": "string"},
            "confidence": {"type": "number"},
            "reasoning": {"type": "string"},
        },
        "required": ["sentiment", "confidence", "reasoning"],
    }
    assert pipeline.monitoring == Monitoring(
        cost_budget=10.0,
        latency_p95=5.0,
        min_score=0.7,
        alerts=(
            Alert("score_degradation", 0.7, relative=False, channel="slack"),
            Alert("cost_spike", 2.0, relative=True, channel="pagerduty"),
        ),
    )


def test_the_quick_example_has_evaluators_without_names_or_config():
    evaluators = example("quick_example").evaluate.evaluators
    assert evaluators == (
        EvaluatorSpec("semantic", "semantic", threshold=0.8),
        EvaluatorSpec(
            "custom_criteria",
            "custom_criteria",
            threshold=0.75,
            criteria="Accurate, no hallucination",
        ),
    )


def test_criteria_may_be_a_block_of_text():
    _, criteria = example("evaluators").evaluate.evaluators
    assert str(criteria.criteria).splitlines() == [
        "- Factually accurate based on input",
        "- No hallucinated information",
        "- Appropriate tone and language",
        "- Follows output format specification",
    ]


def test_evaluate_may_be_a_list_of_names():
    pipeline = example("doc_summarization")
    names = ("factuality", "completeness", "no_hallucination")
    assert tuple(e.name for e in pipeline.evaluate.evaluators) == names
    assert tuple(e.type for e in pipeline.evaluate.evaluators) == names
    assert pipeline.evaluate.gate == Gate("all_pass")
    assert pipeline.load.on_failure == "fallback"
    assert pipeline.load.fallback is None
    assert pipeline.place("evaluate.evaluators.1") == Place("doc_summarization.yaml", 9, 5)
    assert pipeline.place("evaluate.evaluators.1.config.x") == Place("doc_summarization.yaml", 9, 5)


def test_a_template_without_quotes_names_a_field_and_the_gate_may_stand_under_load():
    pipeline = example("rag_qa")
    assert pipeline.transform.type == "rag"
    assert pipeline.transform.context_field == "retrieved_documents"
    assert pipeline.transform.context == ()
    assert pipeline.evaluate.gate == Gate("all_pass")
    assert pipeline.place("transform.context") == Place("rag_qa.yaml", 7, 3)
    assert pipeline.place("evaluate.quality_gate") == Place("rag_qa.yaml", 14, 3)


def test_the_unit_tests():
    positive, negative, neutral = example("unit_tests").unit_tests
    assert positive.name == "obvious_positive"
    assert positive.input == {"review": "This product is amazing! I love it!"}
    assert positive.expected == {"sentiment": "positive", "min_confidence": 0.9}
    assert [(a.text, a.place.line, a.place.column) for a in positive.assertions] == [
        ("evaluation_score > 0.9", 12, 9)
    ]
    assert negative.assertions == ()
    assert neutral.policy == Policy()


def test_the_distributional_tests():
    quality, hallucination, cost = example("distributional_tests").distributional_tests
    assert isinstance(quality, Statistical)
    assert [a.text for a in quality.assertions] == [
        "mean(evaluation_scores) > 0.75",
        "std(evaluation_scores) < 0.3",
        "min(evaluation_scores) > 0.5",
    ]
    assert isinstance(hallucination, HallucinationRate)
    assert (hallucination.threshold, hallucination.sample_size) == (0.05, 1000)
    assert isinstance(cost, CostBudget)
    assert cost.max_cost == 2.5


def test_the_integration_test():
    (case,) = example("integration_tests").integration_tests
    assert case.steps == (
        IntegrationStep("extract", "100 sample records"),
        IntegrationStep("transform", "classify sentiment"),
        IntegrationStep("evaluate", "check quality gates"),
        IntegrationStep("load", "verify destination"),
    )
    assert case.records == 100
    assert [a.text for a in case.assertions] == [
        "records_loaded > 95",
        "total_cost < 0.50",
        "duration < 60",
    ]


def test_all_kinds_of_tests():
    suite = example("all_kinds_of_tests")
    (unit,) = suite.unit_tests
    assert (unit.policy.samples, unit.min_pass) == (5, 4)
    assert unit.assertions[1].text == "output.reasoning contains 'love'"
    line = (VALID / "all_kinds_of_tests.yaml").read_text(encoding="utf-8").splitlines()
    place = unit.assertions[1].place
    assert line[place.line - 1][place.column - 1 :].startswith("output.reasoning contains")
    regression, drift = suite.distributional_tests[3:]
    assert isinstance(regression, Regression)
    assert (regression.baseline, regression.policy.max_drop) == ("main", 0.02)
    assert isinstance(drift, Drift)
    assert (drift.baseline, drift.field) == ("main", "output.sentiment")
    assert suite.dataset == "tests/data/reviews.csv"
    assert suite.given.variables == {"lang": "en", "n": 3, "strict": True, "none": None}
    assert suite.given.execution_date == datetime(2025, 11, 1, tzinfo=UTC)
    assert suite.defaults == Policy()
